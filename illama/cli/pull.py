"""`pull`, and the pull that comes before `run` and `quickstart`.

Knows: how progress is shown, as bars or as lines. Does not know: what a pull does; the host does it.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, TextIO

from illama.cli import text
from illama.config import Settings
from illama.errors import ConverterNeededError

if TYPE_CHECKING:
    from tqdm import tqdm

    from illama.client import Client


def pull(args: argparse.Namespace, settings: Settings) -> int:
    """`illama pull SOURCE` and `illama pull --cancel SOURCE`."""
    from illama.client import Client
    from illama.pull.sources import localize

    # The host has a working folder of its own: a relative path would mean something else there.
    source = args.source if settings.base_url else localize(args.source)
    if args.cancel:
        with Client(settings=settings, start=False) as client:
            print(client.stop_pull(source, name=args.name).sentence())
        return 0
    with Client(settings=settings) as client:
        client.connect()
        text.warn(client.warnings)
        done = fetch(
            client,
            source,
            name=args.name,
            device=args.device,
            weight_format=args.weight_format,
            trust_remote_code=args.trust_remote_code,
            make_environment=args.yes,
        )
    print(f"{done['name']} is there already." if done.get("existing") else f"Pulled {done['name']}.")
    return 0


def fetch(client: Client, source: str, **wanted: Any) -> dict[str, Any]:
    """Pull with progress on stderr. Returns the last event, whose `name` is the model's. `wanted` is `Client.pull`'s.

    Asks on a terminal whether the converter's environment is to be made, if it is needed. When it is interrupted it
    says on stderr what became of the pull, and raises KeyboardInterrupt.
    """
    try:
        return _fetch(client, source, **wanted)
    except ConverterNeededError as problem:
        if not (sys.stdin.isatty() and sys.stderr.isatty()) or not _agreed(problem):
            raise
    return _fetch(client, source, **{**wanted, "make_environment": True})


def _agreed(problem: ConverterNeededError) -> bool:
    print(f"{text.harmless(problem.message)}\n{text.harmless(problem.hint)}", file=sys.stderr)
    print("Make that environment now? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _fetch(client: Client, source: str, **wanted: Any) -> dict[str, Any]:
    progress = Progress()
    last: dict[str, Any] = {}
    events = client.pull(source, **wanted)
    try:
        with events:
            for last in events:
                progress.show(last)
    except KeyboardInterrupt:
        progress.close()
        if events.stopped:
            print(f"\n{text.harmless(events.stopped.sentence())}", file=sys.stderr)
        raise
    finally:
        progress.close()
    return {"name": source, **last}


class Progress:
    """A pull's events on stderr: one bar for each phase on a terminal, elsewhere a line for each tenth."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._bars = self._stream.isatty()
        self._bar: tqdm[Any] | None = None
        self._status: str | None = None
        self._tenth = 0

    def show(self, event: dict[str, Any]) -> None:
        """Show one event."""
        status, total, done = event.get("status") or "", event.get("total"), event.get("completed") or 0
        if status == "success":
            return
        if self._bars:
            self._move_bar(status, total, done)
        else:
            self._say(status, total, done)

    def close(self) -> None:
        """Leave the last bar as it is."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _move_bar(self, status: str, total: int | None, done: int) -> None:
        from tqdm import tqdm

        if self._bar is None or status != self._status:
            self.close()
            self._status = status
            # Without a total there is nothing to fill a bar: what goes on, and for how long.
            form = None if total else "{desc} {elapsed}"
            self._bar = tqdm(
                desc=text.harmless(status),
                total=total,
                unit="B",
                unit_scale=True,
                file=self._stream,
                bar_format=form,
                disable=False,
            )
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        self._bar.refresh()

    def _say(self, status: str, total: int | None, done: int) -> None:
        tenth = int(10 * done / total) if total else 0
        if status == self._status and tenth <= self._tenth:
            return
        self._status, self._tenth = status, tenth
        amount = f": {10 * tenth} % of {text.size(total)}" if total else ""
        print(f"{text.harmless(status)}{amount}", file=self._stream, flush=True)
