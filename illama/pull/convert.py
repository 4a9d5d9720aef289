"""Making OpenVINO IR of a GGUF file, in a process of its own.

Knows: which interpreter runs it, what must come out, what its failures mean. Does not know: openvino itself.
"""

from __future__ import annotations

import json
from pathlib import Path

from illama.errors import PullError
from illama.pull import children, local
from illama.pull.progress import Progress
from illama.registry import workspace

_SCRIPT = Path(__file__).with_name("to_ir.py")
_SOURCE, _VERSIONS = "source.gguf", "versions.json"


def to_ir(gguf: Path, staged: Path, python: Path, name: str, progress: Progress) -> dict[str, str]:
    """Fill an empty folder with the IR of a GGUF file. Returns the versions of openvino and openvino_genai.

    Raises PullError if the interpreter has no openvino_genai, if it fails or dies, or if a file is not whole after it;
    CancelledError in between.
    """
    source, versions = staged / _SOURCE, staged / _VERSIONS
    _put(gguf, source)
    command = [str(python), str(_SCRIPT), str(source), str(versions)]

    def tick() -> None:
        progress.report("convert", f"converting {name} to OpenVINO")

    tick()
    try:
        done = children.run(command, tick=tick, cwd=staged)
    except OSError as problem:
        raise PullError(
            f"The engine's Python {python} cannot be started: {problem.strerror}.",
            hint="Set ILLAMA_ENGINE_PYTHON to an interpreter that has openvino-genai, or unset it.",
        ) from problem
    if done.code != 0:
        raise _failure(gguf, python, done)
    try:
        found = {str(key): str(value) for key, value in json.loads(versions.read_bytes()).items()}
    except (OSError, ValueError, AttributeError) as problem:
        raise _failure(gguf, python, done) from problem
    source.unlink()
    versions.unlink()
    local.check(staged)
    return found


def _put(gguf: Path, place: Path) -> None:
    """GenAI writes beside the file that it reads: so give it another name in the folder, which costs no space."""
    try:
        place.symlink_to(gguf)
    except OSError:  # Windows, without the right to make one
        workspace.link_or_copy(gguf, place)


def _failure(gguf: Path, python: Path, done: children.Finished) -> PullError:
    lines = [line.strip() for line in done.output.splitlines() if line.strip()]
    if any("No module named 'openvino" in line for line in lines):
        return PullError(
            f"{python} has no openvino-genai, which is needed to convert the model.",
            hint="Install openvino-genai there, or set ILLAMA_ENGINE_PYTHON to an interpreter that has it.",
        )
    if any("No space left on device" in line for line in lines):
        return PullError("The disk is full.", hint="Free some space, or set ILLAMA_REGISTRY_DIR to a bigger disk.")
    how = f"died of signal {-done.code}" if done.code < 0 else f"ended with code {done.code}"
    said = f", saying: {lines[-1][:500]}" if lines else ""
    memory = " It may have run out of memory." if done.code == -9 else ""
    return PullError(
        f"The conversion of {gguf.name} {how}{said}.{memory}",
        hint="Check the file by downloading it again; a newer openvino-genai may read what this one cannot.",
    )
