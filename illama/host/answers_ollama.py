"""What the answers of Ollama's dialect hold.

Knows: fields and their types, in the order in which they are written. Does not know: where the values come from.

Times are RFC 3339 with fractions of a second and a zone; durations are nanoseconds, sizes bytes.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Answer(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A base: what is not said is left out."""


class Version(Answer):
    """`GET /api/version`."""

    version: str
    protocol: int
    inference_key: str | msgspec.UnsetType = msgspec.UNSET


class Details(Answer, omit_defaults=False):
    """What kind of model it is. What is not known is an empty string."""

    parent_model: str = ""
    format: str = ""
    family: str = ""
    families: list[str] = []
    parameter_size: str = ""
    quantization_level: str = ""


class Tag(Answer, kw_only=True, omit_defaults=False):
    """One installed model. From `task` on the fields are ours."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: Details
    task: str
    context_length: int | None
    weight_format: str | None
    aliases: list[str]


class Offer(Answer, kw_only=True, omit_defaults=False):
    """A model that can be pulled by a short name. `size` is that of the download, where it is known."""

    names: list[str]
    repo: str
    size: int | None


class Tags(Answer):
    """`GET /api/tags`. `catalogue` is ours, and there if the query asks for it: what can be pulled by a short name."""

    models: list[Tag]
    catalogue: list[Offer] | msgspec.UnsetType = msgspec.UNSET


class Loaded(Answer, kw_only=True, omit_defaults=False):
    """One loaded model, or one on its way in or out. From `device` on the fields are ours."""

    name: str
    model: str
    size: int
    digest: str
    details: Details
    expires_at: str
    size_vram: int
    context_length: int | None
    device: str
    task: str | None
    state: Literal["empty", "loading", "ready", "draining", "unloading"]
    running: int
    queued: int
    pid: int | None
    pipeline: str | None
    tokens_per_second: float
    memory: dict[str, int | None]
    load_seconds: float
    keep_alive: float
    until_seconds: float | None


class DeviceRoom(Answer, kw_only=True, omit_defaults=False):
    """A device and its memory, None where nobody tells. `own`: it has memory of its own, else it uses the machine's.

    Not `exact`: some of what takes of it could not be seen, so that less may be free.
    """

    name: str
    full_name: str
    own: bool
    total: int | None
    free: int | None
    exact: bool


class Ps(Answer):
    """`GET /api/ps`. Ours are `jobs`, the pulls that run or ended lately; `devices`, once a model was asked for;
    `registry`, a word that changes when what is installed does; `keep_alive`, the seconds that are the default; and
    `spare`, the pid and memory of the engine process that waits for the next switch.
    """

    models: list[Loaded]
    jobs: list[dict[str, Any]]
    devices: list[DeviceRoom]
    registry: str
    keep_alive: float
    spare: dict[str, Any] | None = None


class Shown(Answer, kw_only=True, omit_defaults=False):
    """`POST /api/show`. `entry` is ours: all that the registry has."""

    license: str
    modelfile: str
    parameters: str
    template: str
    details: Details
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str
    entry: dict[str, Any]


class Figures(Answer, kw_only=True):
    """What the last part of an answer tells."""

    done_reason: Literal["stop", "length", "load", "unload"] | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None


class CalledFunction(Answer, omit_defaults=False):
    """The function of a call."""

    name: str
    arguments: dict[str, Any]
    index: int = 0


class Call(Answer):
    """A call of a tool."""

    function: CalledFunction
    id: str | None = None


class Said(Answer):
    """The assistant's message, or a piece of it."""

    role: Literal["assistant"]
    content: str
    thinking: str | None = None
    tool_calls: list[Call] | None = None


class Generated(Figures, kw_only=True):
    """`POST /api/generate`: the answer, or a line of it."""

    model: str
    created_at: str
    response: str
    done: bool
    thinking: str | None = None


class Chatted(Figures, kw_only=True):
    """`POST /api/chat`: the answer, or a line of it."""

    model: str
    created_at: str
    message: Said
    done: bool


class Deleted(Answer):
    """`DELETE /api/delete`."""

    freed: int


class Progress(msgspec.Struct, kw_only=True):
    """A line of `POST /api/pull`; the last one, or the whole answer, has the status "success", or an error.

    All but status, completed and total are ours, and there may be more of them.
    """

    status: str | None = None
    completed: int | None = None
    total: int | None = None
    phase: str | None = None
    job: str | None = None
    name: str | None = None
    error: str | None = None


class Stopped(Answer):
    """`DELETE /api/pull`, which is ours."""

    job: str
    state: str
    watchers: int
