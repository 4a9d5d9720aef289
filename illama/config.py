"""Every `ILLAMA_*` variable, read in this one place, each with its default, its check and where its value came from.

Knows: variables, defaults, folders. Does not know: HTTP, engines, models. Nothing is created or written here.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from illama.errors import ConfigError

SHARED_ROOT = Path("/opt/illama")
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


def _text(raw: str) -> str:
    return raw


def _path(raw: str) -> Path:
    return Path(raw).expanduser().absolute()


def _flag(raw: str) -> bool:
    if raw.lower() in _TRUE:
        return True
    if raw.lower() in _FALSE:
        return False
    raise ValueError("0 or 1")


def _names(raw: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in raw.split(",") if part.strip())


def _number(low: float, high: float, *, also: float | None = None) -> Callable[[str], float]:
    def parse(raw: str) -> float:
        allowed = f"a number from {low:g} to {high:g}" + ("" if also is None else f", or {also:g}")
        try:
            value = float(raw)
        except ValueError:
            raise ValueError(allowed) from None
        if value != also and not low <= value <= high:
            raise ValueError(allowed)
        return value

    return parse


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        allowed = f"a whole number from {low} to {high}"
        try:
            value = int(raw)
        except ValueError:
            raise ValueError(allowed) from None
        if not low <= value <= high:
            raise ValueError(allowed)
        return value

    return parse


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if raw not in allowed:
            raise ValueError(" or ".join(allowed))
        return raw

    return parse


def parse_device(raw: str) -> str:
    """A device's name as OpenVINO writes it. Raises ValueError, which says what is allowed, for what is none."""
    name = raw.upper()
    head, _, number = name.partition(".")
    if head not in {"CPU", "GPU", "NPU", "AUTO"} or (number and not number.isdigit()) or name.endswith("."):
        raise ValueError("CPU, GPU, GPU.0, GPU.1, …, NPU or AUTO")
    return name


def _url(raw: str) -> str:
    if not raw.startswith(("http://", "https://")):
        raise ValueError("a URL that begins with http:// or https://")
    return raw.rstrip("/")


@dataclass(frozen=True)
class Variable:
    """One variable: its name, the default as it would be typed, its parser, and what it means in one sentence."""

    name: str
    default: str | None
    parse: Callable[[str], Any]
    meaning: str
    secret: bool = False

    @property
    def field(self) -> str:
        """The attribute of `Settings` that holds the value: `ILLAMA_ONE_MODEL` is `one_model`."""
        return self.name.removeprefix("ILLAMA_").lower()


_WEEK = 7 * 86400

