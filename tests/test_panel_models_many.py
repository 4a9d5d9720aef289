"""What the panel's parts cost, and what they say of figures: three hundred models, paces, lines over time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_gate import jupyter_server
from support_host import fake_model
from support_kernels import end_host, environment
from support_panel import WAIT, keep, needs_a_browser, open_panel

from illama.registry import Registry

pytestmark = needs_a_browser

MANY = 300
# What one look, one letter or one turn of the wheel may take on a slow and busy machine before people notice: the
# figures themselves are printed. A frame at 60 a second is 16.7 ms.
NOTICED = 250.0


def install(home: Path) -> None:
    """The models, by copies of two models' folders: the registry makes its index of what it finds there."""
    for task in ("text-generation", "embedding"):
        entry = fake_model(home, f"of-{task}", task=task)
        made = Registry(home / "registry").folder(entry)
        for number in range(MANY):
            if (number % 10 == 0) == (task == "embedding"):
                folder = shutil.copytree(made, made.with_name(f"Model-{number:03}"))
                metadata = json.loads((folder / "illama.json").read_text())
                (folder / "illama.json").write_text(json.dumps({**metadata, "name": folder.name}))
        shutil.rmtree(made)


@pytest.fixture(scope="module")
def page(module_home: Path, browser: Any) -> Iterator[Any]:
    install(module_home)
    try:
        with jupyter_server(module_home) as server:
            opened = open_panel(browser, server)
            opened.get_by_role("tab", name="Models").click()
            opened.locator("li.model").nth(MANY - 1).wait_for(state="attached", timeout=WAIT)
            yield opened
    finally:
        end_host(environment(module_home))


FRAMES = """async (work) => {
  const panel = document.getElementById("panel");
  const filter = panel.shadowRoot.getElementById("filter");
  const times = [];
  let tasks = 0;
  const observer = new PerformanceObserver((list) => { tasks += list.getEntries().length; });
  observer.observe({ type: "longtask" });
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  let last = await frame();
  const step = async () => {
    const now = await frame();
    times.push(now - last);
    last = now;
  };
  if (work === "scroll") {
    for (let turn = 0; turn < 90; turn += 1) {
      panel.scrollTop += 140;
      await step();
    }
  } else {
    for (const text of ["M", "Mo", "Model-1", "Model-12", "Model-120", "no", "", "emb", "", "29", ""]) {
      filter.value = text;
      filter.dispatchEvent(new Event("input"));
      await step();
      await step();
    }
  }
  panel.scrollTop = 0;
  await frame();
  observer.disconnect();
  times.sort((a, b) => a - b);
  const [median, p95, longest] = [0.5, 0.95, 1].map((part) => times[Math.ceil(part * times.length) - 1]);
  return { frames: times.length, median, p95, longest, longTasks: tasks };
}"""


@pytest.mark.parametrize("work", ["scroll", "filter"])
def test_three_hundred_models_scroll_and_filter_smoothly(page: Any, work: str, record_property: Any):
    figures = page.evaluate(FRAMES, work)
    record_property(f"panel_{work}_frames_ms", json.dumps(figures))
    print(f"{MANY} models, {work}: {figures}")
    assert figures["longTasks"] < figures["frames"] / 2
    assert figures["p95"] < NOTICED


TOUCHED = """() => {
  window.touched = new Set();
  const model = (node) => (node.nodeType === 1 ? node : node.parentElement).closest("li")?.dataset.model ?? "the list";
  new MutationObserver((records) => {
    for (const { target } of records) window.touched.add(model(target));
  }).observe(document.getElementById("panel").shadowRoot.querySelector("ul.models"), {
    subtree: true, childList: true, attributes: true, characterData: true,
  });
}"""


def test_a_look_touches_only_the_rows_that_have_changed(page: Any):
    page.evaluate(TOUCHED)
    row = page.locator('li.model[data-model="Model-123"]')
    row.get_by_role("button", name="Load Model-123").click()
    row.get_by_text("● loaded").wait_for(timeout=WAIT)
    for _ in range(2):  # whole looks, in which nothing changes
        page.wait_for_event("response", lambda response: "/api/ps" in response.url, timeout=WAIT)
    assert page.evaluate("() => [...window.touched]") == ["Model-123"]
    row.get_by_role("button", name="Unload Model-123").click()
    row.get_by_role("button", name="Load Model-123").wait_for(timeout=WAIT)


def test_the_list_is_filtered_by_every_word_of_a_model_and_sorted_as_one_likes(page: Any):
    page.get_by_label("Filter").fill("embed")
    page.get_by_text(f"{MANY // 10} of {MANY} models").first.wait_for(timeout=WAIT)
    page.get_by_label("Filter").fill("nothing like it")
    page.get_by_text("No model matches “nothing like it”.").wait_for(timeout=WAIT)
    page.get_by_label("Filter").fill("")
    page.get_by_label("Sort by").select_option("task")
    assert page.locator("li.model .task").first.inner_text() == "embeddings"
    page.get_by_label("Sort by").select_option("name")
    assert page.locator("li.model").first.get_attribute("data-model") == "Model-000"
    keep(page, "models-many")


def module(page: Any, name: str, code: str) -> Any:
    """What code finds with a module of the panel as `m`."""
    return page.evaluate(f"async () => {{ const m = await import(new URL('{name}', location.href).href); {code} }}")


def test_the_pace_is_that_of_the_latest_seconds_and_begins_anew_with_each_phase(page: Any):
    code = """
      const pace = m.createPace();
      const seen = [];
      for (let s = 0; s <= 10; s += 1) seen.push(pace.see("download", s * 1000, 20000, s * 1000));
      for (let s = 11; s <= 40; s += 1) seen.push(pace.see("download", 10000 + (s - 10) * 100, 20000, s * 1000));
      return [seen[0], seen[10], seen[40], pace.see("convert", 5, 10, 41000), pace.see("convert", null, null, 42000)];
    """
    first, steady, slow, other, none = module(page, "pace.js", code)
    assert first is None
    assert steady == {"perSecond": 1000, "left": 10}
    assert slow["perSecond"] == pytest.approx(100)
    assert slow["left"] == pytest.approx(70)
    assert other is None
    assert none is None


def test_the_line_breaks_off_where_nobody_looked_and_never_leaves_the_drawing(page: Any):
    code = """
      const points = [0, 1, 2, 60, 61].map((s) => ({ t: s * 1000, value: s === 61 ? 1234 : 10 }));
      return [m.outline(points, 10), m.outline([], 10)];
    """
    drawn, empty = module(page, "chart.js", code)
    assert drawn["lines"].count("M") == 2
    assert drawn["highest"] == 2000
    assert drawn["span"] == 61000
    numbers = [float(each) for pair in drawn["lines"].replace("L", "M").split("M")[1:] for each in pair.split()]
    assert all(0 <= number <= 300 for number in numbers)
    assert empty == {"lines": "", "areas": "", "highest": 10, "span": 60000}
