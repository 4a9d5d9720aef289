"""The panel's chat on a page with no kernel: a real Jupyter server, a real host with the fake engine, and Chromium."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_gate import TOKEN, Jupyter
from support_host import eventually, fake_model
from support_panel import keep, needs_a_browser, open_panel, panel_server, says

pytestmark = needs_a_browser

WAIT = 20_000  # milliseconds: an answer on a busy machine, a model's load before it

HOSTILE = """\
<script>window.hacked=1</script> <img src=x onerror="window.hacked=2"> <svg onload=window.hacked=3>

[a](javascript:window.hacked=4) [b](JaVa\tScript:window.hacked=5)
[c](&#106;avascript:window.hacked=6) [d](data:text/html,x)
[e](https://a.example/"onmouseover="window.hacked=7") <javascript:window.hacked=8> ![leak](/illama/ui/leak.png)
![leak](https://leak.example/x.png) **never closed *nor this `nor that

| <b onclick=window.hacked=9> | x |
|---|---|
| </td></table><script>window.hacked=10</script> | y | z |

- a
  - b
    - c <iframe src=javascript:window.hacked=11>

\u202eright to left\u202c {long}

```html
</code></pre><script>window.hacked=12</script>
""".replace("{long}", "w" * 3000)


@pytest.fixture(scope="module")
def server(module_home: Path) -> Iterator[Jupyter]:
    fake_model(module_home, "small", context_length=64)
    fake_model(module_home, "slow-to-load", load_sec=3)
    fake_model(module_home, "vectors", task="embedding")
    with panel_server(module_home) as server:
        yield server


@pytest.fixture
def page(browser: Any, server: Jupyter) -> Iterator[Any]:
    page = open_panel(browser, server)
    page.set_default_timeout(WAIT)
    page.get_by_role("combobox", name="Model").select_option("echo")
    yield page
    page.context.close()


def ask(page: Any, question: str) -> None:
    page.get_by_label("Question", exact=True).and_(page.locator("textarea")).fill(question)
    page.keyboard.press("Enter")


def answer(page: Any, index: int = -1) -> Any:
    """One of the answers, the last one by default."""
    return page.locator(".answer").nth(index)


def ended(page: Any) -> str:
    """What the last answer took, once it has ended."""
    took = answer(page).locator(".took")
    took.wait_for(timeout=WAIT)
    return str(took.inner_text())


def sent(page: Any) -> dict[str, Any]:
    """What the engine was sent, if it was asked to answer with that."""
    kept = page.evaluate("JSON.parse(sessionStorage.getItem('illama.conversations'))[0].messages.at(-1).content")
    return dict(json.loads(kept))


def busy(server: Jupyter) -> int:
    models = server.cookieless("GET", "/api/ps", headers={"Authorization": f"Bearer {TOKEN}"}).json()["models"]
    return sum(model["running"] for model in models)


def test_an_answer_grows_and_says_what_it_took(page: Any):
    ask(page, says("The capital is **Paris**. ", tokens=60, step_sec=0.02))
    answer(page).locator("strong").first.wait_for(timeout=WAIT)
    early = answer(page).locator(".markdown").last.inner_text()
    took = ended(page)
    late = answer(page).locator(".markdown").last.inner_text()
    assert len(early) < len(late)
    assert late.startswith("The capital is Paris.")
    assert re.search(r"echo · 60 tokens · [\d.]+ tokens/s · first after \d", took)
    assert page.complaints == []


def test_only_models_that_talk_can_be_chosen(page: Any):
    options = page.get_by_role("combobox", name="Model").locator("option").all_inner_texts()
    assert set(options) == {"echo", "small", "slow-to-load"}


def test_stopping_frees_the_device_and_keeps_what_there_is(page: Any, server: Jupyter):
    ask(page, says("word ", tokens=4000, step_sec=0.02))
    answer(page).locator("p", has_text="word").first.wait_for(timeout=WAIT)
    assert busy(server) == 1
    page.get_by_role("button", name="Stop").click()
    assert "stopped" in ended(page)
    eventually(lambda: busy(server) == 0, "the device is free")
    assert answer(page).locator(".markdown").last.inner_text().startswith("word")
    assert page.locator("textarea:focus").count() == 1


def test_it_says_what_it_waits_for(page: Any):
    page.get_by_role("combobox", name="Model").select_option("slow-to-load")
    ask(page, "Hello")
    page.locator(".waiting", has_text="Loading slow-to-load").wait_for(timeout=WAIT)
    assert re.search(r"loaded in [\d.]+ s", ended(page))
    page.get_by_role("combobox", name="Model").select_option("echo")
    ask(page, "Hello again")
    page.locator(".took", has_text="echo").wait_for(timeout=WAIT)


def test_an_answer_goes_on_while_another_tab_and_another_conversation_are_in_front(page: Any):
    ask(page, says("word ", tokens=100, step_sec=0.02))
    answer(page).locator("p", has_text="word").first.wait_for(timeout=WAIT)
    page.get_by_role("tab", name="Device").click()
    page.get_by_role("tab", name="Chat").click()
    page.get_by_role("button", name="New", exact=True).click()
    ask(page, "Beside it")
    page.locator(".took").wait_for(timeout=WAIT)
    assert page.locator(".question").count() == 1
    page.get_by_role("combobox", name="Conversation").select_option(index=1)
    assert "100 tokens" in ended(page)
    assert answer(page).locator(".markdown").last.inner_text().count("word") == 50  # of two tokens each


def test_an_answer_is_made_anew_and_a_question_is_changed(page: Any, server: Jupyter):
    ask(page, "First")
    ended(page)
    ask(page, "Second")
    page.locator(".took").nth(1).wait_for(timeout=WAIT)
    assert page.get_by_role("button", name="Regenerate").count() == 1
    page.get_by_role("button", name="Regenerate").click()
    page.get_by_role("button", name="Regenerate").wait_for(timeout=WAIT)
    assert page.locator(".said").all_inner_texts() == ["First", "Second"]
    page.get_by_role("button", name="Edit").click()
    assert page.locator(".composer textarea").input_value() == "Second"
    ask(page, '/fake {"echo": true}')
    ended(page)
    # The engine was sent what the page shows: no question twice, no answer that was replaced.
    assert [message["content"] for message in sent(page)["messages"]] == ["First", "First", '/fake {"echo": true}']
    assert page.locator(".said").count() == 2


def test_settings_reach_the_engine(page: Any):
    page.locator(".settings summary").click()
    page.get_by_label("System prompt").fill("Be brief")
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_label("Max tokens").fill("3000")
    page.get_by_label("Seed").fill("7")
    ask(page, '/fake {"echo": true}')
    ended(page)
    keep(page, "chat-settings")
    told = sent(page)
    assert told["messages"][0] == {"role": "system", "content": "Be brief"}
    assert {"temperature": 0.5, "max_tokens": 3000, "seed": 7}.items() <= told["sampling"].items()


def test_conversations_survive_a_reload_and_are_renamed_and_deleted(page: Any):
    ask(page, "Remember this")
    ended(page)
    page.get_by_role("button", name="Rename").click()
    page.get_by_label("Name of the conversation").fill("My name for it")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="New", exact=True).click()
    ask(page, "And that")
    ended(page)
    page.reload()
    page.locator("header[data-connection=up]").wait_for(timeout=WAIT)
    picker = page.get_by_role("combobox", name="Conversation")
    assert picker.locator("option").all_inner_texts() == ["And that", "My name for it"]
    assert page.locator(".said").inner_text() == "And that"
    picker.select_option(label="My name for it")
    assert answer(page).locator(".markdown").last.inner_text() == "Remember this"
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert page.locator(".said").inner_text() == "Remember this"
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.locator(".said", has_text="And that").wait_for(timeout=WAIT)
    assert picker.locator("option").all_inner_texts() == ["And that"]
    kept = page.evaluate("[localStorage.length, sessionStorage.getItem('illama.conversations').includes('Remember')]")
    assert kept == [0, False]


def test_a_question_that_is_too_long_says_what_to_do(page: Any):
    page.get_by_role("combobox", name="Model").select_option("small")
    ask(page, "long " * 200)
    problem = answer(page).get_by_role("alert")
    problem.wait_for(timeout=WAIT)
    assert "maximum context length is 64 tokens" in problem.inner_text()
    assert "Begin a new conversation" in problem.inner_text()
    assert problem.get_by_role("button", name="Try again").is_visible()


def test_an_engine_that_dies_leaves_what_it_had_said_and_can_be_asked_again(page: Any):
    ask(page, says("half an answer, and more of it. ", tokens=40, die_at=6, step_sec=0.05))
    problem = answer(page).get_by_role("alert")
    problem.wait_for(timeout=WAIT)
    assert answer(page).locator(".markdown").last.inner_text().startswith("half an answer")
    assert "ended" in problem.inner_text()
    keep(page, "chat-died")
    # What failed is not sent along, and the host has a new engine for who asks next.
    ask(page, "Are you there?")
    page.locator(".took", has_text="tokens").last.wait_for(timeout=WAIT)
    assert answer(page).locator(".markdown").last.inner_text() == "Are you there?"


def test_a_way_that_is_cut_off_is_told_in_place(page: Any):
    page.route("**/v1/chat/completions", lambda route: route.abort())
    ask(page, "Hello?")
    problem = answer(page).get_by_role("alert")
    problem.wait_for(timeout=WAIT)
    assert "does not answer" in problem.inner_text()
    page.unroute("**/v1/chat/completions")
    problem.get_by_role("button", name="Try again").click()
    page.locator(".took", has_text="tokens").wait_for(timeout=WAIT)
    assert answer(page).locator(".markdown").last.inner_text() == "Hello?"
    assert page.locator(".said").count() == 1


def test_enter_sends_but_not_with_shift_and_not_what_is_still_composed(page: Any):
    box = page.locator(".composer textarea")
    box.fill("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    for more in ({"isComposing": True}, {"keyCode": 229}):
        box.evaluate(
            "(box, more) => box.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true, ...more}))",
            more,
        )
    assert page.locator(".question").count() == 0
    page.keyboard.press("Enter")
    assert page.locator(".said").inner_text() == "one\ntwo"
    ended(page)


def test_the_end_stays_in_sight_only_for_who_is_there(page: Any):
    place = "document.getElementById('panel')"
    from_end = f"{place}.scrollHeight - {place}.scrollTop - {place}.clientHeight"
    ask(page, says("line\n\n", tokens=600, step_sec=0.01))
    page.wait_for_function(f"() => {place}.scrollTop > 200", timeout=WAIT)
    assert page.evaluate(from_end) < 120
    page.mouse.move(400, 300)
    page.mouse.wheel(0, -5000)
    page.wait_for_function(f"() => {place}.scrollTop === 0")
    tall = page.evaluate(f"{place}.scrollHeight")
    page.wait_for_function(f"() => {place}.scrollHeight > {tall} + 200", timeout=WAIT)
    assert page.evaluate(f"{place}.scrollTop") == 0
    page.get_by_role("button", name="Stop").click()


def test_nothing_that_a_model_writes_is_run_or_fetched(page: Any):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    ask(page, says(HOSTILE))
    ended(page)
    page.wait_for_timeout(300)
    shown = answer(page).locator(".markdown").last
    links = shown.locator("a").evaluate_all("all => all.map(each => each.href)")
    tags = shown.evaluate("e => [...new Set([...e.querySelectorAll('*')].map(each => each.localName))]")
    names = shown.evaluate("e => [...e.querySelectorAll('*')].flatMap(each => each.getAttributeNames())")
    wide = page.evaluate("document.getElementById('panel').scrollWidth - document.getElementById('panel').clientWidth")
    keep(page, "chat-hostile")
    assert page.evaluate("window.hacked") is None
    assert all(link.startswith("https://a.example/") for link in links)
    assert not {"script", "img", "svg", "iframe", "style", "form", "object"} & set(tags)
    assert [name for name in names if name.startswith("on") or name == "style"] == []
    assert not [url for url in asked if "leak" in url or "example" in url]
    assert "<script>window.hacked=1</script>" in shown.inner_text()
    assert wide == 0
    assert page.complaints == []


def test_the_pages_policy_refuses_a_script_that_got_in_all_the_same(page: Any):
    page.evaluate(
        "() => { const s = document.createElement('script'); s.append('window.hacked=1'); document.body.append(s); }"
    )
    page.wait_for_timeout(50)
    assert page.evaluate("window.hacked") is None
    assert any("Content Security Policy" in complaint or "TrustedScript" in complaint for complaint in page.complaints)


def test_what_a_model_thinks_is_folded(page: Any):
    frames = [
        {"choices": [{"index": 0, "delta": {"reasoning_content": "First I *think*."}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"content": "Then I say."}, "finish_reason": "stop"}]},
    ]
    body = "".join(f"data: {json.dumps(frame)}\n\n" for frame in frames) + "data: [DONE]\n\n"
    page.route("**/v1/chat/completions", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    ask(page, "Think")
    answer(page).get_by_text("Then I say.").wait_for(timeout=WAIT)
    assert not answer(page).get_by_text("First I think.").is_visible()
    answer(page).locator("summary").click()
    assert answer(page).get_by_text("First I think.").is_visible()


def test_answers_and_code_are_copied_also_without_the_browsers_clipboard(page: Any):
    code = "print('a')\n    # four"
    ask(page, says(f"Text\n\n```python\n{code}\n```"))
    ended(page)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    read = "navigator.clipboard.readText()"
    page.get_by_role("button", name="Copy this code").click()
    page.get_by_text("Copied", exact=True).first.wait_for()
    assert page.evaluate(read) == code
    page.get_by_role("button", name="Copy as a cell").click()
    page.wait_for_function(f"async () => (await {read}) === {json.dumps(code)}")
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true})")
    page.get_by_role("button", name="Copy", exact=True).click()
    page.locator(".foot button", has_text="Copied").first.wait_for()
    page.evaluate("delete navigator.clipboard")
    assert page.evaluate(read) == f"Text\n\n```python\n{code}\n```"
