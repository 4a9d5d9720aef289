"""What `%illama list`, `ps`, `doctor`, `show` and `pull` return: tables that become a DataFrame when asked.

Knows: HTML. Does not know: where the rows come from, or what stands in the columns: the same as in the command's tables
(`illama.cli.columns`).
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

from illama.cli import columns
from illama.cli.columns import Row
from illama.cli.models import describe, facts
from illama.errors import ConfigError
from illama.paths import private

# Characters from which on a cell may be broken anywhere: a path is one long word, and would widen the page.
_LONG = 30


def dataframe(rows: Sequence[Row]) -> Any:
    """The rows as a pandas DataFrame. Raises ConfigError where pandas is not installed: illama does not bring it."""
    try:
        import pandas
    except ImportError:
        raise ConfigError("A DataFrame needs pandas, which is not there.", hint="%pip install pandas") from None
    return pandas.DataFrame(rows)


def _cell(text: str, tag: str = "td") -> str:
    style = "text-align:left" + (";overflow-wrap:anywhere" if len(text) > _LONG else "")
    return f'<{tag} style="{style}">{html.escape(text)}</{tag}>'


class Table(Sequence[Row]):
    """Rows of one kind, each a dict as the host gives it. Shows as a table in a notebook and in a terminal.

    Another table may be shown `below` it; its rows are not among these.
    """

    def __init__(self, rows: Sequence[Row], heads: columns.Columns, empty: str, below: Table | None = None) -> None:
        self._rows = list(rows)
        self._columns = heads
        self._empty = empty
        self.below = below

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
        """The rows as a pandas DataFrame, one column for each field. Needs pandas, which illama does not bring.

        Raises ConfigError without it.
        """
        return dataframe(self._rows)

    def __repr__(self) -> str:
        shown = columns.table(self._columns, self._rows) if self._rows else self._empty
        return f"{shown}\n\n{self.below!r}" if self.below else shown

    def _repr_html_(self) -> str:
        return self._html() + (self.below._repr_html_() if self.below else "")

    def _html(self) -> str:
        if not self._rows:
            return f"<div>{html.escape(self._empty)}</div>"
        head = "".join(_cell(name, "th") for name in self._columns)
        body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in columns.cells(self._columns, self._rows))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def installed(models: Sequence[Row]) -> Table:
    """The table of `%illama list`: models as `Client.list()` gives them."""
    return Table(models, columns.INSTALLED, "No model is installed: %illama pull smollm2 fetches a small one.")


def loaded(models: Sequence[Row], jobs: Sequence[Row] = ()) -> Table:
    """The table of `%illama ps`: models as `Client.ps()` gives them, and below it the pulls of `Client.jobs()`."""
    pulls = columns.worth_showing(jobs)
    below = Table(pulls, columns.JOBS, "") if pulls else None
    return Table(models, columns.LOADED, "Nothing is loaded: a question loads its model.", below)


def examined(findings: Sequence[Row]) -> Table:
    """The table of `%illama doctor`: its findings as dicts."""
    return Table(findings, _EXAMINED, "Nothing was looked at.")


_EXAMINED: dict[str, Callable[[Row], str]] = {
    "LEVEL": lambda row: "FAILURE" if row["level"] == "failure" else str(row["level"]),
    "WHAT": lambda row: str(row["check"]),
    "STATE": lambda row: private(str(row["says"])),
    "WHAT TO DO": lambda row: private(str(row["do"])),
}


class Model(Mapping[str, Any]):
    """A model's registry entry, a mapping of its fields. Shows as a table of two columns, and becomes a DataFrame."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self._entry = dict(entry)

    def __getitem__(self, field: str) -> Any:
        return self._entry[field]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entry)

    def __len__(self) -> int:
        return len(self._entry)

    def to_dataframe(self) -> Any:
        """The entry as a pandas DataFrame of one row. Needs pandas, which illama does not bring.

        Raises ConfigError without it.
        """
        return dataframe([self._entry])

    def __repr__(self) -> str:
        return describe(self._entry)

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr>{_cell(name, 'th')}{_cell(value)}</tr>" for name, value in facts(self._entry).items())
        return f"<table><tbody>{rows}</tbody></table>"


def model(entry: Row) -> Model:
    """What `%illama show` and `%illama pull` return: an entry as `Client.show()` gives it."""
    return Model(entry)
