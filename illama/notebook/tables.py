"""What `%illama list` and `%illama ps` return: rows that show as a table, and become a DataFrame when asked.

Knows: the fields of a model as the host gives them, HTML. Does not know: where the rows come from, or how sizes, times
and text tables are written: the same as the command's (`illama.cli.text`).
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

from illama.cli import text

Row = Mapping[str, Any]


class Table(Sequence[Row]):
    """Rows of one kind, each a dict as the host gives it. Shows as a table in a notebook and in a terminal."""

    def __init__(self, rows: Sequence[Row], columns: Mapping[str, Callable[[Row], str]], empty: str) -> None:
        self._rows = list(rows)
        self._columns = columns
        self._empty = empty

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        return self._rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def to_dataframe(self) -> Any:
        """The rows as a pandas DataFrame, one column for each field. Needs pandas, which illama does not bring."""
        import pandas

        return pandas.DataFrame(self._rows)

    def __repr__(self) -> str:
        if not self._rows:
            return self._empty
        return text.table(list(self._columns), self._cells())

    def _repr_html_(self) -> str:
        if not self._rows:
            return html.escape(self._empty)
        left = 'style="text-align:left"'
        head = "".join(f"<th {left}>{html.escape(name)}</th>" for name in self._columns)
        body = "".join(
            "<tr>" + "".join(f"<td {left}>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self._cells()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _cells(self) -> list[list[str]]:
        return [[column(row) for column in self._columns.values()] for row in self._rows]


def installed(models: Sequence[Row]) -> Table:
    """The table of `%illama list`: models as `Client.list()` gives them."""
    return Table(models, _INSTALLED, "No model is installed: %illama pull smollm2 fetches a small one.")


def loaded(models: Sequence[Row]) -> Table:
    """The table of `%illama ps`: models as `Client.ps()` gives them."""
    return Table(models, _LOADED, "Nothing is loaded: a question loads its model.")


def _field(name: str) -> Callable[[Row], str]:
    return lambda row: "-" if row.get(name) in (None, "") else str(row[name])


def _size(row: Row) -> str:
    return text.size(row.get("size"))


def _speed(row: Row) -> str:
    return f"{row['tokens_per_second']:.1f}" if row.get("tokens_per_second") else "-"


def _until(row: Row) -> str:
    return "-" if row.get("until_seconds") is None else text.duration(row["until_seconds"])


_INSTALLED: dict[str, Callable[[Row], str]] = {
    "NAME": _field("name"),
    "TASK": _field("task"),
    "WEIGHTS": _field("weight_format"),
    "SIZE": _size,
    "MODIFIED": lambda row: text.ago(row.get("modified_at")),
}
_LOADED: dict[str, Callable[[Row], str]] = {
    "NAME": _field("name"),
    "DEVICE": _field("device"),
    "SIZE": _size,
    "CONTEXT": _field("context_length"),
    "STATE": _field("state"),
    "RUNNING": _field("running"),
    "QUEUED": _field("queued"),
    "TOK/S": _speed,
    "UNTIL": _until,
}
