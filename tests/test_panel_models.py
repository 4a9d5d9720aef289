"""The panel's models and devices on the page, with no kernel at all: pulled, loaded, kept, unloaded, removed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support_gate import Jupyter, jupyter_server
from support_host import eventually, fake_model
from support_hub import PlayHub, Repo, playing, repo_of
from support_kernels import end_host, environment
from support_models import tiny_ir
from support_panel import WAIT, faults, keep, needs_a_browser, open_panel

from illama.client import Client
from illama.config import Settings
from illama.errors import CancelledError
from illama.host.keys import InferenceKeys
from illama.pull import environment as converter

pytestmark = needs_a_browser

REPO = "OpenVINO/phi-4-int4-ov"
WEIGHTS = b"weights!" * 500_000
CHECKPOINT = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 2048}
MARKUP = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"


@dataclass
class Stage:
    """One Jupyter server with a host, a hub that can be slowed down, and a page of the panel."""

    home: Path
    hub: PlayHub
    server: Jupyter
    browser: Any
    page: Any

    def client(self) -> Client:
        """A program beside the panel."""
        return Client(settings=Settings.load({"ILLAMA_HOME": str(self.home)}), start=False)

    def tab(self, name: str) -> Any:
        """The page, with this tab in front."""
        self.page.get_by_role("tab", name=name).click()
        return self.page

    def row(self, name: str) -> Any:
        """A model's row in the list."""
        return self.page.locator(f'li.model[data-model="{name}"]')

    def job(self) -> Any:
        """The only pull that is shown."""
        return self.page.locator("li.job")

    def pull(self, source: str) -> None:
        """Type a source and press Enter."""
        self.tab("Models").get_by_label("Pull", exact=True).fill(source)
        self.page.keyboard.press("Enter")


@pytest.fixture(scope="module")
def whole(module_home: Path, browser: Any) -> Iterator[Stage]:
    home = module_home
    fake_model(home, "Quick", context_length=16384, stored={"pipeline": "paged"})
    fake_model(home, "Slow", load_sec=60)
    fake_model(home, "Broken", load_error=f"the device is on fire {MARKUP}")
    with playing() as hub:
        hub.repos[REPO] = repo_of(tiny_ir(home.parent / "repo", weights=WEIGHTS))
        hub.repos["some/Tiny"] = Repo(
            {"config.json": json.dumps(CHECKPOINT).encode(), "model.safetensors": b"w" * 3000}
        )
        try:
            with jupyter_server(home, HF_ENDPOINT=hub.url) as server:
                yield Stage(home, hub, server, browser, open_panel(browser, server))
        finally:
            end_host(environment(home))


@pytest.fixture
def stage(whole: Stage) -> Iterator[Stage]:
    whole.hub.pace = 0.0
    yield whole
    told = [text for text in whole.page.complaints if "Failed to load resource" not in text]
    whole.page.complaints.clear()
    assert told == [], "the page's console has nothing to complain of"


def test_a_pull_shows_how_far_it_is_how_fast_and_how_long_still_and_can_be_cancelled(stage: Stage):
    stage.hub.pace = 0.5  # for each 64 KiB
    stage.pull("phi4")
    figures = stage.job().locator(".figures")
    figures.get_by_text("left").wait_for(timeout=WAIT)
    said = figures.inner_text()
    keep(stage.page, "models-pull")
    assert "% · " in said
    assert " of 4.0 MB · " in said
    assert "kB/s · about " in said
    assert "Downloading" in stage.job().inner_text()
    bar = stage.job().get_by_role("progressbar")
    assert 0 < float(bar.get_attribute("value")) < float(bar.get_attribute("max"))
    stage.job().get_by_role("button", name="Cancel").click()
    stage.job().wait_for(state="detached", timeout=WAIT)
    with stage.client() as client:
        assert [job["state"] for job in client.jobs()] == ["cancelled"]
        assert "phi-4" not in {model["name"] for model in client.list()}


