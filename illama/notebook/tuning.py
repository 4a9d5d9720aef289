"""What `%illama tune` returns: the table of what was tried, as HTML and as a DataFrame.

Knows: HTML. Does not know: how anything is measured or kept (`illama.tune`).
"""

from __future__ import annotations

import html
from typing import Any

from illama.notebook import neutral
from illama.notebook.benching import table
from illama.notebook.tables import dataframe
from illama.tune import result as tuning
from illama.tune.result import Result


class Tuned:
    """The result of `%illama tune`: shows as a table. `result` has all of it as `illama.tune` gives it."""

    def __init__(self, result: Result) -> None:
        self.result = result

    def to_dataframe(self) -> Any:
        """A DataFrame of a row for each figure of each value that was tried. Raises ConfigError without pandas."""
        rows = [*self.result.rows, *([self.result.together] if self.result.together else [])]
        return dataframe(
            [
                {"setting": row.name, "kept": row.kept, "why": row.verdict.why, "base": base.median, **figure.to_json()}
                for row in rows
                for figure, base in zip(row.outcome.values(), row.base.values(), strict=True)
            ]
        )

    def __repr__(self) -> str:
        return tuning.lines(self.result)

    def _repr_html_(self) -> str:
        first, *rest = tuning.title(self.result)
        parts = [f"<b>{html.escape(first)}</b>", *(f"<div>{html.escape(line)}</div>" for line in rest)]
        if self.result.start:
            parts.append(table(tuning.table(self.result)))
        told = [*self.result.notes, tuning.verdict(self.result)]
        parts.append("".join(f"<div>{neutral.as_html(each)}</div>" for each in told))
        return "".join(parts)
