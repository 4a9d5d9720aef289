"""The engine: the process that owns a device, and the pipe that leads to it.

One engine process serves one loaded model; unloading the model is ending the process, since only then the memory of a
device surely comes back. `process` is the host's side of it; `worker` is what runs inside. The modules that run inside
use the standard library and OpenVINO alone, so that the engine's interpreter need not have illama's own dependencies.
"""