VARIABLES: tuple[Variable, ...] = (
    Variable("ILLAMA_DEVICE", "GPU", parse_device, "OpenVINO device; unset and without a GPU: CPU"),
    Variable("ILLAMA_ONE_MODEL", "1", _flag, "one model on a device at a time"),
    Variable("ILLAMA_IDLE_TTL_SEC", "600", _number(0, _WEEK, also=-1), "idle seconds until a model unloads; -1: never"),
    Variable("ILLAMA_REGISTRY_DIR", None, _path, "models and index.json"),
    Variable("ILLAMA_CACHE_DIR", None, _path, "downloads and compiled models"),
    Variable("ILLAMA_HOST", "0.0.0.0", _text, "bind address of `illama serve`; on demand: loopback unless set"),
    Variable("ILLAMA_PORT", "11434", _integer(1, 65535), "port of `illama serve`; on demand: if it is free"),
    Variable("HF_TOKEN", None, _text, "the hub's token", secret=True),
    Variable("HF_ENDPOINT", "https://huggingface.co", _url, "the hub that models are pulled from"),
    Variable("ILLAMA_HOME", None, _path, "one folder for registry, cache, logs and state"),
    Variable("ILLAMA_API_KEY", None, _text, "the owner's key; made at first start", secret=True),
    Variable("ILLAMA_BASE_URL", None, _url, "use this host and start none"),
    Variable("ILLAMA_ALLOWED_HOSTS", None, _names, "names that Host may have when not bound to loopback"),
    Variable("ILLAMA_MAX_QUEUE", "512", _integer(0, 100_000), "waiting requests before 503"),
    Variable("ILLAMA_MAX_WAIT_SEC", "60", _number(0, 86400), "longest wait behind newcomers for another model"),
    Variable("ILLAMA_MIN_RESIDENCY_SEC", "10", _number(0, 86400), "a busy model stays at least so long"),
    Variable("ILLAMA_DRAIN_SEC", "30", _number(0, 86400), "how long a stop lets running requests finish"),
    Variable("ILLAMA_MAX_TOKENS", "4096", _integer(1, 10_000_000), "cap of an answer whose request names none"),
    Variable("ILLAMA_HEADER_WAIT_SEC", "10", _number(0, 3600), "how long a stream's status is held back"),
    Variable("ILLAMA_SPARE_ENGINE", "1", _flag, "0: no engine process is kept ready for the next switch of models"),
    Variable("ILLAMA_STEP_LIMIT_SEC", "120", _number(1, 86400), "a busy engine that is silent so long is ended"),
    Variable("ILLAMA_LOAD_LIMIT_SEC", "1800", _number(1, 86400), "a load that takes longer is ended"),
    Variable("ILLAMA_HOST_IDLE_SEC", "86400", _number(1, 10 * _WEEK), "an idle host that was started on demand ends"),
    Variable("ILLAMA_ENGINE_PYTHON", None, _path, "interpreter of the engine"),
    Variable("ILLAMA_CONVERTER_PYTHON", None, _path, "interpreter of the conversion"),
    Variable("ILLAMA_ORIGINS", None, _names, "allowed browser origins"),
    Variable("ILLAMA_IMAGE_URLS", "0", _flag, "1: the host fetches images that a chat names by address"),
    Variable("ILLAMA_ENGINE", "openvino", _choice("openvino", "fake"), "the engine behind the host"),
    Variable("ILLAMA_STREAM", "1", _flag, "0: magics show one final output"),
)
BY_NAME = {variable.name: variable for variable in VARIABLES}


