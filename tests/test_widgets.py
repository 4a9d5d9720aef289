"""The widgets without a browser: their traits, and what they ask of a host that is played."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import ipywidgets
import playhost
import pytest
from support_host import eventually
from traitlets import TraitError, link

from illama.client import Client
from illama.errors import ConfigError, ConverterNeededError, EngineDiedError, ModelNotFoundError, PullError
from illama.widgets import HostStatus, ModelPicker, PullProgress, RunBox, feed, worker

MODEL = "SmolLM2-135M-Instruct"
HOSTILE = '<img src=x onerror="x()"> **bold** [a](javascript:x())'


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[playhost.Play]:
    """A host that ILLAMA_BASE_URL names. At the end all widgets are closed, and their thread with them."""
    with playhost.in_a_thread() as played:
        monkeypatch.setenv("ILLAMA_BASE_URL", played.url)
        monkeypatch.setenv("ILLAMA_API_KEY", playhost.KEY)
        yield played
        ipywidgets.Widget.close_all()
        eventually(lambda: not threads(), "the widgets' thread ends")


@pytest.fixture
def instances(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The widgets there are, which are not kept alive by being there."""
    found: Any = weakref.WeakValueDictionary()
    monkeypatch.setattr("ipywidgets.widgets.widget._instances", found)
    return found


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == worker.NAME]


def seen(widget: Any, trait: str) -> list[Any]:
    """What a trait becomes from now on."""
    values: list[Any] = []
    widget.observe(lambda change: values.append(change.new), trait)
    return values


def paths(play: playhost.Play) -> list[str]:
    return [f"{asked.get('method', 'POST')} {asked['path']}" for asked in play.asked]


def test_a_picker_offers_what_is_installed_and_follows_it(play: playhost.Play):
    picker = ModelPicker()
    assert picker.state == "up"
    assert picker.options == ("broken", "slow", MODEL)
    play.installed.append("Another")
    picker._feed.refresh(20)
    assert picker.options == ("Another", "broken", "slow", MODEL)
    play.installed.remove("slow")
    picker.value = "Another"
    play.installed.remove("Another")
    picker._feed.refresh(20)
    assert picker.value in picker.options


def test_a_pickers_value_is_found_in_any_case_of_letters_and_nothing_else_is_taken(play: playhost.Play):
    picker = ModelPicker(MODEL.upper())
    assert picker.value == MODEL
    with pytest.raises(TraitError, match="'nobody' is not one of the models"):
        picker.value = "nobody"
    assert picker.value == MODEL


def test_what_is_chosen_in_the_list_is_the_value_and_linked_traits_follow(play: playhost.Play):
    picker, text = ModelPicker(), ipywidgets.Text()
    link((picker, "value"), (text, "value"))
    picker._list.value = "slow"
    assert (picker.value, text.value) == ("slow", "slow")
    text.value = "broken"
    assert (picker.value, picker._list.value) == ("broken", "broken")


def test_a_picker_without_models_says_how_to_get_one(play: playhost.Play):
    play.installed.clear()
    picker = ModelPicker()
    assert (picker.value, picker.options) == (None, ())
    assert "%illama pull smollm2" in picker._note.value


def test_a_status_tells_what_is_loaded(play: playhost.Play):
    play.loaded.append(MODEL)
    play.jobs.append({"source": "phi4", "state": "running", "status": "downloading", "watchers": 1})
    status = HostStatus()
    assert (status.state, status.loaded, status.jobs, status.running, status.queued) == (
        "up",
        (MODEL,),
        ("phi4",),
        0,
        0,
    )
    assert set(status.models) == {MODEL, "slow", "broken"}
    assert MODEL in status._table.value
    assert MODEL in repr(status)


def test_a_status_without_a_host_says_so_and_starts_none(home: Any):
    status = HostStatus()
    assert (status.state, status.models) == ("down", ())
    assert "No model host is running" in status.error
    assert status._start.layout.display != "none"
    assert not (home / "run" / "host.json").exists()
    status.close()


def test_ten_widgets_ask_no_more_than_one(play: playhost.Play):
    first = HostStatus()
    before = play.looks.count("/api/ps")
    others = [HostStatus() for _ in range(5)] + [ModelPicker() for _ in range(4)]
    assert len(threads()) == 1
    between = play.looks.count("/api/ps")
    assert between - before <= 9 + 1  # each is told once when it is made
    first._feed.refresh(20)
    assert play.looks.count("/api/ps") == between + 1
    assert all(each.state == "up" for each in others)
    assert play.asked == []