def test_a_pull_that_others_watch_is_theirs_too(stage: Stage):
    stage.hub.gate = threading.Event()
    ended: list[object] = []

    def program() -> None:
        with stage.client() as client:
            try:
                ended.append(list(client.pull("phi4")))
            except CancelledError as error:
                ended.append(error)

    thread = threading.Thread(target=program)
    thread.start()
    try:
        stage.tab("Models")
        cancel = stage.job().get_by_role("button", name="Cancel")
        cancel.click(timeout=WAIT)
        dialog = stage.page.get_by_role("dialog", name="Cancel the pull of phi4 for all?")
        assert "Somebody else waits for it" in dialog.inner_text(timeout=WAIT)
        stage.page.keyboard.press("Escape")
        assert cancel.evaluate("button => button.getRootNode().activeElement === button"), "the focus is back"
        assert ended == []
        cancel.click()
        stage.page.get_by_role("button", name="Cancel it for all").click()
        thread.join(30)
    finally:
        gate, stage.hub.gate = stage.hub.gate, None
        gate.set()
        thread.join(30)
    (end,) = ended
    assert isinstance(end, CancelledError)
    stage.job().wait_for(state="detached", timeout=WAIT)


def test_a_pulled_model_is_told_of_and_removed_after_a_question(stage: Stage):
    stage.pull("phi4")
    stage.page.get_by_role("status").get_by_text("phi-4 is ready.").first.wait_for(timeout=WAIT)
    row = stage.row("phi-4")
    # Waited for: a row that has never been painted has no text yet.
    row.locator(".size").get_by_text("4.0 MB").wait_for(timeout=WAIT)
    toggle = row.get_by_role("button", name="phi-4", exact=True)
    toggle.focus()
    stage.page.keyboard.press("Enter")
    row.get_by_text("Apache-2.0").wait_for(timeout=WAIT)
    told = row.locator(".details").inner_text()
    assert toggle.get_attribute("aria-expanded") == "true"
    assert "2,048 tokens" in told
    assert "c" * 40 in told, "the revision"
    keep(stage.page, "models-details")
    remove = row.get_by_role("button", name="Remove phi-4")
    remove.click()
    dialog = stage.page.get_by_role("dialog", name="Remove phi-4?")
    assert "about 4.0 MB of disk come free" in dialog.inner_text()
    keep(stage.page, "models-remove")
    dialog.get_by_role("button", name="Cancel").click()
    assert row.is_visible()
    remove.click()
    dialog.get_by_role("button", name="Remove").click()
    row.wait_for(state="detached", timeout=WAIT)
    assert "phi-4 is removed: 4.0 MB came free." in stage.page.locator(".models-part > .notice").inner_text()
    focused = "() => document.getElementById('panel').shadowRoot.activeElement?.tagName"
    assert stage.page.evaluate(focused) == "BUTTON", "the next row's"


def test_a_model_is_loaded_kept_and_unloaded_and_the_countdown_goes_on_by_itself(stage: Stage):
    stage.tab("Models")
    row = stage.row("Quick")
    row.get_by_role("button", name="Load Quick").click()
    row.get_by_text("● loaded").wait_for(timeout=WAIT)
    unload = row.get_by_role("button", name="Unload Quick")
    assert unload.evaluate("button => button.getRootNode().activeElement === button"), "it was pressed as Load"
    stage.tab("Device")
    card = stage.page.locator('li.loaded-model[data-model="Quick"]')
    card.get_by_text("Unloads in 9:").wait_for(timeout=WAIT)
    assert "● loaded on CPU" in card.inner_text()
    assert "measured" in card.inner_text()
    device = stage.page.locator('li.device[data-device="CPU"]')
    device.get_by_text("of the machine's memory are free").wait_for(timeout=WAIT)
    first = card.locator(".left").inner_text()
    stage.page.route("**/api/ps*", lambda route: None)  # nobody answers any more
    card.locator(".left").filter(has_not_text=first).wait_for(timeout=WAIT)
    stage.page.unroute("**/api/ps*")
    stage.page.reload()
    card.get_by_role("button", name="Keep Quick loaded").click(timeout=WAIT)
    card.get_by_text("Stays loaded until another model needs its place").wait_for(timeout=WAIT)
    keep(stage.page, "device-kept")
    with stage.client() as client:
        assert client.ps()[0]["keep_alive"] == -1
    pressed = card.get_by_role("button", name="Keep Quick loaded", pressed=True)
    pressed.click()
    card.get_by_text("Unloads in").wait_for(timeout=WAIT)
    words = stage.page.locator("figure.chart .spoken").all_text_contents()
    assert len(words) == 2
    assert all(text.startswith("Now ") for text in words)
    card.get_by_role("button", name="Unload Quick now").click()
    stage.page.get_by_text("Nothing is loaded.").wait_for(timeout=WAIT)
    with stage.client() as client:
        assert client.ps() == []


