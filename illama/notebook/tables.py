"""What `%illama list` and `%illama ps` return: rows that show as a table, and become a DataFrame when asked.

Knows: the fields of a model as the host gives them, HTML, text. Does not know: where the rows come from.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

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
        cells = [list(self._columns), *self._cells()]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self._columns))]
        return "\n".join(
            "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
        )

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
    return Table(models, _INSTALLED, "No models are installed. %illama pull smollm2 fetches a small one.")


def loaded(models: Sequence[Row]) -> Table:
    """The table of `%illama ps`: models as `Client.ps()` gives them."""
    return Table(models, _LOADED, "No models are loaded. Asking one loads it.")


def _text(field: str) -> Callable[[Row], str]:
    return lambda row: "" if row.get(field) is None else str(row[field])


def _size(row: Row) -> str:
    size = row.get("size") or 0
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _day(row: Row) -> str:
    return str(row.get("modified_at") or "")[:10]


def _until(row: Row) -> str:
    if row.get("running") or row.get("queued"):
        return f"{row.get('running', 0)} running, {row.get('queued', 0)} queued"
    seconds = row.get("until_seconds")
    if seconds is None:
        return "stays"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


_INSTALLED = {
    "NAME": _text("name"),
    "SIZE": _size,
    "WEIGHTS": _text("weight_format"),
    "CONTEXT": _text("context_length"),
    "MADE": _day,
}
_LOADED = {
    "NAME": _text("name"),
    "DEVICE": _text("device"),
    "STATE": _text("state"),
    "SIZE": _size,
    "CONTEXT": _text("context_length"),
    "UNLOADS IN": _until,
}
