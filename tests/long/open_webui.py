"""A real Open WebUI before the gate of a real JupyterLab, with the real small model, in Chromium, as a person uses it.

    python tests/long/open_webui.py [--python PYTHON] [--venv FOLDER] [--embedding MODEL_FOLDER] [--shots FOLDER]

Makes an environment of Open WebUI's own by pip (Python 3.11 or 3.12; several GB), kept by `--venv`, and starts it with
the settings that `%illama openai open-webui` prints. Between it and the gate stands a proxy that passes every byte on
at once and writes down who asked what when. `--embedding` is an embedding model in OpenVINO's format, for documents;
`--shots` keeps screenshots. Two to ten minutes. Exit code 1 if one of these does not hold:

- The models are listed on the page; a chat streams into it, piece by piece.
- Stop on the page frees the device: the host has nothing running within a second.
- The title request, which goes out before the first chat, does not delay that chat's first token noticeably: it comes
  within a second of that of a later chat, for which no title is asked.
- Titles, follow-ups and tags are asked for and served.
- With `--embedding`: an uploaded document is embedded through the same URL, and a question about it is answered.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests"), str(ROOT / "server_ext")]

import common  # noqa: E402 - found by the path above
from support_host import RunningHost, eventually  # noqa: E402
from support_kernels import environment  # noqa: E402
from support_lab import CHROMIUM, jupyter_lab  # noqa: E402
from support_open_webui import Person, Watching, installed, open_webui  # noqa: E402

from illama.config import Settings  # noqa: E402
from illama.host.keys import InferenceKeys  # noqa: E402
from illama.registry import Registry  # noqa: E402

ANSWER = 256  # tokens, where a request names no limit; the title's own is 1000
LONG = "Tell me a long story about a dragon and the sea, in many sentences."
NOTICEABLE = 1.0  # seconds


def the_models_are_listed(person: Person, watching: Watching, host: RunningHost) -> None:
    person.opens_a_new_chat()
    person.page.get_by_text(common.MODEL).first.wait_for(timeout=60_000)
    listed = watching.of("/v1/models")
    assert listed, "the page asked for the models"
    slowest = max((each.ended or 0) - each.begun for each in listed)
    print(f"  GET /v1/models {len(listed)} times, the slowest {1000 * slowest:.0f} ms")
    person.shot("1-models")


def a_chat_streams_into_the_page(person: Person, watching: Watching, host: RunningHost) -> None:
    person.asks(LONG)
    chat = eventually(lambda: watching.of("chat"), "the chat is asked", 60)[0]
    eventually(lambda: chat.pieces, "the first token", 60)
    grown, until = set(), time.monotonic() + 180
    while chat.ended is None and chat.left is None and time.monotonic() < until:
        grown.add(len(person.answer()))
        time.sleep(0.05)
    eventually(lambda: len(person.answer()) > 20, "the answer is on the page", 20)
    print(
        f"  {len(chat.pieces)} pieces, seen at {len(grown)} lengths on the page; "
        f"first byte {chat.pieces[0] - chat.begun:.2f} s after the request; {len(chat.body.get('tools') or [])} tools"
    )
    print(f"  answer: {person.answer()[:160]!r}")
    assert len(chat.pieces) > 5
    assert len(grown) > 3
    person.shot("2-chat")


def background_requests_are_served(person: Person, watching: Watching, host: RunningHost) -> None:
    for kind in ("title", "follow-ups", "tags"):
        found = eventually(
            lambda kind=kind: [each for each in watching.of(kind) if each.ended], f"{kind} is served", 240
        )
        first = found[0]
        print(
            f"  {kind}: {first.status} after {(first.ended or 0) - first.begun:.1f} s, "
            f"stream {first.body.get('stream')}, max_tokens {first.body.get('max_tokens')}"
        )
        assert first.status == 200
    person.shot("3-follow-ups")


def the_title_does_not_delay_the_first_token(person: Person, watching: Watching, host: RunningHost) -> None:
    first = watching.of("chat")[0]
    title = watching.of("title")[0]
    with_title = first.pieces[1] - first.begun
    before = len(watching.of("chat"))
    person.asks("Tell me another one, about the mountains.")
    second = eventually(lambda: watching.of("chat")[before:], "the second chat", 60)[0]
    eventually(lambda: second.ended, "the second answer", 120)
    without = second.pieces[1] - second.begun
    print(
        f"  the title was asked {first.begun - title.begun:+.2f} s before the chat; first token {with_title:.2f} s "
        f"after the chat's request, {without:.2f} s in a chat without"
    )
    assert with_title < without + NOTICEABLE


def stop_frees_the_device(person: Person, watching: Watching, host: RunningHost) -> None:
    eventually(lambda: not any(model["running"] + model["queued"] for model in host.ps()), "all is quiet", 300)
    before = len(watching.of("chat"))
    person.asks(LONG)
    chat = eventually(lambda: watching.of("chat")[before:], "the chat is asked", 60)[0]
    eventually(lambda: len(chat.pieces) > 10, "it streams", 60)
    person.shot("4-before-stop")
    clicked = time.monotonic()
    person.page.get_by_role("button", name="Stop").first.click()
    eventually(lambda: chat.left or chat.ended, "the connection ends", 20)
    assert chat.left is not None, "it had ended before the click"
    running = eventually(
        lambda: not any(model["running"] for model in host.ps()) and time.monotonic(), "the device is free", 20
    )
    print(
        f"  the connection ended {chat.left - clicked:.2f} s after the click, the device was free "
        f"{running - chat.left:.2f} s later"
    )
    assert running - chat.left < 1.0
    person.shot("5-stopped")


def a_document_is_embedded(person: Person, watching: Watching, host: RunningHost) -> None:
    person.opens_a_new_chat()
    text = "The lighthouse of Bornholm was built in 1802 by a clockmaker named Agnete Holm. " * 40
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lighthouse.txt"
        path.write_text(text)
        person.page.locator("input[type=file]").first.set_input_files(str(path))
        eventually(lambda: [e for e in watching.of("/v1/embeddings") if e.ended], "it is embedded", 120)
        person.page.get_by_text("lighthouse.txt").first.wait_for(timeout=60_000)
    before = len(watching.of("chat"))
    person.asks("Who built the lighthouse of Bornholm?")
    chat = eventually(lambda: watching.of("chat")[before:], "the question", 120)[0]
    eventually(lambda: chat.ended, "its answer", 120)
    embedded = watching.of("/v1/embeddings")
    print(
        f"  {len(embedded)} requests for embeddings, all {sorted({each.status for each in embedded})}; "
        f"the document is in the question: {'clockmaker' in json.dumps(chat.body['messages'])}"
    )
    print(f"  answer: {person.answer()[:160]!r}")
    assert all(each.status == 200 for each in embedded)
    assert "clockmaker" in json.dumps(chat.body["messages"])
    person.shot("6-document")


CHECKS = (
    the_models_are_listed,
    a_chat_streams_into_the_page,
    background_requests_are_served,
    the_title_does_not_delay_the_first_token,
    stop_frees_the_device,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=shutil.which("python3.11") or sys.executable, help="Python 3.11 or 3.12")
    parser.add_argument("--venv", type=Path, help="keep Open WebUI's environment in this folder")
    parser.add_argument("--embedding", type=Path, help="a folder with an embedding model in OpenVINO's format")
    parser.add_argument("--shots", type=Path, help="keep screenshots in this folder")
    args = parser.parse_args()
    if args.shots:
        args.shots.mkdir(parents=True, exist_ok=True)
    failed = 0
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="illama-open-webui-")))
        program = installed((args.venv or scratch / "venv").absolute(), args.python)
        home = stack.enter_context(common.real_home())
        host = stack.enter_context(common.real_host(home, ILLAMA_IDLE_TTL_SEC="-1", ILLAMA_MAX_TOKENS=str(ANSWER)))
        embedding = None
        if args.embedding:  # with the host there: the command would start one of its own, without these settings
            pull = [sys.executable, "-m", "illama.cli", "pull", str(args.embedding.absolute()), "--name", "minilm"]
            subprocess.run(pull, check=True, cwd=ROOT, env={**os.environ, "ILLAMA_HOME": str(home)})
            embedding = Registry(home / "registry").get("minilm").name
        host.chat(common.MODEL, "hello", max_tokens=1)  # loaded, so that times are those of answers
        notebooks = scratch / "lab" / "notebooks"
        notebooks.mkdir(parents=True)
        env = environment(home)
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "server_ext")])
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            env[name] = str(scratch / name.lower())
        lab, _ = stack.enter_context(jupyter_lab(notebooks, env, extensions=("illama_server",)))
        watching = Watching(f"{lab.replace('localhost', '127.0.0.1')}illama")
        key = InferenceKeys(Settings.load({"ILLAMA_HOME": str(home)})).add("open-webui")
        url = stack.enter_context(open_webui(program, scratch, f"{watching.url}/v1", key, embedding))
        from playwright.sync_api import Error, sync_playwright

        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        person = Person(page, url, args.shots)
        for check in (*CHECKS, *([a_document_is_embedded] if embedding else [])):
            print(check.__name__.replace("_", " "), flush=True)
            try:
                check(person, watching, host)
            except (AssertionError, Error, IndexError) as problem:
                failed += 1
                person.shot(f"failed-{check.__name__}")
                print(f"  FAILED: {type(problem).__name__}: {problem}", flush=True)
        browser.close()
        if failed:
            print((scratch / "open-webui.log").read_text()[-4000:])
            for each in watching.seen:
                print(f"  {each.kind} {each.method} {each.status} {len(each.pieces)} pieces, left {bool(each.left)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
