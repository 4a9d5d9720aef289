"""Pulls from a hub: the real huggingface_hub client and our transfer, against a hub of the tests' own."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support_host import eventually
from support_hub import PlayHub, Repo, playing, repo_of
from support_models import pull_environment, run_pull, tiny_gguf, tiny_ir

from illama.config import Settings
from illama.errors import CancelledError, PullError
from illama.pull import convert, transfer
from illama.pull.hub import Hub, refused
from illama.pull.job import Result, pull
from illama.pull.progress import Progress
from illama.registry import Registry

NAME = "OpenVINO/Tiny-1B-int4-ov"
WEIGHTS = random.Random(7).randbytes(3_000_000)


@pytest.fixture(autouse=True)
def fake_engine(monkeypatch):
    """What these pulls make is proven by the fake engine."""
    monkeypatch.setenv("ILLAMA_ENGINE", "fake")


@pytest.fixture
def hub(monkeypatch):
    with playing() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setattr(transfer, "PAUSE_SEC", 0.001)
        yield running


@pytest.fixture
def tiny(hub: PlayHub, tmp_path):
    """A repository of OpenVINO IR with 3 MB of weights, and files that no model needs."""
    folder = tiny_ir(tmp_path / "repo", weights=WEIGHTS)
    (folder / "openvino_config.json").write_text(json.dumps({"dtype": "int4", "quantization_config": {"bits": 4}}))
    (folder / "README.md").write_bytes(b"# readme\n" * 600_000)
    (folder / "model.safetensors").write_bytes(b"not needed" * 10)
    hub.repos[NAME] = repo_of(folder)
    return hub.repos[NAME]


@pytest.fixture
def registry(home):
    return Registry(home / "registry")


def do_pull(source=NAME, *, name=None, device=None, progress=None, token=None):
    return pull(
        source,
        name=name,
        device=device,
        settings=Settings.load(),
        progress=progress or Progress(lambda line: None),
        token=token,
    )


def failure(source=NAME, **more):
    with pytest.raises(PullError) as caught:
        do_pull(source, **more)
    assert caught.value.hint
    return caught.value


def ranges(hub):
    """The ranges that the storage was asked for, in order."""
    return [each.headers["range"] for each in hub.asked if each.server == "storage" and "range" in each.headers]


def part_of(home):
    """The part of the weights that is there."""
    (part,) = [path for path in downloads(home) if path.name == "openvino_model.bin.part"]
    return part


def downloads(home):
    return [path for path in (home / "cache" / "downloads").rglob("*") if not path.name.endswith(".lock")]


def test_a_repository_becomes_a_model_with_all_that_is_known_of_it(hub, tiny, registry, home):
    assert do_pull() == Result("Tiny-1B", existing=False)
    entry = registry.get("tiny-1b")
    registry.check(entry)
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    assert entry.source == {"kind": "hub", "repo": NAME, "revision": "c" * 40, "sha256": digest}
    assert (entry.digest, entry.weight_format, entry.licence) == (digest, "int4", "apache-2.0")
    assert (entry.context_length, entry.chat_template, entry.architecture) == (2048, True, "llama")
    assert hashlib.sha256((registry.folder(entry) / "openvino_model.bin").read_bytes()).hexdigest() == digest
    assert registry.get(NAME.lower()) == entry
    assert downloads(home) == []


def test_only_what_a_model_needs_is_fetched_and_once(hub, tiny, registry):
    do_pull()
    assert {"README.md", "model.safetensors"}.isdisjoint(hub.sent)
    entry = registry.get(NAME)
    assert hub.sent == dict(entry.files)


def test_what_is_installed_is_not_asked_for_again(hub, tiny):
    do_pull()
    asked = len(hub.asked)
    assert do_pull(NAME) == Result("Tiny-1B", existing=True)
    assert len(hub.asked) == asked
    assert do_pull(f"{NAME}@main") == Result("Tiny-1B", existing=True)
    assert not [each for each in hub.asked[asked:] if each.path.endswith("openvino_model.bin")]


def test_another_weight_format_of_a_model_gets_it_behind_a_colon(hub, tiny, tmp_path, registry):
    do_pull()
    folder = tiny_ir(tmp_path / "other", weights=b"8" * 100)
    (folder / "openvino_config.json").write_text('{"quantization_config": {"bits": 8}}')
    hub.repos["OpenVINO/Tiny-1B-int8-ov"] = repo_of(folder)
    assert do_pull("OpenVINO/Tiny-1B-int8-ov") == Result("Tiny-1B:int8", existing=False)
    assert registry.get("Tiny-1B").weight_format == "int4"


def test_a_short_name_means_a_repository_and_stays_the_models_alias(hub, tmp_path, registry):
    hub.repos["OpenVINO/phi-4-int4-ov"] = repo_of(tiny_ir(tmp_path / "phi"))
    assert do_pull("Phi4") == Result("phi-4", existing=False)
    assert registry.get("phi4").source["repo"] == "OpenVINO/phi-4-int4-ov"


@pytest.mark.parametrize("source", [f"{NAME}@main", f"hf.co/{NAME}", f"https://huggingface.co/{NAME}/tree/main"])
def test_a_repository_may_be_named_in_other_ways(hub, tiny, source):
    assert do_pull(source) == Result("Tiny-1B", existing=False)


def test_progress_counts_the_bytes_of_all_files(hub, tiny, registry):
    lines = []
    do_pull(progress=Progress(lines.append))
    total = sum(registry.get(NAME).files.values())
    counted = [line for line in lines if line["phase"] == "download" and line["total"] == total]
    assert counted[-1]["completed"] == counted[-1]["total"]
    assert {line["status"] for line in counted} == {f"downloading {NAME}"}
    assert [line["completed"] for line in counted] == sorted(line["completed"] for line in counted)


# Interruptions.


def test_a_connection_that_breaks_at_random_places_is_taken_up_where_it_was(hub, tiny, registry):
    chance = random.Random(20)
    hub.cut = lambda name, start, length: chance.randrange(1, 400_000) if length > 400_000 else None
    do_pull()
    registry.check(registry.get(NAME))
    assert sum(each.path.endswith("bin") and each.server == "storage" for each in hub.asked) > 8
    assert hub.bytes_sent() < 1.1 * sum(registry.get(NAME).files.values())


def test_twenty_pulls_that_break_leave_little_to_be_fetched_again(hub, tiny, registry, monkeypatch):
    monkeypatch.setattr(transfer, "TRIES", 1)
    chance = random.Random(21)
    hub.cut = lambda name, start, length: chance.randrange(100_000, 140_000) if length > 140_000 else None
    for _ in range(20):
        problem = failure()
        assert "cannot be reached" in problem.message
        assert "what has come is kept" in problem.hint
    hub.cut = lambda name, start, length: None
    do_pull()
    assert hub.bytes_sent() < 1.1 * sum(registry.get(NAME).files.values())


def test_a_pull_whose_process_was_killed_goes_on_in_the_next(hub, tiny, registry, home):
    kept = []
    for _ in range(3):
        hub.gate, hub.halfway = threading.Event(), threading.Event()
        with subprocess.Popen(
            [sys.executable, "-m", "illama.pull"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=pull_environment(home, HF_ENDPOINT=hub.url),
        ) as process:
            process.stdin.write(json.dumps({"source": NAME}).encode() + b"\n")
            process.stdin.flush()
            assert hub.halfway.wait(30)
            # What is on its way in the kernel's buffers is nobody's yet.
            eventually(lambda: part_of(home).stat().st_size == hub.reached, "all that was sent is on disk")
            os.kill(process.pid, signal.SIGKILL)
            kept.append(f"bytes={part_of(home).stat().st_size}-")
        hub.gate.set()
    hub.gate = None
    assert registry.entries() == []
    lines = run_pull({"source": NAME}, home, HF_ENDPOINT=hub.url)
    assert lines[-1] == {"status": "success", "name": "Tiny-1B", "existing": False}
    entry = registry.get(NAME)
    assert hashlib.sha256((registry.folder(entry) / "openvino_model.bin").read_bytes()).hexdigest() == entry.digest
    assert ranges(hub) == kept
    assert downloads(home) == []


def test_a_cancelled_pull_leaves_parts_that_the_next_one_uses(hub, tiny, home, registry):
    ticks = itertools.count()
    stop = lambda line: progress.cancel() if line.get("completed", 0) > 1_000_000 else None  # noqa: E731
    progress = Progress(stop, clock=lambda: next(ticks))
    with pytest.raises(CancelledError):
        do_pull(progress=progress)
    here = part_of(home).stat().st_size
    assert here > 1_000_000
    do_pull()
    assert ranges(hub) == [f"bytes={here}-"]


def test_a_server_without_ranges_is_asked_for_the_whole_and_not_for_ever(hub, tiny, registry):
    hub.ranges = False
    hub.cut = lambda name, start, length: 100_000 if length > 200_000 else None
    assert "cannot be reached" in failure().message
    hub.cut = lambda name, start, length: None
    do_pull()
    registry.check(registry.get(NAME))


def test_a_repository_that_changes_in_between_mixes_nothing(hub, tiny, registry, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "TRIES", 1)
    hub.cut = lambda name, start, length: 1_000_000 if length > 2_000_000 else None
    failure()
    hub.cut = lambda name, start, length: None
    hub.repos[NAME] = repo_of(tiny_ir(tmp_path / "new", weights=b"n" * 3_000_000), commit="d" * 40)
    do_pull()
    entry = registry.get(NAME)
    assert entry.source["revision"] == "d" * 40
    assert (registry.folder(entry) / "openvino_model.bin").read_bytes() == b"n" * 3_000_000


def test_a_flipped_byte_is_found_and_the_file_fetched_anew_once(hub, tiny, registry, home):
    def flip(name, data):
        return data[:1000] + bytes([data[1000] ^ 1]) + data[1001:] if name == "openvino_model.bin" else data

    hub.spoil = flip
    problem = failure()
    assert "wrong checksum" in problem.message
    assert "openvino_model.bin" in problem.message
    assert "openvino_model.bin.part" not in [path.name for path in downloads(home)]
    assert hub.sent["openvino_model.bin"] == 2 * len(WEIGHTS)
    hub.spoil = lambda name, data: data
    do_pull()
    registry.check(registry.get(NAME))


def test_a_small_file_is_checked_too(hub, tiny):
    hub.spoil = lambda name, data: data.swapcase() if name == "openvino_tokenizer.bin" else data
    assert "openvino_tokenizer.bin" in failure().message


def test_a_part_that_was_spoiled_on_disk_is_fetched_anew(hub, tiny, registry, home, monkeypatch):
    monkeypatch.setattr(transfer, "TRIES", 1)
    hub.cut = lambda name, start, length: 1_000_000 if length > 2_000_000 else None
    failure()
    hub.cut = lambda name, start, length: None
    part = part_of(home)
    part.write_bytes(b"\0" * part.stat().st_size)
    do_pull()
    registry.check(registry.get(NAME))
    assert (registry.folder(registry.get(NAME)) / "openvino_model.bin").read_bytes() == WEIGHTS


# Room on the disk.


def test_a_disk_that_is_too_small_is_told_before_with_figures(hub, tiny, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    problem = failure()
    assert "needs 3 MB" in problem.message
    assert "0 MB are free" in problem.message
    assert problem.status == 507
    assert "openvino_model.bin" not in hub.sent


def test_a_disk_that_fills_up_meanwhile_loses_nothing(hub, tiny, registry, home, monkeypatch):
    whole = os.fdopen

    def small(descriptor, *arguments, **options):
        file = whole(descriptor, *arguments, **options)

        class Full:
            def __getattr__(self, name):
                return getattr(file, name)

            def __enter__(self):
                return self

            def __exit__(self, *problem):
                file.close()

            def write(self, data):
                if file.tell() > 1_000_000:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return file.write(data)

        return Full()

    with monkeypatch.context() as patch:
        patch.setattr(transfer.os, "fdopen", small)
        problem = failure()
    assert "disk is full" in problem.message
    assert problem.status == 507
    here = part_of(home).stat().st_size
    assert here > 1_000_000
    do_pull()
    assert ranges(hub) == [f"bytes={here}-"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="mounts a small filesystem")
def test_a_small_filesystem_fills_up_and_a_bigger_one_finishes(hub, tiny, registry, home, monkeypatch):
    cache = home / "cache"
    cache.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(cache)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount")
    try:
        assert "needs 3 MB" in failure().message
        with monkeypatch.context() as patch:
            patch.setattr("illama.pull.remote.need_space", lambda *arguments: None)
            problem = failure()
        assert "disk is full" in problem.message
        here = part_of(home).stat().st_size
        assert here > 1_500_000
        subprocess.run(["mount", "-o", "remount,size=20m", str(cache)], check=True)
        do_pull()
    finally:
        subprocess.run(["umount", "-l", str(cache)], check=True)
    registry.check(registry.get(NAME))
    assert ranges(hub) == [f"bytes={here}-"]


# Hostile repositories.


@pytest.mark.parametrize(
    "name",
    ["../../evil", "/etc/evil", "a\\..\\evil", "C:\\evil", "C:evil", "a/../../evil", "x\nopenvino", "", "\u202e.md"],
)
def test_a_repository_with_a_dangerous_name_is_refused_whole(hub, tiny, home, name):
    tiny.files[name] = b"evil" * 20
    problem = failure()
    assert "dangerous name" in problem.message
    assert "\n" not in problem.message
    assert downloads(home) == []
    assert [each for each in hub.asked if each.server == "storage"] == []


def test_a_hub_that_talks_nonsense_is_not_believed(hub, tiny):
    tiny.commit = "../../../evil"
    assert "cannot be understood" in failure().message
    tiny.commit = "c" * 40
    tiny.lies["openvino_model.bin"] = {"size": -5}
    assert "cannot be understood" in failure().message


def test_a_link_in_the_cache_is_not_written_through(hub, tiny, home, tmp_path):
    folder = home / "cache" / "downloads" / f"OpenVINO--Tiny-1B-int4-ov--{'c' * 40}"
    folder.mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (folder / "openvino_model.bin.part").symlink_to(victim)
    failure()
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"model.safetensors": b"x" * 99, "config.json": b"{}"}, "config.json is missing or says nothing"),
        ({"pytorch_model.bin": b"x" * 99, "config.json": b"{}"}, "pickles alone"),
        ({"README.md": b"nothing"}, "neither OpenVINO IR, nor a GGUF file, nor a checkpoint"),
        ({}, "neither OpenVINO IR, nor a GGUF file, nor a checkpoint"),
        ({"openvino_model.bin": b"x", "openvino_model.xml": b"x"}, r"openvino_tokenizer.xml is missing"),
        ({"openvino_language_model.xml": b"x"}, "openvino_detokenizer.xml is missing"),
        ({"a-00001-of-00002.gguf": b"x", "a-00002-of-00002.gguf": b"x"}, "split into parts"),
        ({"a-Q5_K_M.gguf": b"x" * 99}, "cannot read Q5_K_M"),
    ],
)
def test_what_cannot_be_used_is_refused_before_it_is_fetched(hub, files, message):
    hub.repos["some/model"] = Repo(files)
    problem = failure("some/model")
    assert message in problem.message
    assert problem.status == 400
    assert set(hub.sent) <= {"config.json"}


def test_what_came_whole_and_is_no_model_is_not_kept(hub, tiny, home, registry):
    tiny.files["openvino_tokenizer.xml"] = b"not a graph"
    problem = failure()
    assert problem.message.startswith(f"{NAME} cannot be used as a model: openvino_tokenizer.xml")
    assert downloads(home) == []
    assert registry.entries() == []


# Who may.


def test_every_refusal_has_a_message_of_its_own(hub, tiny, monkeypatch):
    said = {}
    said["missing, as the hub says it to nobody"] = failure("nobody/nothing")
    said["missing"] = failure("nobody/nothing", token="hf_good")
    said["revision"] = failure(f"{NAME}@no-such")
    said["token"] = failure(token="hf_bad")
    tiny.gated = True
    said["gated"] = failure()
    tiny.gated = False
    hub.status = 503
    said["down"] = failure()
    hub.status = 429
    said["busy"] = failure()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    said["network"] = failure()
    parts = {
        "missing, as the hub says it to nobody": "nobody/nothing is private on 127.0.0.1",
        "missing": "There is no model nobody/nothing",
        "revision": "has no revision 'no-such'",
        "token": "does not accept this HF_TOKEN",
        "gated": "is gated",
        "down": "HTTP 503",
        "busy": "too many requests",
        "network": "cannot be reached",
    }
    assert {key: parts[key] in problem.message for key, problem in said.items()} == dict.fromkeys(parts, True)
    assert len({problem.message for problem in said.values()}) == len(parts)
    assert not any("hf_bad" in f"{problem}{problem.__cause__!r}" for problem in said.values())


def test_a_hub_that_goes_down_in_between_is_named_and_the_part_is_kept(hub, tiny, registry):
    def cut(name, start, length):
        if length <= 2_000_000:
            return None
        hub.status = 503
        return 1_000_000

    hub.cut = cut
    assert "HTTP 503" in failure().message
    hub.status, hub.cut = None, lambda name, start, length: None
    do_pull()
    assert hub.bytes_sent() < 1.1 * sum(registry.get(NAME).files.values())


def test_a_gated_repository_is_pulled_with_a_token_that_nobody_else_sees(hub, tiny, registry, home):
    tiny.gated = tiny.private = True
    lines = run_pull({"source": NAME, "hf_token": "hf_good"}, home, HF_ENDPOINT=hub.url)
    assert lines[-1]["status"] == "success"
    assert {each.path: each.token for each in hub.asked if each.server == "hub" and each.token != "hf_good"} == {}
    elsewhere = [each for each in hub.asked if each.server == "storage"]
    assert elsewhere
    assert not any("hf_good" in f"{each}" for each in elsewhere)
    assert "hf_good" not in json.dumps(lines)
    written = [path for path in home.rglob("*") if path.is_file()]
    assert not [path for path in written if b"hf_good" in path.read_bytes()]


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_repository_says_more_to_an_account_without_access(status):
    stranger, known = (refused(Hub("https://hub.example", token), "a/b", status, "GatedRepo") for token in (None, "t"))
    assert "Accept its terms at https://hub.example/a/b" in stranger.hint
    assert "has no access" in known.hint
    assert refused(Hub("https://hub.example", "t"), "a/b", 403, None).message != known.message


def test_a_token_does_not_show_in_what_is_printed():
    assert "secret" not in repr(Hub("https://hub.example", "secret"))


def test_what_is_no_token_is_refused_without_being_quoted(home):
    lines = run_pull({"source": NAME, "hf_token": "hf_secret\r\nEvil: 1"}, home)
    assert lines[-1]["code"] == "invalid_request" or lines[-1]["status_code"] == 400
    assert "hf_secret" not in json.dumps(lines)


# GGUF files in a repository.


@pytest.fixture
def converted(monkeypatch):
    """Conversion that makes a made-up IR of any GGUF file."""

    def to_ir(gguf, staged, python, name, progress):
        made = tiny_ir(staged / "made")
        for file in made.iterdir():
            file.rename(staged / file.name)
        made.rmdir()
        return {"openvino": "1", "openvino_genai": "1"}

    monkeypatch.setattr(convert, "to_ir", to_ir)


@pytest.fixture
def ggufs(hub, tmp_path):
    files = {f"Tiny-{quant}.gguf": tiny_gguf(tmp_path / quant / "x.gguf") for quant in ("Q4_1", "Q8_0")}
    hub.repos["some/Tiny-GGUF"] = Repo({**files, "mmproj-F16.gguf": b"x", "README.md": b"x"})
    return files


@pytest.mark.parametrize(
    "source",
    [
        "some/Tiny-GGUF:Q4_1",
        "hf.co/some/Tiny-GGUF:q4_1@main",
        "https://huggingface.co/some/Tiny-GGUF/blob/main/Tiny-Q4_1.gguf",
    ],
)
def test_a_quantization_picks_the_file(hub, ggufs, converted, registry, home, source):
    assert do_pull(source) == Result("Tiny", existing=False)
    entry = registry.get("some/tiny-gguf:Q4_1")
    assert set(hub.sent) == {"Tiny-Q4_1.gguf"}
    assert (entry.source["file"], entry.weight_format) == ("Tiny-Q4_1.gguf", "q4_1")
    assert entry.digest == hashlib.sha256(ggufs["Tiny-Q4_1.gguf"].read_bytes()).hexdigest()
    assert downloads(home) == []


def test_several_files_or_none_of_a_quantization_are_an_error_that_lists_them(hub, ggufs):
    problem = failure("some/Tiny-GGUF")
    assert "has 2 GGUF files" in problem.message
    assert "some/Tiny-GGUF:Q4_1, some/Tiny-GGUF:Q8_0" in problem.hint
    problem = failure("some/Tiny-GGUF:Q6_K")
    assert "no GGUF file of 'Q6_K'" in problem.message
    assert "some/Tiny-GGUF:Q8_0" in problem.hint


def test_a_quantization_of_a_repository_without_gguf_files_is_refused(hub, tiny):
    assert "has no GGUF files" in failure(f"{NAME}:Q4_1").message


# Several at once.


def test_two_pulls_under_different_names_of_it_share_one_download(hub, tmp_path, registry, home):
    folder = tiny_ir(tmp_path / "phi", weights=WEIGHTS)
    hub.repos["OpenVINO/phi-4-int4-ov"] = repo_of(folder)
    hub.gate = threading.Event()
    results = []
    first = threading.Thread(
        target=lambda: results.append(run_pull({"source": "phi4"}, home, HF_ENDPOINT=hub.url)[-1]), daemon=True
    )
    first.start()
    assert hub.halfway.wait(30)
    waiting = threading.Event()
    progress = Progress(lambda line: waiting.set() if "another download" in line["status"] else None)
    second = threading.Thread(
        target=lambda: results.append(do_pull("OpenVINO/phi-4-int4-ov", progress=progress)), daemon=True
    )
    second.start()
    assert waiting.wait(30)
    hub.gate.set()
    first.join()
    second.join()
    assert Result("phi-4", existing=True) in results
    assert hub.sent["openvino_model.bin"] == len(WEIGHTS)


def test_nothing_of_the_hubs_client_is_imported_before_it_is_asked():
    code = (
        "import sys, illama.pull, illama.cli, illama.client, illama.pull.job; print('huggingface_hub' in sys.modules)"
    )
    root = Path(__file__).parent.parent
    assert subprocess.check_output([sys.executable, "-c", code], cwd=root, text=True).strip() == "False"