def test_what_nobody_sees_any_more_is_not_kept_up_to_date(play: playhost.Play):
    status = HostStatus()
    assert status.listening
    status._view_count = 1
    status._view_count = 0
    assert not status.listening
    status._view_count = 1
    assert status.listening


def test_news_begin_again_when_the_last_listener_has_left(play: playhost.Play):
    status = HostStatus()
    status.close()
    eventually(lambda: not threads(), "the thread ends")
    assert HostStatus().state == "up"


def test_a_pull_tells_its_phases_and_ends_well(play: playhost.Play):
    pull = PullProgress("smollm2")
    states, completed = seen(pull, "state"), seen(pull, "completed")
    assert pull.start().wait(20) == MODEL
    assert (pull.state, pull.name, pull.phase, pull.completed, pull.total) == ("done", MODEL, "download", 100, 100)
    assert states == ["running", "done"]
    assert completed == [50, 100]
    assert f"{MODEL} is ready." in pull._bars.value
    assert f"{MODEL} is ready." in repr(pull)


def test_a_pull_can_be_awaited(play: playhost.Play):
    async def cell() -> str:
        return await PullProgress("smollm2").start()

    assert asyncio.run(cell()) == MODEL


def test_the_buttons_of_a_pull_start_and_cancel_it(play: playhost.Play):
    pull = PullProgress()
    pull._field.value = "slow"
    pull._go.click()
    eventually(lambda: pull.completed == 100, "it runs")
    assert (pull.source, pull.state, pull._go.disabled, pull._cancel.disabled) == ("slow", "running", True, False)
    pull._cancel.click()
    assert pull.wait(20) == ""
    assert (pull.state, pull.error, pull._cancel.disabled) == ("cancelled", "", True)
    assert "is cancelled" in pull._note.value
    stop = play.asked[-1]
    assert (stop["method"], stop["watcher"]) == ("DELETE", play.asked[0]["watcher"])
    assert "force" not in stop


def test_a_pull_that_others_wait_for_is_left(play: playhost.Play):
    play.pull_state = "running"
    pull = PullProgress("slow").start()
    eventually(lambda: pull.completed == 100, "it runs")
    pull.stop()
    pull.wait(20)
    assert pull.state == "left"
    assert "goes on" in pull._note.value


def test_closing_a_pull_only_stops_watching(play: playhost.Play):
    pull = PullProgress("slow").start()
    eventually(lambda: pull.completed == 100, "it runs")
    pull.close()
    assert play.left.wait(20)
    eventually(lambda: not threads(), "the thread ends")
    assert paths(play) == ["POST /api/pull"]


def test_a_failed_pull_says_why_and_what_to_do_and_can_be_tried_again(play: playhost.Play):
    play.pull_error = PullError("No space is left.", hint="Make some.")
    pull = PullProgress("smollm2").start()
    with pytest.raises(PullError, match="No space"):
        pull.wait(20)
    assert (pull.state, pull.error) == ("failed", "No space is left. Make some.")
    assert "Make some." in pull._note.value
    assert "Traceback" not in pull._note.value
    play.pull_error = None
    pull._go.click()
    assert pull.wait(20) == MODEL
    assert (pull.state, pull.error) == ("done", "")


def test_a_pull_that_needs_an_environment_asks_by_its_button(play: playhost.Play):
    play.pull_error = ConverterNeededError("x is a checkpoint.", hint="Pull it again with --yes.")
    pull = PullProgress("org/x").start()
    with pytest.raises(ConverterNeededError):
        pull.wait(20)
    assert pull._go.description == "Make it and pull"
    assert "make_environment" not in play.asked[-1]
    play.pull_error = None
    pull._go.click()
    pull.wait(20)
    assert play.asked[-1]["make_environment"] is True


def test_a_pull_of_nothing_asks_for_a_name(play: playhost.Play):
    pull = PullProgress().start()
    assert (pull.state, play.asked) == ("failed", [])
    assert "smollm2" in pull.error


def test_a_box_shows_an_answer_and_its_figures(play: playhost.Play):
    box = RunBox("Capital of France?", model=MODEL, system="Be brief.", max_tokens=5)
    states = seen(box, "state")
    reply = box.run().wait(20)
    assert reply is box.reply
    assert box.answer == reply.text == "Paris \x1b[31mis it."
    assert states == ["waiting", "answering", "done"]
    assert "61.2 tokens/s" in box._note.value
    (asked,) = play.asked
    assert [message["content"] for message in asked["messages"]] == ["Be brief.", "Capital of France?"]
    assert (asked["model"], asked["max_tokens"]) == (MODEL, 5)
    assert "Paris" in repr(box)


