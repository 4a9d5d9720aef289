"""Pulls from a hub: the real huggingface_hub client and our transfer, against a hub of the tests' own."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support_hub import Repo, repo_of
from support_models import run_pull, tiny_gguf, tiny_ir
from support_pull import NAME, WEIGHTS, do_pull, downloads, failure

from illama.pull import convert
from illama.pull.job import Result
from illama.pull.progress import Progress

pytestmark = pytest.mark.usefixtures("fake_engine")


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