@dataclass(frozen=True)
class Settings:
    """All settings in force. `sources` says for each variable's name where its value came from.

    Times are in seconds; `sources` values are "environment", "default", or the folder rule that chose a path.
    """

    device: str
    one_model: bool
    idle_ttl_sec: float
    registry_dir: Path
    cache_dir: Path
    host: str
    port: int
    hf_token: str | None
    hf_endpoint: str
    home: Path | None
    api_key: str | None
    base_url: str | None
    allowed_hosts: tuple[str, ...]
    max_queue: int
    max_wait_sec: float
    min_residency_sec: float
    drain_sec: float
    max_tokens: int
    header_wait_sec: float
    spare_engine: bool
    step_limit_sec: float
    load_limit_sec: float
    host_idle_sec: float
    engine_python: Path | None
    converter_python: Path | None
    origins: tuple[str, ...]
    image_urls: bool
    engine: str
    stream: bool
    sources: Mapping[str, str]
    faults: tuple[ConfigError, ...] = ()

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, *, lenient: bool = False) -> Settings:
        """Read the environment (`os.environ` unless another mapping is given).

        An empty variable counts as unset. Raises ConfigError for a value that cannot be used; where that is to be
        reported (`lenient`), it counts as unset too, and the error is among `faults`.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        faults: list[ConfigError] = []
        for variable in VARIABLES:
            raw = environ.get(variable.name, "").strip()
            try:
                given = _checked(variable, raw) if raw else None
            except ConfigError as fault:
                if not lenient:
                    raise
                faults.append(fault)
                raw = ""
            if raw:
                values[variable.field] = given
                sources[variable.name] = "environment"
            else:
                values[variable.field] = None if variable.default is None else variable.parse(variable.default)
                sources[variable.name] = "default"
        for name in ("allowed_hosts", "origins"):
            values[name] = values[name] or ()
        _place(values, sources, "ILLAMA_REGISTRY_DIR", "registry", platformdirs.user_data_path)
        _place(values, sources, "ILLAMA_CACHE_DIR", "cache", platformdirs.user_cache_path)
        return cls(**values, sources=sources, faults=tuple(faults))

    def is_set(self, name: str) -> bool:
        """Whether the user set this variable, or it has its default."""
        return self.sources[name] == "environment"

    @property
    def run_dir(self) -> Path:
        """The folder of the state file and the locks: this user's, on this machine, never on a shared home."""
        if self.home:
            return self.home / "run"
        if os.name == "nt":
            return platformdirs.user_cache_path("illama", appauthor=False) / "run"
        # The same for a login shell and a Jupyter server, which rarely agree on XDG_RUNTIME_DIR: hence by user id.
        session = Path(f"/run/user/{os.getuid()}")
        if session.is_dir() and os.access(session, os.W_OK):
            return session / "illama"
        return Path(tempfile.gettempdir()) / f"illama-{os.getuid()}"

    @property
    def log_dir(self) -> Path:
        """The folder of the host's and the engines' logs."""
        return self.home / "logs" if self.home else platformdirs.user_log_path("illama", appauthor=False)

    @property
    def converter_dir(self) -> Path:
        """The folder of the converter's own environments: this user's, never shared, for what lies there is run."""
        return (self.home or platformdirs.user_data_path("illama", appauthor=False)) / "converter"

    @property
    def key_file(self) -> Path:
        """The file that keeps the owner's key."""
        return (self.home or platformdirs.user_config_path("illama", appauthor=False)) / "key"

    def environment(self) -> dict[str, str]:
        """The variables that were set, as they would be typed: what a process needs to come to the same settings."""
        chosen = {v.name: getattr(self, v.field) for v in VARIABLES if self.is_set(v.name)}
        return {
            k: ",".join(v) if isinstance(v, tuple) else str(int(v)) if isinstance(v, bool) else str(v)
            for k, v in chosen.items()
        }

    def public(self) -> dict[str, Any]:
        """All values by variable name, as JSON can hold them, without the secret ones."""
        shown = {v.name: getattr(self, v.field) for v in VARIABLES if not v.secret}
        return {k: str(v) if isinstance(v, Path) else list(v) if isinstance(v, tuple) else v for k, v in shown.items()}


def _checked(variable: Variable, raw: str) -> Any:
    try:
        return variable.parse(raw)
    except ValueError as problem:
        shown = "(hidden)" if variable.secret else repr(raw)
        raise ConfigError(
            f"{variable.name} is {shown}, but must be {problem}.",
            hint=f"Set {variable.name} to such a value, or unset it"
            + (f" for the default ({variable.default})." if variable.default is not None else "."),
            param=variable.name,
        ) from None


def _place(values: dict[str, Any], sources: dict[str, str], name: str, leaf: str, own: Callable[..., Path]) -> None:
    field = BY_NAME[name].field
    if values[field] is not None:
        return
    if values["home"]:
        values[field], sources[name] = values["home"] / leaf, "ILLAMA_HOME"
    elif _usable(SHARED_ROOT / leaf):
        values[field], sources[name] = SHARED_ROOT / leaf, "default"
    else:
        values[field] = own("illama", appauthor=False) / leaf
        sources[name] = f"default ({SHARED_ROOT / leaf} cannot be made)"


def _usable(folder: Path) -> bool:
    """Whether a folder of the shared root exists, or its nearest existing ancestor lets us make it."""
    if os.name == "nt":
        return False
    if folder.is_dir():
        return os.access(folder, os.R_OK)
    parent = next(p for p in folder.parents if p.exists())
    return os.access(parent, os.W_OK)