def test_a_load_that_takes_long_is_shown_and_can_be_stopped(stage: Stage):
    stage.tab("Models")
    row = stage.row("Slow")
    row.get_by_role("button", name="Load Slow").click()
    row.get_by_text("loading").first.wait_for(timeout=WAIT)
    stage.tab("Device").get_by_text("loading on CPU for").wait_for(timeout=WAIT)
    keep(stage.page, "device-loading")
    stage.tab("Models")
    row.get_by_role("button", name="Stop loading Slow").click()
    row.get_by_role("button", name="Load Slow").wait_for(timeout=WAIT)
    with stage.client() as client:
        eventually(lambda: client.ps() == [], "the load has ended")


def test_a_load_that_fails_says_so_at_its_model_and_runs_nothing_of_what_it_says(stage: Stage):
    stage.tab("Models")
    row = stage.row("Broken")
    row.get_by_role("button", name="Load Broken").click()
    row.get_by_text("on fire").wait_for(timeout=WAIT)
    assert MARKUP in row.inner_text()
    assert_nothing_ran(stage)
    row.get_by_role("button", name="Dismiss").click()
    assert "on fire" not in row.inner_text()


def test_a_pull_that_fails_tells_why_and_is_tried_again_or_dismissed(stage: Stage):
    stage.hub.repos["hostile/model"] = repo_of(tiny_ir(stage.home.parent / "hostile"), gated=True, licence=MARKUP)
    stage.hub.repos["hostile/model"].files[f"{MARKUP}.bin"] = b"x" * 100
    stage.pull("hostile/model")
    stage.job().get_by_text("✕ failed").wait_for(timeout=WAIT)
    first = stage.job().get_attribute("data-job")
    keep(stage.page, "models-failed")
    assert_nothing_ran(stage)
    stage.job().get_by_role("button", name="Try again").click()
    stage.page.locator(f'li.job:not([data-job="{first}"])').get_by_text("✕ failed").wait_for(timeout=WAIT)
    assert stage.job().count() == 1, "the second try takes the first one's place"
    stage.job().get_by_role("button", name="Dismiss").click()
    stage.job().wait_for(state="detached", timeout=WAIT)
    with stage.client() as client:
        assert [job for job in client.jobs() if job["state"] == "failed"] == [], "it is gone for all, and for good"


def test_a_source_that_is_markup_is_refused_in_words(stage: Stage):
    stage.pull(MARKUP)
    stage.page.locator(".models-part .error, .models-part .notice p").filter(has_text="<img").first.wait_for(
        timeout=WAIT
    )
    assert_nothing_ran(stage)
    if stage.job().count():
        stage.job().get_by_role("button", name="Dismiss").click()
        stage.job().wait_for(state="detached", timeout=WAIT)


def test_a_checkpoint_asks_before_the_converters_environment_is_made(stage: Stage):
    if converter.find(Settings.load({"ILLAMA_HOME": str(stage.home)})) is not None:
        pytest.skip("this environment can convert by itself")
    agreed: list[dict[str, Any]] = []

    def answer(route: Any) -> None:
        body = json.loads(route.request.post_data or "{}")
        if route.request.method != "POST" or not body.get("make_environment"):
            route.continue_()
            return
        agreed.append(body)  # to go on would fetch two gigabytes
        route.fulfill(content_type="application/x-ndjson", body='{"status": "success", "name": "Tiny"}\n')

    stage.page.route("**/api/pull", answer)
    stage.pull("some/Tiny")
    dialog = stage.page.get_by_role("dialog", name="Make the converter's environment?")
    dialog.get_by_text("some/Tiny is a checkpoint").wait_for(timeout=WAIT)
    assert "about 2 GB" in dialog.inner_text()
    keep(stage.page, "models-converter")
    dialog.get_by_role("button", name="Cancel").click()
    assert agreed == []
    stage.job().get_by_role("button", name="Make it and pull").click()
    dialog.get_by_role("button", name="Make it and pull").click()
    stage.page.get_by_text("Tiny is ready.").first.wait_for(timeout=WAIT)
    stage.page.unroute("**/api/pull")
    assert [body["model"] for body in agreed] == ["some/Tiny"]


