"""Conversations that a kernel keeps: each is a list of messages under a name.

Knows: messages, how a conversation is shown. Does not know: who answers. Nothing is written to disk: a thread lives as
long as its kernel. A further question sends all of it, and the host has the beginning in its cache.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from illama.errors import NotFoundError
from illama.notebook import neutral

if TYPE_CHECKING:
    from illama.notebook.tables import Table

_COLUMNS = {
    "THREAD": lambda row: neutral.plain(str(row["name"])),
    "MODEL": lambda row: str(row["model"] or "-"),
    "QUESTIONS": lambda row: str(row["questions"]),
    "TOKENS": lambda row: str(row["tokens"]),
    "LAST QUESTION": lambda row: neutral.plain(_short(row["last"])),
}
_SHORT = 60


@dataclass
class Thread:
    """One conversation: OpenAI's messages, the model that answered last, and how long the conversation is in tokens.

    It shows as a transcript.
    """

    name: str
    messages: list[dict[str, Any]] = field(default_factory=list)
    model: str | None = None
    tokens: int = 0

    def with_question(self, question: str | list[dict[str, Any]], system: str | None = None) -> list[dict[str, Any]]:
        """The messages to send for a further question. A system message replaces the one there was."""
        said = list(self.messages)
        if system is not None:
            said = [{"role": "system", "content": system}, *(each for each in said if each["role"] != "system")]
        return [*said, {"role": "user", "content": question}]

    def keep(self, sent: list[dict[str, Any]], reply: Any) -> None:
        """Take over what was sent, and the answer (`illama.Reply`) to it."""
        # A model's reasoning is no part of the conversation: chat templates leave it out of what was said before.
        said = {key: value for key, value in reply.message.items() if key in ("role", "content", "tool_calls")}
        self.messages = [*sent, said]
        self.model = reply.model
        self.tokens = reply.usage.get("total_tokens") or self.tokens

    @property
    def questions(self) -> list[str]:
        """The texts of the user's messages."""
        return [_text(each["content"]) for each in self.messages if each["role"] == "user"]

    def __repr__(self) -> str:
        return "\n\n".join(f"{each['role']}:\n{neutral.plain(_text(each['content']))}" for each in self.messages)

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th style="text-align:left;vertical-align:top">{html.escape(each["role"])}</th>'
            f'<td style="text-align:left;white-space:pre-wrap">{neutral.as_html(_text(each["content"]))}</td></tr>'
            for each in self.messages
        )
        return f"<table><tbody>{rows}</tbody></table>"


class Threads:
    """All the conversations of a kernel, by name."""

    def __init__(self) -> None:
        self._threads: dict[str, Thread] = {}

    def names(self) -> list[str]:
        """The names, in the order of their beginning."""
        return list(self._threads)

    def get(self, name: str) -> Thread:
        """The conversation of this name; if there is none, a new one, which is kept when it is answered."""
        return self._threads.get(name) or Thread(name)

    def keep(self, thread: Thread, sent: list[dict[str, Any]], reply: Any) -> None:
        """A question of this conversation was answered."""
        thread.keep(sent, reply)
        self._threads[thread.name] = thread

    def find(self, name: str) -> Thread:
        """The conversation of this name. Raises NotFoundError."""
        if name not in self._threads:
            there = ", ".join(self._threads)
            hint = f"There are {there}." if there else "%%illama --thread NAME begins one."
            raise NotFoundError(f"There is no thread {name!r}.", hint=hint)
        return self._threads[name]

    def clear(self, name: str | None) -> list[str]:
        """Forget one conversation, or all; returns the names of those forgotten. Raises NotFoundError."""
        if name is None:
            gone = self.names()
            self._threads.clear()
            return gone
        del self._threads[self.find(name).name]
        return [name]

    def table(self) -> Table:
        """One row for each conversation."""
        from illama.notebook.tables import Table

        rows: list[Mapping[str, Any]] = [
            {
                "name": each.name,
                "model": each.model,
                "questions": len(each.questions),
                "tokens": each.tokens,
                "last": each.questions[-1],
            }
            for each in self._threads.values()
        ]
        return Table(rows, _COLUMNS, "There is no thread: %%illama --thread NAME begins one.")


def _text(content: Any) -> str:
    """A message's text; what is no text is named."""
    if isinstance(content, str) or content is None:
        return content or ""
    return "\n".join(str(part["text"]) if part.get("type") == "text" else f"[{part.get('type')}]" for part in content)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHORT else line[: _SHORT - 1] + "…"