def test_a_box_stops_an_answer_and_keeps_what_has_come(play: playhost.Play):
    box = RunBox("Capital?", model="slow")
    box._go.click()
    eventually(lambda: box.answer == "Paris", "it answers")
    assert (box._go.disabled, box._halt.disabled) == (True, False)
    box._halt.click()
    reply = box.wait(20)
    assert (box.state, reply.finish_reason, reply.text) == ("stopped", "cancelled", "Paris")
    assert play.left.wait(20)
    assert "stopped" in box._note.value


def test_a_box_says_in_place_what_went_wrong(play: playhost.Play):
    box = RunBox("Capital?", model="broken")
    with pytest.raises(EngineDiedError):
        box.run().wait(20)
    assert (box.state, box.error, box.answer) == ("failed", "The engine ended. Ask again.", "Paris")
    assert "Ask again." in box._note.value
    box.model = "nobody"
    with pytest.raises(ModelNotFoundError):
        box.run().wait(20)
    assert box.state == "failed"


def test_a_box_without_a_question_asks_for_one(play: playhost.Play):
    box = RunBox(model=MODEL)
    box._go.click()
    assert (box.state, play.asked) == ("failed", [])
    assert "Write one" in box.error


def test_a_box_follows_a_picker_or_has_one_of_its_own(play: playhost.Play):
    picker = ModelPicker(MODEL)
    box = RunBox(model=picker)
    picker.value = "slow"
    assert box.model == "slow"
    own = RunBox()
    assert own.model in picker.options
    assert any(isinstance(child, ModelPicker) for child in own.children)


def test_the_words_in_a_box_are_those_of_its_fields(play: playhost.Play):
    box = RunBox(model=MODEL)
    box._question.value, box._orders.value = "Why?", "Be brief."
    assert (box.prompt, box.system) == ("Why?", "Be brief.")
    box.prompt = "How?"
    assert box._question.value == "How?"


def test_nothing_that_a_model_writes_reaches_the_page_as_html(play: playhost.Play):
    box = RunBox(model=MODEL)
    box._came(HOSTILE)
    box._draw()
    (output,) = box._shown.outputs
    shown = output["data"]["text/markdown"]
    assert "**bold**" in shown
    assert "<img" not in shown
    assert "(javascript" not in shown
    assert "<img" not in box.fallback()[0]


def test_a_widget_has_a_static_form_for_those_without_widgets(play: playhost.Play):
    for widget in (ModelPicker(), HostStatus(), PullProgress("smollm2"), RunBox("Capital?", model=MODEL)):
        bundle = widget._repr_mimebundle_()
        assert set(bundle) == {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}
        assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == widget.model_id
        assert bundle["text/plain"].strip()
        assert bundle["text/html"].strip()


def test_an_observer_that_fails_ends_nothing(play: playhost.Play, caplog: pytest.LogCaptureFixture):
    def broken(change: Any) -> None:
        raise ValueError("mine")

    pull = PullProgress("smollm2")
    pull.observe(broken, "completed")
    assert pull.start().wait(20) == MODEL
    assert pull.state == "done"
    assert "mine" in caplog.text


def test_who_waits_in_an_observer_is_told_that_it_cannot(play: playhost.Play, caplog: pytest.LogCaptureFixture):
    pull = PullProgress("smollm2")
    pull.observe(lambda change: pull.wait(), "completed")
    assert pull.start().wait(20) == MODEL
    assert "cannot wait for a widget" in caplog.text


def test_closing_takes_along_all_that_the_widget_is_made_of(play: playhost.Play, instances: Any):
    made = (ModelPicker(), HostStatus(), PullProgress("smollm2"), RunBox("Capital?"))
    assert len(instances) > 30
    for widget in made:
        widget.close()
    assert list(instances.values()) == []


def test_a_client_of_ones_own_is_used(play: playhost.Play, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ILLAMA_BASE_URL")
    client = Client(play.url, playhost.KEY)
    assert HostStatus(client=client).state == "up"
    assert RunBox("Capital?", model=MODEL, client=client).run().wait(20).text.startswith("Paris")
    assert feed.feed_of(client) is feed.feed_of(Client(play.url, playhost.KEY))
    assert feed.feed_of(client) is not feed.feed_of(None)


def test_without_ipywidgets_the_way_to_get_it_is_told(monkeypatch: pytest.MonkeyPatch):
    import illama.widgets

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as told:
        illama.widgets.__getattr__("RunBox")
    assert "illama[lab]" in told.value.hint


def test_the_package_alone_imports_no_ipywidgets():
    import subprocess

    code = "import sys, illama.widgets; print('ipywidgets' in sys.modules, illama.widgets.__all__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False ['HostStatus', 'ModelPicker', 'PullProgress', 'RunBox']"
