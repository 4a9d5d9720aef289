"""`run`: one answer on stdout, or a conversation.

Knows: what makes up a question, where an answer goes. Does not know: the conversation itself (`repl`), HTTP.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from illama.cli import text
from illama.cli.pull import fetch
from illama.config import Settings
from illama.errors import ConfigError, ModelNotFoundError

if TYPE_CHECKING:
    from illama.client import Client, Reply
    from illama.client.wire import Prompt


def run(args: argparse.Namespace, settings: Settings) -> int:
    """`illama run MODEL [PROMPT]`."""
    from illama.client import Client

    question, options = _question(args.prompt), _options(args)
    if question is None and not _typing():
        print("illama run: give a PROMPT, or pipe one in", file=sys.stderr)
        return 2
    with Client(settings=settings) as client:
        client.connect()
        text.warn(client.warnings)
        model = installed(client, args.model)
        if question is None:
            from illama.cli.repl import Repl

            return Repl(client, model, options, settings, system=args.system, verbose=args.verbose).run()
        reply = answer(client, question, model=model, system=args.system, **options)
    if reply.finish_reason == "length":
        print("(cut: the answer reached its limit of tokens)", file=sys.stderr)
    if args.verbose:
        print(timings(reply), file=sys.stderr)
    return 0


def installed(client: Client, model: str) -> str:
    """The model's name, after pulling it if it is not there but in the catalogue. Raises ModelNotFoundError."""
    try:
        client.show(model)
    except ModelNotFoundError:
        from illama.pull.catalog import find, find_on_hub

        pinned, repo = find(model), find_on_hub(model)
        if pinned is None and repo is None:
            raise
        what = f"{pinned.name} ({text.size(pinned.size)})" if pinned else repo.repo if repo else model
        print(f"{model} is not installed yet: pulling {what}.", file=sys.stderr)
        return str(fetch(client, model)["name"])
    return model


def answer(client: Client, question: Prompt, *, keep: list[Reply] | None = None, **options: Any) -> Reply:
    """Stream one answer to stdout. If it is interrupted, what had come of it is put into `keep`.

    In a terminal the reasoning comes before it, dimmed; what is piped on is the answer alone.
    """
    status = text.StatusLine()
    shown = text.harmless if sys.stdout.isatty() else str
    thinking = False

    def think(piece: str) -> None:
        nonlocal thinking
        status.clear()
        sys.stdout.write(text.dimmed(text.harmless(piece)))
        sys.stdout.flush()
        thinking = True

    on_thought = think if sys.stdout.isatty() else None
    stream = client.stream(question, on_note=status.show, on_thought=on_thought, **options)
    status.show(f"waiting for {options.get('model') or 'the model'} …")
    try:
        with stream:
            for piece in stream:
                status.clear()
                if thinking:
                    sys.stdout.write("\n\n")
                    thinking = False
                sys.stdout.write(shown(piece))
                sys.stdout.flush()
    except KeyboardInterrupt:
        if keep is not None:
            keep.append(stream.reply)
        raise
    finally:
        status.clear()
        if stream.reply.text or thinking:
            sys.stdout.write("\n")
    return stream.reply


def timings(reply: Reply) -> str:
    """The host's timings in words."""
    t = reply.timings
    parts = [
        f"first token after {t.get('ttft_ms', 0) / 1000:.2f} s",
        f"prompt {t.get('prompt_n', 0)} tokens ({t.get('cached_n', 0)} cached), {t.get('prompt_per_second', 0):.1f}/s",
        f"answer {t.get('predicted_n', 0)} tokens, {t.get('predicted_per_second', 0):.1f}/s",
        f"queued {t.get('queue_ms', 0) / 1000:.2f} s, loaded in {t.get('load_ms', 0) / 1000:.2f} s",
        f"on {t.get('device', 'an unknown device')}",
    ]
    return "; ".join(parts) if t else "The host gave no timings."


def _question(words: list[str]) -> str | None:
    """The prompt, then a blank line, then what is piped in; None if there is neither."""
    piped = sys.stdin.read().strip("\n") if sys.stdin and not _typing() else ""
    return "\n\n".join(part for part in (" ".join(words), piped) if part.strip()) or None


def _typing() -> bool:
    """Whether somebody sits at the keyboard. A process may also have no stdin at all."""
    return sys.stdin is not None and sys.stdin.isatty()


def _options(args: argparse.Namespace) -> dict[str, Any]:
    names = ("temperature", "top_p", "max_tokens", "seed", "device")
    options: dict[str, Any] = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.keepalive is not None:
        options["keep_alive"] = _keep_alive(args.keepalive)
    if args.format is not None:
        options["response_format"] = "json" if args.format == "json" else _schema(Path(args.format))
    return options


def _keep_alive(typed: str) -> float | str:
    try:
        return float(typed)
    except ValueError:
        return typed


def _schema(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ConfigError(
            f"--format {path} cannot be read as a JSON schema: {problem}.", hint='Give "json", or a file with a schema.'
        ) from None
    if not isinstance(found, dict):
        raise ConfigError(f"--format {path} does not hold a JSON object.", hint="A schema is an object.")
    return found
