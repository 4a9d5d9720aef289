"""Models for tests: made-up ones that take no time, and the real small one, fetched once for a whole run."""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock

from illama.registry import Entry

REQUIRED = [f"openvino_{part}.{kind}" for part in ("model", "tokenizer", "detokenizer") for kind in ("xml", "bin")]
_XML = '<net name="tiny"><layers><data element_type="f32" shape="" offset="0" size="{size}" /></layers></net>\n'


def tiny_ir(folder: Path, *, weights: bytes = b"w" * 64, **config: object) -> Path:
    """A folder that looks like OpenVINO IR to a pull; no engine can load it. `config` goes to config.json."""
    folder.mkdir(parents=True)
    for name in REQUIRED:
        content = weights if name == "openvino_model.bin" else b"t" * 32
        size = len(weights) if "model" in name else 32
        (folder / name).write_bytes(content if name.endswith(".bin") else _XML.format(size=size).encode())
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 2048, **config}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    return folder


def tiny_gguf(
    path: Path,
    *,
    architecture: str = "llama",
    kind: int = 3,
    block: int = 20,
    header: dict[str, object] | None = None,
    cut: int = 0,
) -> Path:
    """A GGUF file with one tensor of 64 weights of a kind (3 is Q4_1), its last `cut` bytes missing."""
    pairs = {
        "general.architecture": architecture,
        "general.license": "apache-2.0",
        f"{architecture}.context_length": 4096,
        "tokenizer.ggml.tokens": ["a", "b"],
        "tokenizer.chat_template": "{{ messages }}",
        **(header or {}),
    }
    data = b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs))
    for key, value in pairs.items():
        data += _text(key) + _value(value)
    data += _text("blk.0.attn_q.weight") + struct.pack("<IQQIQ", 2, 32, 2, kind, 0)
    data += b"\0" * (-len(data) % 32) + b"\1" * (2 * block)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data[: len(data) - cut])
    return path


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def _value(value: object) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, list):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(_text(each) for each in value)
    return struct.pack("<II", 4, value)


def many_models(root: Path, count: int) -> None:
    """A registry of `count` models, each a folder with its metadata and small files, with its index."""
    models = {}
    for number in range(count):
        name = f"Model-{number:05}-Instruct"
        folder = root / name
        folder.mkdir(parents=True)
        files = {}
        for file in (*REQUIRED, "config.json", "tokenizer_config.json"):
            (folder / file).write_bytes(b"x" * 10)
            files[file] = 10
        digest = hashlib.sha256(name.encode()).hexdigest()
        entry = Entry(
            name=name,
            source={"kind": "hub", "repo": f"OpenVINO/{name}-int4-ov", "revision": digest[:40], "sha256": digest},
            digest=digest,
            created="2026-01-01T00:00:00+00:00",
            architecture="llama",
            weight_format="int4",
            recipe={"name": "given", "openvino": "2026.4.1", "openvino_genai": "2026.4.1.0"},
            size=sum(files.values()),
            context_length=8192,
            chat_template=True,
            licence="apache-2.0",
            aliases=(f"OpenVINO/{name}-int4-ov",),
            files=files,
        )
        models[name] = entry.to_json()
        (folder / "illama.json").write_text(json.dumps({"version": 1, **models[name]}))
    (root / "index.json").write_text(json.dumps({"version": 1, "models": models}, indent=1))


@functools.cache
def real_model_cache() -> Path:
    """An ILLAMA_HOME in which the real small model (SmolLM2-135M-Instruct) is installed, the same for a whole run.

    ILLAMA_TEST_CACHE keeps it between runs. Don't change what is in it: copy what a test changes.
    """
    home = kept_folder()
    with FileLock(home / "model.lock"):
        lines = run_pull({"source": "smollm2"}, home, ILLAMA_ENGINE="openvino")
    assert lines[-1].get("status") == "success", lines[-1]
    return home


def kept_folder() -> Path:
    """The folder for what is made once: ILLAMA_TEST_CACHE names it, else it lasts as long as the run."""
    if "ILLAMA_TEST_CACHE" not in os.environ:
        scratch = tempfile.TemporaryDirectory(prefix="illama-test-", ignore_cleanup_errors=True)
        atexit.register(scratch.cleanup)
        os.environ["ILLAMA_TEST_CACHE"] = scratch.name  # for the processes that this one starts, too
    folder = Path(os.environ["ILLAMA_TEST_CACHE"]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def pull_environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a pull into `home`, and of nothing else. What it makes is proven by the fake engine."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ILLAMA_")}
    root = str(Path(__file__).parent.parent)
    return {**environment, "PYTHONPATH": root, "ILLAMA_HOME": str(home), "ILLAMA_ENGINE": "fake", **more}


def run_pull(request: dict[str, object], home: Path, **more: str) -> list[dict[str, object]]:
    """All the lines of `python -m illama.pull` for one request."""
    with subprocess.Popen(
        [sys.executable, "-m", "illama.pull"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=pull_environment(home, **more),
    ) as process:
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        return [json.loads(line) for line in process.stdout]
