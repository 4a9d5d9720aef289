"""Pulls in this process, and what they meet: an engine's Python that does as it is told, a hub with one repository."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support_hub import PlayHub, Repo, playing, repo_of
from support_models import tiny_ir

from illama.config import Settings
from illama.errors import PullError
from illama.pull import transfer
from illama.pull.job import Result, pull
from illama.pull.progress import Progress
from illama.registry import Registry

NAME = "OpenVINO/Tiny-1B-int4-ov"
WEIGHTS = random.Random(7).randbytes(3_000_000)
# What an engine's Python does that makes the IR it is asked for.
WRITES_IR = """
import os, support_models
print("a native library says something")
made = support_models.tiny_ir(Path(path).parent / "made")
for file in made.glob("openvino_*"):
    file.rename(Path(path).parent / file.name)
for file in made.iterdir():
    file.unlink()
made.rmdir()
"""


def do_pull(
    source: str | Path = NAME,
    *,
    name: str | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    token: str | None = None,
) -> Result:
    """Pull in this process, by the settings of the environment."""
    return pull(
        str(source),
        name=name,
        device=device,
        settings=Settings.load(),
        progress=progress or Progress(lambda line: None),
        token=token,
    )


def failure(source: str = NAME, **more: Any) -> PullError:
    """The error of a pull that fails, which says what to do."""
    with pytest.raises(PullError) as caught:
        do_pull(source, **more)
    assert caught.value.hint
    return caught.value


def leftovers(registry: Registry) -> list[Path]:
    """What pulls and removals have left in the registry."""
    return [*(registry.root / ".staging").iterdir(), *(registry.root / ".trash").iterdir()]


def downloads(home: Path) -> list[Path]:
    """What lies in the folder of downloads, without locks."""
    return [path for path in (home / "cache" / "downloads").rglob("*") if not path.name.endswith(".lock")]


def part_of(home: Path) -> Path:
    """The part of the weights that is there."""
    (part,) = [path for path in downloads(home) if path.name == "openvino_model.bin.part"]
    return part


def ranges(hub: PlayHub) -> list[str]:
    """The ranges that the storage was asked for, in order."""
    return [each.headers["range"] for each in hub.asked if each.server == "storage" and "range" in each.headers]


@contextmanager
def asked_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayHub]:
    """A hub that the pulls of this process ask, and ask again without a pause."""
    with playing() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setattr(transfer, "PAUSE_SEC", 0.001)
        yield running


def tiny_repo(folder: Path) -> Repo:
    """A repository of OpenVINO IR with 3 MB of weights, and files that no model needs, made in a new folder."""
    tiny_ir(folder, weights=WEIGHTS)
    (folder / "openvino_config.json").write_text(json.dumps({"dtype": "int4", "quantization_config": {"bits": 4}}))
    (folder / "README.md").write_bytes(b"# readme\n" * 600_000)
    (folder / "model.safetensors").write_bytes(b"not needed" * 10)
    return repo_of(folder)


def engine_python(site: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let an openvino_genai convert that does what the code given to it says: `path` is the GGUF file's."""
    site.mkdir()
    (site / "openvino.py").write_text("__version__ = '1.2.3'\n")

    def install(code: str) -> None:
        body = "\n        ".join(code.splitlines())
        (site / "openvino_genai.py").write_text(
            "import sys\nfrom pathlib import Path\n__version__ = '4.5.6'\n"
            "sys.path.append(str(Path(__file__).parent / 'tests'))\n"
            f"class LLMPipeline:\n    def __init__(self, path, device, enable_save_ov_model):\n        {body}\n"
        )
        paths = [str(site), str(Path(__file__).parent), str(Path(__file__).parent.parent)]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
        monkeypatch.setenv("ILLAMA_ENGINE_PYTHON", sys.executable)

    return install
