"""A short real run on each device: load, answer, switch, unload, and the memory before, meanwhile and afterwards.

Knows: the order of a run, what counts as well, and that others come first: it asks the host as any client does, starts
only when nobody waits for an answer, and loads again what it found loaded. Does not know: OpenVINO, how a host works.
Sizes are bytes, times seconds. The same steps for every device, whatever it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from illama.doctor.facts import Device
from illama.doctor.finding import Finding, failed, ok, size, warning
from illama.errors import HostBusyError, IllamaError, ModelNotFoundError

QUESTION = "What is the capital of France?"
_TOKENS = 32
# Seconds to wait for others' answers, and between two looks.
_PATIENCE = 60.0
_LOOK = 0.5
# What may stay behind after an unload: noise of the system's books.
_NOISE = 64 * 2**20


@dataclass(frozen=True)
class Sizes:
    """What is taken: by the `host` and its engines, and of the `device`'s memory by whomever; None where untold."""

    host: int | None = None
    device: int | None = None


@dataclass(frozen=True)
class Step:
    """One thing that was done: `what`, the model, how long it took in all; the answer's figures if there was one."""

    what: str
    model: str
    seconds: float
    text: str = ""
    timings: dict[str, Any] = field(default_factory=dict)


@dataclass
class Run:
    """What happened on one device; `error` says what ended it, "" if it went well."""

    device: str
    full_name: str
    steps: list[Step] = field(default_factory=list)
    before: Sizes = Sizes()
    loaded: Sizes = Sizes()
    after: Sizes = Sizes()
    error: str = ""
    hint: str = ""


class Asked(Protocol):
    """What is needed of `illama.Client`."""

    @property
    def chat(self) -> Callable[..., Any]:
        """One whole answer, with `text` and `timings`."""

    def list(self) -> Sequence[dict[str, Any]]:
        """The models installed."""

    def ps(self) -> Sequence[dict[str, Any]]:
        """The models loaded."""

    def load(self, model: str) -> None:
        """Load a model where it belongs."""

    def unload(self, model: str) -> None:
        """Unload a model, and wait until it is gone."""