def test_names_are_suggested_from_the_catalogue(stage: Stage):
    stage.tab("Models").get_by_label("Pull", exact=True).focus()
    stage.page.locator("#offers option[value=smollm2]").wait_for(state="attached", timeout=WAIT)
    label = stage.page.locator("#offers option[value=smollm2]").get_attribute("label")
    assert label == "smollm2: HuggingFaceTB/SmolLM2-135M-Instruct, 92.9 MB"


def test_where_models_may_not_be_managed_it_is_said_and_nothing_is_offered(stage: Stage):
    scratch = stage.home.parent / "strict"
    scratch.mkdir()
    with jupyter_server(stage.home, "--IllamaServerApp.allow_manage=False", JUPYTER_RUNTIME_DIR=str(scratch)) as server:
        page = open_panel(stage.browser, server)
        page.get_by_role("tab", name="Models").click()
        page.get_by_text("This server lets models be used, not added or removed.").wait_for(timeout=WAIT)
        assert not page.get_by_label("Pull", exact=True).is_visible()
        assert page.get_by_role("button", name="Load Quick").is_visible()
        assert page.get_by_role("button", name="Remove Quick").count() == 0
        page.close()


def test_behind_an_inference_key_models_are_listed_and_it_is_said_what_cannot_be_seen(stage: Stage):
    scratch = stage.home.parent / "shared"
    scratch.mkdir()
    with stage.client() as client:
        url = client.base_url
    key = InferenceKeys.of(Settings.load({"ILLAMA_HOME": str(stage.home)})).add("panel")
    variables = {"ILLAMA_BASE_URL": url, "ILLAMA_API_KEY": key, "JUPYTER_RUNTIME_DIR": str(scratch)}
    with jupyter_server(stage.home, **variables) as server:
        page = open_panel(stage.browser, server)
        page.get_by_role("tab", name="Models").click()
        page.get_by_text("Behind this panel is an inference key: models can be used").wait_for(timeout=WAIT)
        assert page.locator('li.model[data-model="Quick"]').is_visible()
        assert page.locator("li.model .actions button:visible").count() == 0
        page.get_by_role("tab", name="Device").click()
        assert page.get_by_text("is not told what is loaded").is_visible()
        page.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1000), ("dark", 300)])
def test_axe_finds_no_fault_in_any_of_it_and_nothing_is_cut_off(stage: Stage, scheme: str, width: int):
    stage.page.emulate_media(color_scheme=scheme)
    stage.page.set_viewport_size({"width": width, "height": 800})
    stage.pull("no-such/model")
    stage.job().get_by_text("✕ failed").wait_for(timeout=WAIT)
    stage.row("Broken").get_by_role("button", name="Load Broken").click()
    stage.row("Broken").get_by_text("on fire").wait_for(timeout=WAIT)
    quick = stage.row("Quick")
    quick.get_by_role("button", name="Load Quick").click()
    quick.get_by_text("● loaded").wait_for(timeout=WAIT)
    quick.get_by_role("button", name="Quick", exact=True).click()
    quick.get_by_text("Weights' sha256").wait_for(timeout=WAIT)
    found = {"models": faults(stage.page)}
    quick.get_by_role("button", name="Remove Quick").click()
    found["dialog"] = faults(stage.page)
    stage.page.keyboard.press("Escape")
    stage.tab("Device").get_by_text("memory are free").wait_for(timeout=WAIT)
    found["device"] = faults(stage.page)
    stage.page.get_by_role("button", name="Unload Quick now").click()
    stage.page.get_by_text("Nothing is loaded.").wait_for(timeout=WAIT)
    found["nothing loaded"] = faults(stage.page)
    stage.tab("Models")
    quick.get_by_role("button", name="Quick", exact=True).click()
    stage.row("Broken").get_by_role("button", name="Dismiss").click()
    stage.job().get_by_role("button", name="Dismiss").click()
    stage.job().wait_for(state="detached", timeout=WAIT)
    stage.page.set_viewport_size({"width": 1000, "height": 800})
    assert found == {part: [] for part in found}


def assert_nothing_ran(stage: Stage) -> None:
    root = "document.getElementById('panel').shadowRoot"
    assert stage.page.evaluate(f"() => {root}.querySelectorAll('img, script').length") == 0
    assert stage.page.evaluate("() => window.hacked") is None
