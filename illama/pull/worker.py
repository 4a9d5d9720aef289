"""The process in which a pull runs: `python -m illama.pull`.

Knows: the request on stdin, the lines on stdout, when to give up. Does not know: how a model is pulled.

The first line of stdin is {"source", "name", "device", "weight_format", "trust_remote_code", "make_environment",
"hf_token"}, all but the source optional; after it, stdin's end means that nobody waits any more. Each line of stdout is
an object of JSON; the last one has "status": "success", or "error". Nothing else reaches stdout, whatever a native
library prints.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
import traceback
from typing import Any

from illama.config import Settings
from illama.errors import IllamaError, PullError, RequestError
from illama.pull.job import pull
from illama.pull.progress import Progress

# How long what was cancelled may take to clean up. What it leaves then, the registry's next writer deletes.
GRACE_SEC = 5.0


def main() -> int:
    """Serve one request. Returns the exit code: 0 if the model is installed now."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def emit(line: dict[str, Any]) -> None:
        try:
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
            out.flush()
        except BrokenPipeError:
            progress.cancel()

    progress = Progress(emit)
    for name in ("SIGTERM", "SIGINT"):
        signal.signal(getattr(signal, name), lambda *_: progress.cancel())
    try:
        request = _read_request()
        threading.Thread(target=_watch_stdin, args=(progress,), daemon=True).start()
        emit({"status": "success", **_serve(request, progress)})
        code = 0
    except IllamaError as problem:
        emit({**problem.to_ollama(), "status_code": problem.status})
        code = 1
    _close(out)
    return code


def _serve(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    source, name, device, form = (request.get(key) for key in ("source", "name", "device", "weight_format"))
    if not isinstance(source, str) or not source.strip():
        raise RequestError("A pull needs a source.", hint="For instance: illama pull smollm2.", param="model")
    for key, value in (("name", name), ("device", device), ("weight_format", form)):
        if value is not None and not isinstance(value, str):
            raise RequestError(f"{key} must be a string.", hint=f"Leave {key} out if there is none.", param=key)
    for key in ("trust_remote_code", "make_environment"):
        if request.get(key) not in {None, True, False}:
            raise RequestError(f"{key} must be true or false.", hint=f"Leave {key} out for false.", param=key)
    token = request.get("hf_token") or None
    # Checked here because an HTTP library's complaint would quote it.
    if token is not None and not (isinstance(token, str) and re.fullmatch(r"[\x21-\x7e]{1,512}", token)):
        raise RequestError("HF_TOKEN is not a token.", hint="It is one word of plain letters, such as hf_…")
    settings = Settings.load()
    try:
        result = pull(
            source,
            name=name or None,
            device=device or None,
            settings=settings,
            progress=progress,
            token=token,
            weight_format=form or None,
            trust_remote_code=bool(request.get("trust_remote_code")),
            make_environment=bool(request.get("make_environment")),
        )
    except IllamaError:
        raise
    except Exception as problem:
        traceback.print_exc()
        raise PullError(
            f"The pull failed in a way that was not foreseen: {type(problem).__name__}: {problem}",
            hint="The host's log has the details.",
        ) from problem
    return {"name": result.name, "existing": result.existing}


def _read_request() -> dict[str, Any]:
    # os.read, not sys.stdin: a thread that waits in a buffered reader cannot be left behind when the process ends.
    data = b""
    while b"\n" not in data:
        piece = os.read(0, 65536)
        if not piece:
            break
        data += piece
    try:
        request = json.loads(data.partition(b"\n")[0])
    except ValueError:
        request = None
    if not isinstance(request, dict):
        raise RequestError("The request is not a JSON object.", hint='Send {"source": "smollm2"} and a newline.')
    return request


def _watch_stdin(progress: Progress) -> None:
    while os.read(0, 4096):
        pass
    progress.cancel()
    time.sleep(GRACE_SEC)
    os._exit(1)


def _close(out: Any) -> None:
    try:
        out.close()
    except BrokenPipeError:
        sys.stderr.write("Nobody read how the pull ended.\n")