class SelfTest:
    """The self-test of a host's devices. `measure` tells what is taken now; `say` is told what goes on."""

    def __init__(
        self,
        client: Asked,
        devices: Sequence[Device],
        measure: Callable[[Device], Sizes],
        say: Callable[[str], None],
        *,
        patience: float = _PATIENCE,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._devices = devices
        self._measure = measure
        self._say = say
        self._patience = patience
        self._sleep = sleep

    def run(self) -> list[Run]:
        """Try all devices. Raises HostBusyError if others keep the host busy, ModelNotFoundError without a model."""
        models = self._models()
        self._wait_for_others()
        guests = [model["name"] for model in self._client.ps()]
        runs = []
        try:
            for device in self._devices:
                self._wait_for_others()
                runs.append(self._try(device, models))
        finally:
            here = {model["name"] for model in self._client.ps()}
            for guest in guests:
                if guest not in here:
                    self._say(f"loading {guest} again, as it was")
                    self._client.load(guest)
        return runs

    def _models(self) -> list[str]:
        """The smallest model that answers, and a second one to switch to if there is one."""
        fit = [model for model in self._client.list() if model.get("task") in (None, "text-generation")]
        if not fit:
            raise ModelNotFoundError(
                "No model that answers is installed, so no device can be tried.",
                hint="`illama pull smollm2`, then `illama doctor --selftest` again.",
            )
        return [str(model["name"]) for model in sorted(fit, key=lambda model: int(model.get("size") or 0))[:2]]

    def _wait_for_others(self) -> None:
        looks = max(1, round(self._patience / _LOOK))
        for look in range(looks):
            busy = [
                model
                for model in self._client.ps()
                if model.get("running") or model.get("queued") or model.get("state", "ready") != "ready"
            ]
            if not busy:
                return
            self._say(f"waiting: the host is busy with {busy[0]['name']}")
            if look < looks - 1:
                self._sleep(_LOOK)
        raise HostBusyError(
            f"The host is busy with {busy[0]['name']}, and a self-test would be in the way.",
            hint="Try again when it is quiet; `illama ps` shows what goes on.",
        )

    def _try(self, device: Device, models: list[str]) -> Run:
        run = Run(device.name, device.full_name)
        first, second = models[0], models[-1]
        try:
            # A model that is loaded would answer without a load.
            for model in self._client.ps():
                if model["name"] in models:
                    self._client.unload(model["name"])
            run.before = self._measure(device)
            self._ask(run, "load and answer", first)
            run.loaded = self._measure(device)
            self._ask(run, "answer again", first)
            if second != first:
                self._ask(run, "switch to another model", second)
                self._ask(run, "switch back", first)
            else:
                self._unload(run, first)
                self._ask(run, "load again and answer", first)
            self._unload(run, first)
            run.after = self._measure(device)
        except IllamaError as error:
            run.error, run.hint = error.message, error.hint
            self._leave(models)
        except KeyboardInterrupt:
            self._leave(models)
            raise
        return run

    def _ask(self, run: Run, what: str, model: str) -> None:
        self._say(f"{run.device}: {what}, {model}")
        began = time.monotonic()
        reply = self._client.chat(
            QUESTION, model=model, device=run.device, max_tokens=_TOKENS, temperature=0.0, keep_alive=300
        )
        run.steps.append(Step(what, model, round(time.monotonic() - began, 3), reply.text, dict(reply.timings)))
        if not reply.text.strip():
            raise IllamaError(f"{model} gave no answer on {run.device}.", hint="`illama logs engine` may say why.")
        where = reply.timings.get("device")
        if where != run.device:
            raise IllamaError(f"{model} was asked on {run.device}, but answered on {where}.")

    def _unload(self, run: Run, model: str) -> None:
        self._say(f"{run.device}: unload {model}")
        began = time.monotonic()
        self._client.unload(model)
        run.steps.append(Step("unload", model, round(time.monotonic() - began, 3)))

    def _leave(self, models: list[str]) -> None:
        """Leave nothing loaded that was loaded for the test."""
        try:
            for model in self._client.ps():
                if model["name"] in models and not model.get("running"):
                    self._client.unload(model["name"])
        except IllamaError as error:
            self._say(f"could not unload: {error.message}")


def judge(runs: Sequence[Run]) -> list[Finding]:
    """A line for each device."""
    return [_judge(run) for run in runs]


def _judge(run: Run) -> Finding:
    check = f"run on {run.device}"
    if run.error:
        done = f" (after: {', '.join(step.what for step in run.steps)})" if run.steps else ""
        hint = run.hint or "`illama logs engine` says more; send the report."
        return failed(check, " ".join(f"{run.error.rstrip('.')}{done}.".split()), " ".join(hint.split()))
    first, warm = run.steps[0], run.steps[1]
    # The second answer, as the first one pays for the load and for what a device compiles at its first use.
    rate = float(warm.timings.get("predicted_per_second") or 0)
    load = float(first.timings.get("load_ms") or 0) / 1000
    says = (
        f"{first.model} answered {_quoted(first.text)}; loaded in {load:.1f} s, {rate:.0f} tokens/s, first token after "
        f"{float(warm.timings.get('ttft_ms') or 0):.0f} ms; memory of host and engine: {size(run.before.host)} before, "
        f"{size(run.loaded.host)} loaded, {size(run.after.host)} after"
    )
    if run.before.device is not None:
        says += f"; {run.device}'s own: {', '.join(size(each.device) for each in (run.before, run.loaded, run.after))}"
    missing = [_missing(*(getattr(each, kind) for each in (run.before, run.after))) for kind in ("host", "device")]
    if any(missing):
        return warning(check, f"{says}. {size(max(missing))} did not come back.", "Send the report: this is a fault.")
    return ok(check, f"{says}.")


def _missing(before: int | None, after: int | None) -> int:
    """What an unload did not give back, beyond noise."""
    if before is None or after is None or after - before <= _NOISE:
        return 0
    return after - before


def _quoted(text: str) -> str:
    words = " ".join(text.split())
    return f'"{words if len(words) <= 60 else words[:59] + "…"}"'
