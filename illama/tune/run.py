"""Tunes a model from beginning to end: one setting after the other, then all that is to be kept once more.

Knows: the order, who must not be disturbed, what the registry gets. Does not know: how a round is measured, the rule.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from illama.bench import facts, parties
from illama.bench.figures import percentile
from illama.bench.run import QUIET
from illama.client import Client
from illama.config import Settings
from illama.discovery import find
from illama.errors import ConfigError, EngineError, HostBusyError, IllamaError, UnsupportedError
from illama.registry import Entry, Registry, tuned
from illama.tune import choose, trials
from illama.tune.candidates import candidates, cores
from illama.tune.choose import Outcome, Verdict
from illama.tune.options import Options
from illama.tune.result import START, TOGETHER, Result, Row, named
from illama.tune.trials import Trial, Turns

Make = Callable[[Settings, Mapping[str, Any], str, Mapping[str, Any]], Trial]


def reset(options: Options, settings: Settings) -> Entry:
    """Take back what was tuned for a model. Raises ModelNotFoundError, RegistryError."""
    _local(settings)
    return Registry(settings.registry_dir).update(options.model, lambda entry: dataclasses.replace(entry, tuned={}))


def run(options: Options, settings: Settings, say: Callable[[str], None], make: Make = Trial) -> Result:
    """Tune. After an interrupt or a failure the entry is as it was; what was measured is returned all the same.

    `say` is told what goes on. Raises UnsupportedError for a model or device that there is nothing to tune of,
    HostBusyError if others use the host, and ModelNotFoundError.
    """
    with ExitStack() as stack:
        tuning = Tuning(options, settings, say, make, stack)
        try:
            tuning.prepare()
            tuning.measure()
            tuning.keep()
        except KeyboardInterrupt:
            if not tuning.result.about:
                raise
            tuning.result.interrupted = True
        except IllamaError as problem:
            if not tuning.result.start:
                raise
            tuning.result.problem = problem.one_line()
    return tuning.result


def _local(settings: Settings) -> None:
    if settings.base_url:
        raise ConfigError(
            "A model is tuned on the machine that has it.", hint="Run it there, or unset ILLAMA_BASE_URL."
        )


@dataclass
class Tuning:
    """One run. What `stack` holds is ended with it: every engine, and the host's models come back."""

    options: Options
    settings: Settings
    say: Callable[[str], None]
    make: Make
    stack: ExitStack
    result: Result = field(default_factory=lambda: Result({}))
    _strangers: list[float] = field(default_factory=list)
    _company: bool = False

    def prepare(self) -> None:
        """See that it can be done, make room for it, and take down what it is done with."""
        _local(self.settings)
        self.registry = Registry(self.settings.registry_dir)
        self.entry = self.registry.get(self.options.model)
        self.say(f"looking at {self.entry.name} and this machine")
        self._refuse_others()
        self.device = facts.device_of(self.settings, self.entry)
        if self.settings.engine == "fake" and self.make is Trial:
            raise UnsupportedError("The fake engine has no settings.", hint="Unset ILLAMA_ENGINE.")
        if self.device.name.partition(".")[0] not in ("CPU", "GPU"):
            raise UnsupportedError(
                f"There is nothing to tune on {self.device.name}.", hint="It has one way to run a model."
            )
        # It begins with what somebody set, and with what an earlier tuning found for that which is not tried now.
        found = tuned.told(self.entry, self.device)["in_force"] if self.entry.tuned else {}
        self.earlier = {name: value for name, value in found.items() if name not in self.options.settings}
        self.bare = dataclasses.replace(self.entry, tuned={**self.entry.tuned, "options": self.earlier})
        if self.earlier:
            self.result.notes.append(f"It began with what was tuned before: {_joined(self.earlier)}.")
        self.tried = candidates(self.device.name, cores(self.device.cores), self.options.settings, self.entry.options)
        if steps := self.tried.get(choose.STEP):
            # A step that the prompt does not fill was not seen at its longest.
            self.tried[choose.STEP] = [count for count in steps if count <= self.options.prompt_tokens]
        fixed = [name for name in self.options.settings if name in self.entry.options]
        if fixed:
            self.result.notes.append(f"You have set {', '.join(fixed)}: what you set counts, and was not tried.")
        if self.entry.options.get("draft") or self.entry.options.get("prompt_lookup"):
            self.result.notes.append("No tokens were guessed while this was measured, as the model's options have it.")
        self._clear()
        self.message = parties.load_message(self.settings, self.bare, self.device)
        self.result.about = {
            "date": facts.now(),
            "model": facts.model(dataclasses.replace(self.bare, tuned={"in_force": self.earlier}).to_json()),
            "versions": facts.versions(self.settings),
            "machine": facts.machine(),
            "device": facts.described(self.device),
            "options": {
                "rounds": self.options.number_of_rounds,
                "tokens": self.options.answer_tokens,
                "prompt": self.options.prompt_tokens,
                "longest_step": self.options.longest_step,
            },
            "conditions": {"load_average": facts.load_average()},
        }

    def _refuse_others(self) -> None:
        entry = self.entry
        if entry.task != "text-generation" or not entry.chat_template or entry.options.get("pipeline") == "stateful":
            raise UnsupportedError(
                f"{entry.name} cannot be tuned: that is for text models with a chat template, on the paged pipeline.",
                hint=f"`illama set {entry.name}` shows what can be set by hand.",
            )

    def _clear(self) -> None:
        """Unload what the host has loaded, if nobody uses it; it is loaded again in the end."""
        if find(self.settings) is None:
            self.client = None
            return
        self.client = client = self.stack.enter_context(Client(start=False, settings=self.settings))
        guests = client.ps()
        busy = [str(model["name"]) for model in guests if model.get("running") or model.get("queued")]
        if busy:
            raise HostBusyError(
                f"Others use the host ({', '.join(busy)}): a tuning would be in their way, and they in its.",
                hint="Try again when `illama ps` shows nothing running.",
            )
        for model in guests:
            self.say(f"unloading {model['name']}")
            client.unload(model["name"])
            self.stack.callback(self._restore, client, str(model["name"]))

    def _restore(self, client: Client, name: str) -> None:
        self.say(f"loading {name} again, as it was")
        try:
            client.load(name)
        except IllamaError as problem:
            self.result.notes.append(f"{name} was loaded before, and is not now: {problem.one_line()}")

    def measure(self) -> None:
        """One setting after the other, each beside what the ones before have left; then all of it."""
        kept = self.result.kept
        for option, values in self.tried.items():
            if not values:
                continue
            best = self._try(option, values)
            if best is not None:
                kept[option] = best
        if kept:
            self._confirm()
        self._remark()

    def _try(self, option: str, values: list[Any]) -> Any | None:
        """The best value of a setting; None if it is the one that there is."""
        kept = dict(self.result.kept)
        engines: dict[str, Any] = {named(option, value): value for value in values}
        with ExitStack() as stack:
            base = self._trial(stack, _joined(kept) or START, kept)
            base.start()
            started, rows = [base], []
            apart = self._crowded(1 + len(values))
            for name, value in engines.items():
                self.say(f"{option}: starting an engine with {name}")
                if apart:
                    base.close()
                trial = self._trial(stack, name, {**kept, option: value})
                try:
                    trial.start()
                except EngineError as problem:
                    rows.append(Row(option, value, Verdict(False, f"cannot be loaded: {problem.message}"), kept=False))
                    continue
                if trial.facts["context_length"] < base.facts["context_length"]:
                    why = (
                        f"a context of {trial.facts['context_length']} tokens instead of {base.facts['context_length']}"
                    )
                    rows.append(Row(option, value, Verdict(False, f"leaves room for {why}"), kept=False))
                    trial.close()
                    continue
                started.append(trial)
                if apart:
                    trial.close()
            self.result.rows += rows
            if len(started) == 1:
                return None
            found, failed = self._turns(option, started, apart=apart)
            started = [trial for trial in started if trial.name in found]
            told = self._compared(started, apart=apart) if option == "kv_precision" else {}
        self.result.rows += [
            Row(option, engines[name], Verdict(False, f"gives no answer: {why}"), kept=False)
            for name, why in failed.items()
        ]
        before = found[base.name]
        self.result.start = self.result.start or before
        judged = [
            (trial.name, choose.judge(option, found[trial.name], before, self.options.longest_step))
            for trial in started[1:]
        ]
        best = choose.best(judged)
        self.result.rows += [
            Row(option, engines[name], verdict, name == best, found[name], before, told.get(name, ""))
            for name, verdict in judged
        ]
        return None if best is None else engines[best]

    def _confirm(self) -> None:
        """Hold all that is to be kept against the beginning: gains of chance, or of one thing twice, come out here."""
        kept = self.result.kept
        with ExitStack() as stack:
            base, together = self._trial(stack, START, {}), self._trial(stack, TOGETHER, kept)
            apart = self._crowded(2)
            if not apart:
                base.start()
                together.start()
            found, failed = self._turns(TOGETHER, [base, together], apart=apart)
            if failed:
                raise EngineError(f"The engine with {TOGETHER} gave no answer: {failed[TOGETHER]}")
            texts = self._compared([base, together], apart=apart)[TOGETHER]
        verdict = choose.confirmed(list(kept), found[TOGETHER], found[START], self.options.longest_step)
        self.result.together = Row(TOGETHER, kept.copy(), verdict, verdict.good, found[TOGETHER], found[START], texts)
        if not verdict.good:
            self.result.notes.append("Measured once more, all together was not clearly better: nothing is kept.")
            self.result.rows = [dataclasses.replace(row, kept=False) for row in self.result.rows]
            kept.clear()

    def _trial(self, stack: ExitStack, name: str, options: Mapping[str, Any]) -> Trial:
        trial = self.make(self.settings, self.message, name, options)
        stack.callback(trial.close)
        return trial

    def _turns(self, what: str, engines: list[Trial], *, apart: bool) -> tuple[dict[str, Outcome], dict[str, str]]:
        """What the engines did, and why some did nothing."""
        self.say("counting the tokens of words")
        # All are asked the same: what it leaves in one's memory would be held against it.
        sizes = trials.sizes(engines[0])
        for engine in [] if apart else engines[1:]:
            with suppress(IllamaError):  # it fails again when it is measured, and that is told
                trials.sizes(engine)
        room = engines[0].facts["context_length"] - 2 * self.options.answer_tokens
        prompt = min(self.options.prompt_tokens, room - 64)
        turns = Turns(
            engines, prompt, self.options.answer_tokens, sizes, apart, lambda said: self.say(f"{what}: {said}")
        )
        found = turns.run(self.options.number_of_rounds)
        self._strangers += turns.strangers
        self._company = self._company or any(
            model.get("running") or model.get("queued") for model in (self.client.ps() if self.client else [])
        )
        return found, turns.failed

    def _compared(self, engines: list[Trial], *, apart: bool) -> dict[str, str]:
        """Whether the engines write the same text as the first of them."""
        self.say("comparing what they write")
        texts = {}
        for engine in engines:
            if apart:
                for other in engines:
                    other.close()
            texts[engine.name] = engine.texts()
        first = texts[engines[0].name]
        return {engine.name: trials.compare_texts(first, texts[engine.name]) for engine in engines[1:]}

    def _crowded(self, count: int) -> bool:
        return parties.crowded(self.bare, self.device, count)

    def _remark(self) -> None:
        if self._company:
            self.result.notes.append("Others used the host meanwhile: run it again when it is quiet.")
        if self._strangers and (middle := percentile(self._strangers, 0.5)) > QUIET:
            self.result.notes.append(f"Other programs took {middle:.0%} of the machine: run it again when it is quiet.")

    def keep(self) -> None:
        """Write it into the entry, the outcome that the defaults are best too; what was there goes."""
        result = self.result
        if self.options.dry_run or not self.tried:
            return
        found = {
            "options": {**self.earlier, **result.kept},
            **tuned.found_at(self.device),
            "date": result.about["date"],
            "figures": result.figures() if result.kept else [],
        }
        self.registry.update(self.entry.name, lambda entry: dataclasses.replace(entry, tuned=found))
        result.stored = True
        gone = {name: old for name, old in self.entry.tuned.get("options", {}).items() if name not in found["options"]}
        if gone:
            result.notes.append(f"What was tuned before is taken back: {_joined(gone)}.")


def _joined(options: Mapping[str, Any]) -> str:
    return ", ".join(named(option, value) for option, value in options.items())
