"""A script, run by the engine's interpreter: read a GGUF file with OpenVINO GenAI and leave its IR beside it.

Knows: one call of openvino_genai. Does not know: anything of illama, which that interpreter may not have.

    python to_ir.py FILE.gguf VERSIONS.json

The versions of openvino and openvino_genai go to the second file. Ends when its stdin does: then nobody waits for it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def main(source: str, versions: str) -> None:
    """Convert `source`, then write `versions`. Whatever goes wrong is an exception on stderr and an exit code."""
    # A script's own folder comes first on the path, and its modules are not the ones that openvino wants.
    here = Path(__file__).resolve().parent
    sys.path[:] = [each for each in sys.path if not each or Path(each).resolve() != here]
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    # Nothing is sent to anybody, and no child is forked for it: see illama/engine/launch.py.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino
    import openvino_genai

    openvino_genai.LLMPipeline(source, "CPU", enable_save_ov_model=True)
    found = {"openvino": openvino.__version__, "openvino_genai": openvino_genai.__version__}
    Path(versions).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
