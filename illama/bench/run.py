"""Runs a benchmark from beginning to end: who takes part, in which order, what is kept when it is cut short.

Knows: the parts and how they meet. Does not know: how a part measures, or how the result is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from illama import space
from illama.bench import facts, jupyter, meters, parties, prompts, targets
from illama.bench.children import Child
from illama.bench.figures import percentile
from illama.bench.life import Life
from illama.bench.measures import STREAM_PROMPT, planned
from illama.bench.options import Options
from illama.bench.prompts import Sizes
from illama.bench.result import Result
from illama.bench.rounds import Rounds
from illama.bench.targets import Raw, Served, Target
from illama.client import Client
from illama.config import Settings
from illama.errors import ConfigError, EngineError, HostBusyError, IllamaError, UnsupportedError
from illama.host import devices
from illama.registry import Entry, Registry

# The most that strangers may use of the machine before the result says that it tells little.
QUIET = 0.1
_LIFE_ROUNDS = 3


def run(options: Options, client: Client, say: Callable[[str], None]) -> Result:
    """Measure. What was found before an interrupt or a failure is returned all the same, marked as incomplete.

    `say` is told what goes on. Raises ConfigError for options that cannot be, HostBusyError if others use the host, and
    what the client raises for a model that cannot be had.
    """
    bench = Bench(options, client.session.settings, client, say)
    try:
        bench.prepare()
        bench.measure()
        bench.restore()
    except KeyboardInterrupt:
        if not bench.about:
            raise
        bench.interrupted = True
    except IllamaError as problem:
        if not bench.about:
            raise
        bench.problem = problem.one_line()
    finally:
        bench.close()
    return bench.result()


@dataclass
class Bench:
    """One run."""

    options: Options
    settings: Settings
    client: Client
    say: Callable[[str], None]
    interrupted: bool = False
    problem: str = ""
    notes: list[str] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)
    _targets: list[Target] = field(default_factory=list)
    _guests: list[str] = field(default_factory=list)
    _generator: Child | None = None
    _rounds: Rounds | None = None
    _looks: int = 0
    _disturbed: int = 0

    def prepare(self) -> None:
        """See that it can be done, and take down what it is done with."""
        options = self.options
        self.say(f"looking at {options.model} and this machine")
        self.entry = Entry.from_json(self.client.show(options.model)["entry"])
        other = self.client.show(options.switch)["entry"]["name"] if options.switch else None
        self.other = None if other is None else str(other)
        if self.entry.task not in ("text-generation", "image-text-to-text"):
            raise UnsupportedError(
                f"{self.entry.name} is a model for {self.entry.task}: there is no speed of writing to measure.",
                hint="`illama list` shows each model's task.",
            )
        if self.other == self.entry.name:
            raise ConfigError("--switch needs another model than the one measured.", hint="`illama cp` makes one.")
        state = self.client.session.endpoint().state
        self.pid = state.pid if state else None
        if options.raw and self.pid is None:
            raise ConfigError("--raw needs a host of this machine.", hint="Unset ILLAMA_BASE_URL, or leave --raw out.")
        unknown = {name for name, _ in options.against_model} - {peer.name for peer in options.against}
        if unknown:
            raise ConfigError(f"--against-model names {', '.join(sorted(unknown))}, which no --against does.")
        self._refuse_company()
        self._guests = [str(model["name"]) for model in self.client.ps()]
        if self.pid is None:
            self.notes.append("The host is another machine's: processor and versions are those of this one.")
        self.life = Life(self.client, self.entry.name, self.pid, self.say)
        self.about = {
            "date": facts.now(),
            "model": facts.model(self.entry.to_json()),
            "versions": facts.versions(self.settings),
            "machine": facts.machine(),
            "options": {
                "quick": options.quick,
                "rounds": options.number_of_rounds,
                "tokens": options.answer_tokens,
                "parts": list(options.parts),
            },
            "conditions": {"load_average": facts.load_average()},
        }

    def _refuse_company(self) -> None:
        busy = [model for model in self.client.ps() if model.get("running") or model.get("queued")]
        if not busy:
            return
        names = ", ".join(str(model["name"]) for model in busy)
        if not self.options.anyway:
            raise HostBusyError(
                f"Others use the host ({names}): a benchmark would be in their way, and they in its.",
                hint="Try again when `illama ps` shows nothing running, or measure all the same with --anyway.",
            )
        self.notes.append(f"Others used the host when it began ({names}): the figures are worth little.")

    def measure(self) -> None:
        """All parts, one after the other."""
        options, life = self.options, self.life
        rounds = min(_LIFE_ROUNDS, options.number_of_rounds) if not options.quick else 1
        if self._has_compiled():
            self.notes.append("What the device compiles was there already: the first load is no first one.")
        if "life" in options.parts:
            life.loads(rounds)
        else:
            self.client.load(self.entry.name)
        self._meet()
        if set(options.parts) - {"life"}:
            self._take_turns()
        if self.other is not None:
            life.switches(self.other, rounds, self._first_token, self._bare_start if options.raw else None)
        if "life" in options.parts:
            life.parting()

    def _has_compiled(self) -> bool:
        folder = space.compiled(Path(self.settings.cache_dir), self.entry)
        return self.pid is not None and folder.is_dir() and any(folder.iterdir())

    def _meet(self) -> None:
        """Make the targets' acquaintance: who takes part, and how many tokens a word has."""
        loaded = next(model for model in self.client.ps() if model["name"] == self.entry.name)
        self.context = int(loaded.get("context_length") or 4096)
        name = str(loaded["device"])
        self.device = facts.device(self.settings, name) if self.pid is not None else devices.Device(name, name)
        self.about["device"] = facts.described(self.device)
        self._generator = targets.generator()
        host = Served(
            "host",
            self.client.base_url,
            self.client.api_key,
            self.entry.name,
            self._generator,
            self._host_processes,
        )
        self.host = host
        self.sizes = self._sizes(host)
        self._targets.append(host)
        if self.options.raw:
            self._targets.insert(0, self._raw(self.entry))
            self._through_jupyter({int(loaded["pid"])})
        for asked in self.options.against:
            self._invite(parties.peer(asked, dict(self.options.against_model).get(asked.name), self._generator))
        self.about["targets"] = [target.describe() for target in self._targets]

    def _host_processes(self) -> dict[str, list[int]]:
        """The host's own, and those of its engines; none if it is another machine's."""
        family = meters.tree(self.pid) if self.pid is not None else []
        return {"host": family[:1], "engine": family[1:]} if family else {}

    def _sizes(self, host: Served) -> Sizes:
        self.say("counting the tokens of words")
        counted = []
        for words in (40, 160):
            answer = host.run([{"messages": prompts.first_turn(prompts.text("count", words)), "max_tokens": 1}])
            found = answer["answers"][0]
            if found["prompt_tokens"] is None:
                raise EngineError(f"The host gave no answer: {found['error']}", hint="`illama logs host` says more.")
            counted.append((words, int(found["prompt_tokens"])))
        return Sizes.of(*counted)

    def _raw(self, entry: Entry) -> Raw:
        if (
            self.settings.engine == "fake"
            or entry.options.get("pipeline") == "stateful"
            or entry.task != "text-generation"
        ):
            raise UnsupportedError("--raw is for text models of OpenVINO GenAI's paged pipeline.", hint="Leave it out.")
        if entry.options.get("prompt_lookup") or entry.options.get("draft"):
            self.notes.append("raw guesses no tokens: the model's own options for that count at the host alone.")
        return Raw(self.settings, parties.load_message(self.settings, entry, self.device))

    def _through_jupyter(self, engines: set[int]) -> None:
        gate = jupyter.find(engines)
        if gate is None:
            self.notes.append("No Jupyter server was found that leads to this host with a token.")
            return
        assert self._generator is not None, "it was started first"

        def processes() -> dict[str, list[int]]:
            # The server's own process: its children are kernels.
            return {**self.host.processes(), "gate": [gate.pid]}

        self._targets.append(
            Served("jupyter", gate.url, gate.token, self.entry.name, self._generator, processes, engine="host")
        )

    def _invite(self, peer: Served) -> None:
        self.say(f"asking {peer.name}")
        text = prompts.text("hello", self.sizes.words(STREAM_PROMPT))
        error = peer.first_contact({"messages": prompts.first_turn(text), "max_tokens": 8})
        if error is None:
            self._targets.append(peer)
        else:
            self.notes.append(f"{peer.name} was left out, as it gave no answer: {error}")

    def _take_turns(self) -> None:
        options = self.options
        room = self.context - 2 * options.answer_tokens
        plan = planned(options.parts, options.prompt_sizes, options.stream_counts, options.answer_tokens, room)
        left_out = sorted(set(options.prompt_sizes) - {measure.size for measure in plan if measure.kind == "prompts"})
        if left_out and "prompts" in options.parts:
            sizes = ", ".join(map(str, left_out))
            self.notes.append(f"Prompts of {sizes} tokens do not fit the context of {self.context} with an answer.")
        apart = options.raw and parties.crowded(self.entry, self.device)
        if apart:
            self.notes.append("raw and the host had no room side by side: each was loaded anew in every round.")
        self._rounds = Rounds(
            self._targets, plan, self.sizes, self.say, self._own_processes, self._wake if apart else None, self._look
        )
        self._rounds.warm_up()
        self._rounds.run(options.number_of_rounds)

    def _own_processes(self) -> dict[str, list[int]]:
        """Those that work for the measurement; and the targets that are not asked, which are no strangers."""
        found = {"bench": [parties.OWN_PID], "load generator": [self._generator.pid] if self._generator else []}
        for target in self._targets:
            found.update(target.processes())
        return found

    def _wake(self, target: Target) -> None:
        raw = next(each for each in self._targets if isinstance(each, Raw))
        if target is raw:
            self.life.unload_all()
        elif target.engine == "host":
            raw.close()
            self.client.load(self.entry.name)

    def _look(self, target: Target) -> None:
        if target.engine != "host":
            return
        self.life.peak()
        self._looks += 1
        self._disturbed += any(model.get("running") or model.get("queued") for model in self.client.ps())

    def _first_token(self, model: str) -> float:
        assert self._generator is not None, "it was started first"
        other = Served("host", self.host.url, self.client.api_key, model, self._generator, dict)
        taken = other.run([self._short()])["answers"][0]
        if taken["error"]:
            raise EngineError(f"{model} gave no answer: {taken['error']}")
        return float(taken["ttft"])

    def _bare_start(self) -> None:
        """A process that starts, imports GenAI, loads the other model and gives a first token."""
        assert self.other is not None, "there is a switch to hold it against"
        entry = Registry(self.settings.registry_dir).get(self.other)
        raw = self._raw(entry)
        try:
            started = raw.start()
            self.life.note("start_ready", started, "raw")
            self.life.note("start_first_token", started + raw.run([self._short()])["answers"][0]["ttft"], "raw")
        finally:
            raw.close()

    def _short(self) -> dict[str, Any]:
        text = prompts.text("switch", self.sizes.words(STREAM_PROMPT))
        return {"messages": prompts.first_turn(text), "max_tokens": 1}

    def restore(self) -> None:
        """Load again what was loaded before."""
        here = {model["name"] for model in self.client.ps()}
        for guest in self._guests:
            if guest not in here:
                self.say(f"loading {guest} again, as it was")
                self.client.load(guest)

    def close(self) -> None:
        """End every process that was started for this. Answers under way end with their connections."""
        for target in self._targets:
            target.close()
        if self._generator:
            self._generator.close()

    def result(self) -> Result:
        """What was found, and what has to be said about it."""
        figures, notes = self.life.figures(), [*self.notes, *self.life.notes]
        if self._rounds:
            figures = [*self._rounds.figures(), *figures]
            notes += self._remarks(self._rounds)
        return Result(self.about, figures, notes, self.interrupted, self.problem)

    def _remarks(self, rounds: Rounds) -> list[str]:
        notes = []
        for name, errors in rounds.errors.items():
            told = f"{len(errors)} of {rounds.asked.get(name, len(errors))} requests failed at {name}: {errors[0]}"
            notes.append(f"{told} Rounds with a failure have no figure.")
        for name, count in rounds.short.items():
            notes.append(
                f"{name} cut {count} of {rounds.asked[name]} answers short: its rates are those of fewer tokens."
            )
        if self._disturbed:
            notes.append(f"Others had requests at the host in {self._disturbed} of {self._looks} looks.")
        failures = {name: len(errors) for name, errors in rounds.errors.items()}
        self.about["requests"] = {"asked": rounds.asked, "failed": failures, "cut_short": rounds.short}
        if rounds.strangers:
            middle, most = percentile(rounds.strangers, 0.5), percentile(rounds.strangers, 0.95)
            self.about["conditions"]["strangers"] = {"median": round(middle, 3), "p95": round(most, 3)}
            if middle > QUIET:
                notes.append(f"Other programs took {middle:.0%} of the machine: run it again when it is quiet.")
        return notes
