"""Many who want one model at the same moment, from processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support_host import eventually, running_host
from support_hub import Repo, playing
from support_models import pull_environment, tiny_gguf

from illama.client import Client
from illama.config import Settings

pytestmark = pytest.mark.slow  # five processes and a host

TESTS = Path(__file__).parent
PROCESSES, THREADS = 5, 4
# Each spelling of the one model is asked for by somebody.
SPELLINGS = ["some/Tiny-GGUF:Q4_1", "hf.co/some/tiny-gguf:q4_1", "some/Tiny-GGUF:q4_1@main", "some/TINY-GGUF:Q4_1"]
ASKS = """
import json, sys, threading
from illama.client import Client
def ask(source):
    with Client(start=False) as client:
        told.append([line for line in client.pull(source)])
told = []
threads = [threading.Thread(target=ask, args=(source,)) for source in sys.argv[1:]]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(told))
"""
# An openvino_genai that makes a model of nothing, and leaves a mark each time.
CONVERTS = """
import sys
from pathlib import Path
sys.path.append({tests!r})
import support_models
__version__ = "4.5.6"
class LLMPipeline:
    def __init__(self, path, device, enable_save_ov_model):
        with open({marks!r}, "a") as file:
            file.write("converted\\n")
        folder = Path(path).parent
        for file in support_models.tiny_ir(folder / "made").glob("openvino_*"):
            file.rename(folder / file.name)
        for file in (folder / "made").iterdir():
            file.unlink()
        (folder / "made").rmdir()
"""


@pytest.fixture
def marks(tmp_path):
    """A file that gets a line for each conversion."""
    return tmp_path / "marks"


@pytest.fixture
def converter(tmp_path, marks):
    """The folder of an OpenVINO that is made up, for PYTHONPATH."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "openvino.py").write_text("__version__ = '1.2.3'\n")
    (site / "openvino_genai.py").write_text(CONVERTS.format(tests=str(TESTS), marks=str(marks)))
    return os.pathsep.join([str(site), str(TESTS.parent)])


def test_twenty_pulls_from_five_processes_are_one_download_and_one_conversion_that_all_see(
    home, tmp_path, converter, marks
):
    file = tiny_gguf(tmp_path / "Tiny-Q4_1.gguf", header={"padding": "x" * 2_000_000})
    with playing() as hub:
        hub.repos["some/Tiny-GGUF"] = Repo({"Tiny-Q4_1.gguf": file, "Tiny-Q8_0.gguf": b"another"})
        hub.repos["some/tiny-gguf"] = hub.repos["some/TINY-GGUF"] = hub.repos["some/Tiny-GGUF"]
        hub.gate = threading.Event()
        with (
            running_host(home, HF_ENDPOINT=hub.url, PYTHONPATH=converter),
            Client(settings=Settings.load({"ILLAMA_HOME": str(home)}), start=False) as client,
        ):
            asking = [
                subprocess.Popen(
                    [sys.executable, "-c", ASKS, *SPELLINGS], stdout=subprocess.PIPE, env=pull_environment(home)
                )
                for _ in range(PROCESSES)
            ]
            watched_by = lambda: [job["watchers"] for job in client.jobs()]  # noqa: E731
            eventually(lambda: watched_by() == [PROCESSES * THREADS], "all watch the one pull", 60)
            eventually(lambda: client.jobs()[0]["completed"], "some of it has come", 60)
            hub.gate.set()
            told = [lines for process in asking for lines in json.loads(process.communicate()[0])]
            assert [process.returncode for process in asking] == [0] * PROCESSES
            (model,) = client.list()
    assert len(told) == PROCESSES * THREADS
    # It is called as who came first has spelled it.
    assert model["name"].lower() == "tiny"
    assert {(lines[-1]["status"], lines[-1]["name"]) for lines in told} == {("success", model["name"])}
    assert len({line["job"] for lines in told for line in lines}) == 1
    assert all(any(line.get("completed") for line in lines) for lines in told)
    assert hub.sent == {"Tiny-Q4_1.gguf": file.stat().st_size}
    assert marks.read_text().splitlines() == ["converted"]
