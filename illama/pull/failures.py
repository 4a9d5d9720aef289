"""What it means when a child process of a pull fails: which kind of failure it is, and what to do about it.

Knows: the complaints of pip, Python, torch, transformers and optimum-intel, and how the system kills. Does not know:
how these processes are run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from illama.errors import PullError
from illama.pull.children import Finished

_KILLED = -9
_TAIL = 20_000  # characters of the output that are looked through
_ERROR = re.compile(r"^(?:[A-Za-z_][\w.]*(?:Error|Exception)\b|ERROR:)", re.MULTILINE)


@dataclass(frozen=True)
class _Kind:
    """A kind of failure: the marks by which it is known in the output, what happened, and what to do."""

    marks: tuple[str, ...]
    what: str
    hint: str
    status: int = 500


_NO_SPACE = _Kind(
    ("No space left on device", "[Errno 28]", "Disk quota exceeded", "[Errno 122]"),
    "the disk is full",
    "Free some space, or set ILLAMA_REGISTRY_DIR and ILLAMA_CACHE_DIR to a bigger disk, and pull again.",
    507,
)
_NO_MEMORY = _Kind(
    ("MemoryError", "bad_alloc", "an't allocate memory", "annot allocate memory", "Out of memory", "out of memory"),
    "there was not enough memory",
    "Unload models (`illama stop`), close other programs, and pull again; or pull it from OpenVINO/… on the hub.",
    507,
)
INDEX_UNREACHABLE = _Kind(
    (
        "NewConnectionError",
        "ConnectTimeoutError",
        "ReadTimeoutError",
        "ConnectionResetError",
        "Temporary failure in name resolution",
        "Network is unreachable",
        "Connection refused",
        "ProxyError",
        "SSLError",
        "Max retries exceeded",
    ),
    "the package index cannot be reached",
    "Check the network and pip's settings (`pip config list`), and pull again.",
)
# Of the conversion, in this order: a later kind's marks may occur in the story of an earlier one.
_CONVERSION = (
    _NO_SPACE,
    _NO_MEMORY,
    _Kind(
        ("trust_remote_code=True", "contains custom code", "trust_remote_code"),
        "it needs code of its own, which its repository brings",
        "Read that code; if you trust it, pull with --trust-remote-code.",
        400,
    ),
    _Kind(
        ("GatedRepoError", "gated repo", "Cannot access gated"),
        "it needs files of another, gated repository",
        "Accept that repository's terms on its page, set HF_TOKEN, and pull again.",
        403,
    ),
    _Kind(
        (
            "unsupported architecture",
            "does not recognize this architecture",
            "Unrecognized model",
            "Unrecognized configuration class",
            "exporter only supports the tasks",
        ),
        "optimum-intel does not know its architecture",
        "Look for it as OpenVINO/…-ov or as …-GGUF on the hub, or try again with a newer illama.",
        400,
    ),
    _Kind(
        ("OfflineModeIsEnabled", "LocalEntryNotFoundError", "outgoing traffic has been disabled"),
        "it needs a file that its repository does not have",
        "Use another repository of that model.",
        400,
    ),
    _Kind(
        ("No module named", "cannot import name", "undefined symbol", "requires the following packages", "ImportError"),
        "packages are missing there, or their versions do not fit together",
        "Unset ILLAMA_CONVERTER_PYTHON, so that illama makes an environment with tested versions, or repair that one.",
    ),
    _Kind(
        ("SafetensorError", "HeaderTooLarge", "MetadataIncompleteBuffer", "size mismatch for"),
        "its weights are damaged or do not fit its configuration",
        "Pull it again; if it stays so, use another repository of that model.",
        400,
    ),
)
_ENVIRONMENT = (
    _NO_SPACE,
    _NO_MEMORY,
    INDEX_UNREACHABLE,
    _Kind(
        ("ResolutionImpossible", "conflicting dependencies"),
        "the packages' versions do not fit together",
        "Make an environment with optimum-intel yourself, and set ILLAMA_CONVERTER_PYTHON to its interpreter.",
    ),
    _Kind(
        ("No matching distribution found", "Could not find a version"),
        "the package index lacks a package for this Python",
        "Point pip at an index that has it, or set ILLAMA_CONVERTER_PYTHON to an interpreter that has optimum-intel.",
    ),
)


def of_conversion(done: Finished, name: str, log: Path) -> PullError:
    """The error for a conversion of `name` that ended without a model."""
    # The reason is at the end; what a library warned of on its way there is none.
    kind = _kind(_last_error(done.output), _CONVERSION) or _kind(done.output[-_TAIL:], _CONVERSION)
    return _error(f"{name} could not be converted", done, log, kind)


def of_environment(done: Finished, log: Path) -> PullError:
    """The error for an environment of the converter that could not be made."""
    # Not by pip's last words: without a network, these are that there is no such version.
    return _error("The converter's environment could not be made", done, log, _kind(done.output[-_TAIL:], _ENVIRONMENT))


def _error(what: str, done: Finished, log: Path, kind: _Kind | None) -> PullError:
    where = f"The full log: {log}."
    if done.code == _KILLED:
        message = f"{what}: its process was killed, most likely by the system for lack of memory."
        return PullError(message, hint=f"{_NO_MEMORY.hint} {where}", status=_NO_MEMORY.status)
    if done.code < 0:
        hint = "Pull again; if it stays so, another weight format may do."
        return PullError(f"{what}: its process died of signal {-done.code}.", hint=f"{hint} {where}")
    said = _said(done.output)
    quoted = f" ({said})" if said else ""
    if kind is None:
        return PullError(
            f"{what}: its process ended with code {done.code}{quoted}.",
            hint=f"Try another weight format (--weight-format), or a repository that is OpenVINO already. {where}",
        )
    return PullError(f"{what}: {kind.what}{quoted}.", hint=f"{kind.hint} {where}", status=kind.status)


def _kind(text: str, kinds: tuple[_Kind, ...]) -> _Kind | None:
    return next((kind for kind in kinds if any(mark in text for mark in kind.marks)), None)


def _last_error(output: str) -> str:
    """The last traceback's error with its message, or pip's."""
    starts = [found.start() for found in _ERROR.finditer(output)]
    return output[starts[-1] :] if starts else ""


def _said(output: str) -> str:
    lines = [line.strip() for line in (_last_error(output) or output[-2000:]).splitlines() if line.strip()]
    said = lines[0] if _last_error(output) and lines else lines[-1] if lines else ""
    return said[:300].rstrip(".")
