"""What a reply tells about itself, in words: for a terminal, in Markdown, in HTML.

Knows: a reply's figures and how to say them. Does not know: cells, how an answer is shown while it is written
(`illama.notebook.display`). A model's text is made harmless by `illama.notebook.neutral`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from illama.notebook import neutral

if TYPE_CHECKING:
    from illama.client.reply import Reply

_QUIET = "opacity:0.65"


def summary(reply: Reply) -> str:
    """One line about a finished reply: tokens, speed, first token, model, device."""
    timings: Mapping[str, Any] = reply.timings
    tokens = reply.usage.get("completion_tokens", timings.get("predicted_n"))
    parts: list[str] = []
    if tokens is not None:
        parts.append(f"{tokens} token{'' if tokens == 1 else 's'}")
    if timings.get("predicted_per_second"):
        parts.append(f"{timings['predicted_per_second']:.1f} tokens/s")
    if timings.get("ttft_ms") is not None:
        parts.append(f"first token after {seconds(timings['ttft_ms'])}")
    if (timings.get("load_ms") or 0) >= 100:
        parts.append(f"loaded in {seconds(timings['load_ms'])}")
    device = f" on {timings['device']}" if timings.get("device") else ""
    parts.append(f"{reply.model}{device}")
    if reply.finish_reason == "length":
        parts.append("cut at its token limit")
    if reply.finish_reason == "cancelled":
        parts.append("stopped")
    return " · ".join(parts)


def seconds(milliseconds: float) -> str:
    """A time as people read it: `0.18 s`, `12 s`."""
    value = milliseconds / 1000
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def details(reply: Reply) -> dict[str, str]:
    """All that is known about how the answer came about, in words, without what is not known."""
    source, recipe = reply.origin.get("source") or {}, reply.origin.get("recipe") or {}
    usage = reply.usage
    shown = {
        "model": reply.model,
        "source": _pairs(source, ("kind", "repo", "package", "file", "version", "revision")),
        "made by": _pairs(recipe, tuple(recipe)),
        "digest": str(reply.origin.get("digest") or "")[:12],
        "device": reply.timings.get("device"),
        "sampling": _pairs(reply.sampling, tuple(reply.sampling)),
        "tokens": f"{usage.get('prompt_tokens')} in, {usage.get('completion_tokens')} out" if usage else None,
        "ended by": reply.finish_reason,
    }
    return {name: str(value) for name, value in shown.items() if value}


def stamp(reply: Reply) -> dict[str, Any]:
    """What it takes to have the answer again, for an output's metadata: no text, no key, no path."""
    import illama

    found = {
        "illama": illama.__version__,
        "model": reply.model,
        **reply.origin,
        "device": reply.timings.get("device"),
        "sampling": reply.sampling,
        "usage": reply.usage,
        "finish_reason": reply.finish_reason,
    }
    return {name: value for name, value in found.items() if value}


def plain(reply: Reply) -> str:
    """For a terminal: the text and the line about it."""
    return "\n\n".join(part for part in (neutral.plain(_body(reply)), f"[{summary(reply)}]") if part)


def markdown(reply: Reply) -> str:
    """The text, as Markdown that runs nothing, and the line about it."""
    small = f'<small style="{_QUIET}">{neutral.entities(summary(reply))}</small>'
    return "\n\n".join(part for part in (neutral.markdown(_body(reply)), small) if part)


def as_html(reply: Reply) -> str:
    """The text as it was written, and the line about it, which unfolds to the details."""
    left = 'style="text-align:left"'
    rows = "".join(
        f"<tr><th {left}>{neutral.as_html(name)}</th><td {left}>{neutral.as_html(value)}</td></tr>"
        for name, value in details(reply).items()
    )
    return (
        f'<div style="white-space:pre-wrap">{neutral.as_html(_body(reply))}</div>'
        f'<details><summary style="{_QUIET}"><small>{neutral.as_html(summary(reply))}</small></summary>'
        f"<table><tbody>{rows}</tbody></table></details>"
    )


def _body(reply: Reply) -> str:
    """The text; of an answer without one, which tools it calls."""
    if reply.text or not reply.tool_calls:
        return reply.text
    calls = (call.get("function") or {} for call in reply.tool_calls)
    return "\n".join(f"{call.get('name')}({call.get('arguments')})" for call in calls)


def _pairs(found: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {found[name]}" for name in names if found.get(name) not in (None, "", [], {}))
