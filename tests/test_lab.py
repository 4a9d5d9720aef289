"""The magics as a person sees them: a real JupyterLab with token auth in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_kernels import end_host, fake_home
from support_lab import jupyter_lab, opened, run_all, write_notebook
from support_panel import keep, needs_a_browser

pytestmark = needs_a_browser

HOSTILE = """\
# Answer

Some *Markdown* with `<b>code</b>`, and 1 < 2.

<img src=x onerror="window.hacked=1"> <script>window.hacked=2</script> [click](javascript:window.hacked=3)

![tracker](http://127.0.0.1:9/tracker.png) [x](https://a.example/$"onmouseover="window.hacked=4"$)

```html
<p onclick="window.hacked=5">a $x$ y</p>
```

| a | b |
|---|---|
| 1 | <svg onload=window.hacked=6> |
"""


@pytest.fixture
def env(home: Path) -> Iterator[dict[str, str]]:
    env = fake_home(home)
    yield env
    end_host(env)


def test_an_answer_streams_into_the_page(browser: Any, env: dict[str, str], tmp_path: Path):
    question = '%%illama\n/fake {"step_sec": 0.03, "tokens": 100, "text": "The capital of France is **Paris**. "}'
    write_notebook(tmp_path / "notebooks" / "a.ipynb", ["%load_ext illama", question, "%illama list", "%illama ps"])
    with jupyter_lab(tmp_path / "notebooks", env) as (url, token):
        page = opened(browser, url, token, "a.ipynb")
        run_all(page)
        output = page.locator(".jp-CodeCell >> nth=1").locator(".jp-OutputArea-output")
        output.locator("strong >> nth=0").wait_for(timeout=60_000)
        early = output.inner_text()
        output.get_by_text(re.compile(r"100 tokens · .* on CPU")).wait_for(timeout=60_000)
        late = output.inner_text()
        page.locator(".jp-CodeCell >> nth=3").locator("table").wait_for(timeout=30_000)
        keep(page, "lab-light")
        page.close()
    assert "tokens" not in early
    assert len(early) < len(late)
    assert late.count("The capital of France is Paris.") >= 11


@pytest.mark.parametrize("form", ["md", "text"])
def test_nothing_that_a_model_writes_is_run(browser: Any, env: dict[str, str], tmp_path: Path, form: str):
    write_notebook(tmp_path / "notebooks" / "b.ipynb", ["%load_ext illama", f"%%illama -f {form}\n{HOSTILE}"])
    requests: list[str] = []
    with jupyter_lab(tmp_path / "notebooks", env, dark=True) as (url, token):
        page = opened(browser, url, token, "b.ipynb")
        page.on("request", lambda request: requests.append(request.url))
        run_all(page)
        output = page.locator(".jp-CodeCell >> nth=1").locator(".jp-OutputArea-output")
        output.get_by_text(re.compile("tokens/s")).wait_for(timeout=60_000)
        page.wait_for_load_state("networkidle")
        shown = output.inner_text()
        hacked = page.evaluate("window.hacked")
        links = output.locator("a").evaluate_all("links => links.map(link => link.getAttribute('href') || '')")
        attributes = output.evaluate_all(
            "all => all.flatMap(o => [...o.querySelectorAll('*')]).flatMap(e => e.getAttributeNames())"
        )
        keep(page, f"lab-dark-{form}")
        page.close()
    assert hacked is None
    assert [name for name in attributes if name.startswith("on")] == []
    assert not any("javascript" in link for link in links)
    assert not any("tracker" in url for url in requests)
    assert '<p onclick="window.hacked=5">a $x$ y</p>' in shown
    assert "<b>code</b>" in shown
    assert "<script>window.hacked=2</script>" in shown
