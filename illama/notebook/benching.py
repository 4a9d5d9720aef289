"""What `%illama bench` shows while it runs and returns: tables, a picture, a DataFrame.

Knows: HTML, matplotlib if it is there. Does not know: how anything is measured (`illama.bench`).
"""

from __future__ import annotations

import base64
import html
import importlib.util
import io
from collections.abc import Callable, Sequence
from typing import Any

from illama.bench import report
from illama.bench.figures import Figure
from illama.bench.report import Section
from illama.bench.result import Change, Result
from illama.notebook import neutral
from illama.notebook.display import Area, in_notebook
from illama.notebook.tables import dataframe

_LEFT = 'style="text-align:left"'
# What each picture shows: figures over sizes, and what the sizes are.
_PICTURES = {
    "streams": (("total_rate",), "streams at once", "tokens/s in all"),
    "prompts": (("ttft_cold", "ttft_cached"), "prompt tokens", "TTFT, ms"),
}
_NAMES = {"ttft_cold": " (new)", "ttft_cached": " (next turn)"}


class Benchmark:
    """The result of `%illama bench`: shows as tables, and as a picture where matplotlib is installed.

    `result` has the figures as `illama.bench` gives them, `changes` those of an earlier run beside them (`--compare`).
    """

    def __init__(
        self, result: Result, changes: Sequence[Change] = (), differences: Sequence[str] = (), when: str = ""
    ) -> None:
        self.result = result
        self.changes = list(changes)
        self._differences = list(differences)
        self._when = when

    def to_dataframe(self) -> Any:
        """A DataFrame of a row for each figure and each relation of two. Raises ConfigError without pandas."""
        return dataframe(self.result.rows())

    def plot(self, what: str | None = None, ax: Any = None) -> Any:
        """Draw "streams" (tokens/s in all) or "prompts" (TTFT), medians with their spread, and return the Axes.

        Without `what`, streams if they were measured; without `ax`, into a new pyplot figure. Needs matplotlib. Raises
        ValueError for a picture that there is nothing for.
        """
        there = [name for name in _PICTURES if self._drawn(name)]
        what = what or next(iter(there), "streams")
        if what not in there:
            raise ValueError(f"There is nothing to draw for {what!r}; there is: {', '.join(there) or 'nothing'}.")
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.subplots()[1]
        _, along, up = _PICTURES[what]
        sizes = sorted({figure.size for figure in self._drawn(what) if figure.size is not None})
        for name, line in self._lines(what).items():
            middle = [figure.median for figure in line]
            spread = [[f.median - f.low for f in line], [f.high - f.median for f in line]]
            ax.errorbar([figure.size for figure in line], middle, yerr=spread, marker="o", capsize=3, label=name)
        ax.set_xscale("log", base=2)
        ax.set_xticks(sizes, [str(size) for size in sizes])
        ax.set_xlabel(along)
        ax.set_ylabel(up)
        ax.set_ylim(bottom=0)
        ax.legend()
        return ax

    def _drawn(self, what: str) -> list[Figure]:
        kinds = _PICTURES.get(what, ((), "", ""))[0]
        return [figure for figure in self.result.figures if figure.what in kinds and figure.known]

    def _lines(self, what: str) -> dict[str, list[Figure]]:
        lines: dict[str, list[Figure]] = {}
        for figure in sorted(self._drawn(what), key=lambda figure: figure.size or 0):
            lines.setdefault(f"{figure.target}{_NAMES.get(figure.what, '')}", []).append(figure)
        return lines

    def __repr__(self) -> str:
        compared = report.comparison(self.changes, self._differences, self._when) if self._when else ""
        return "\n\n".join(filter(None, [report.lines(self.result), compared]))

    def _repr_html_(self) -> str:
        result = self.result
        first, *rest = report.title(result)
        parts = [f"<b>{html.escape(first)}</b>", *(f"<div>{html.escape(line)}</div>" for line in rest), self._picture()]
        parts += [table(section) for section in report.sections(result)]
        parts.append(
            f"<div>Each figure is the median of {report.rounds(result)}, with the lowest and the highest.</div>"
        )
        if self._when:
            parts.append(table(report.compared(self.changes), f"Compared with {self._when}"))
        told = [*result.notes, *self._differences]
        if result.interrupted:
            told.append("It was interrupted: this is what was measured so far.")
        if result.problem:
            told.append(f"It broke off: {result.problem}")
        parts.append("".join(f"<div>{neutral.as_html(note)}</div>" for note in told))
        return "".join(parts)

    def _picture(self) -> str:
        """A small picture as HTML; empty without matplotlib, or without anything to draw. pyplot is not touched."""
        names = [name for name in _PICTURES if self._drawn(name)]
        if not names or importlib.util.find_spec("matplotlib") is None:
            return ""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Canvas

        canvas = Canvas(figsize=(4 * len(names), 2.6), layout="constrained")
        FigureCanvasAgg(canvas)
        for name, ax in zip(names, canvas.subplots(1, len(names), squeeze=False)[0], strict=True):
            self.plot(name, ax)
        data = io.BytesIO()
        canvas.savefig(data, format="png", dpi=90)
        told = base64.b64encode(data.getvalue()).decode()
        what = html.escape(", ".join(_PICTURES[name][2] for name in names))
        return f'<div><img alt="{what}" src="data:image/png;base64,{told}"></div>'


def table(section: Section, title: str | None = None) -> str:
    """A table as HTML."""
    head = "".join(f"<th {_LEFT}>{html.escape(name)}</th>" for name in section.head)
    rows = "".join(
        "<tr>" + "".join(f"<td {_LEFT}>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in section.rows
    )
    return (
        f"<div><b>{html.escape(title or section.title)}</b></div>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def progress(shell: Any, *, live: bool) -> Callable[[str], None]:
    """Where a benchmark says what goes on: one line of the cell that is replaced; nowhere unless `live`."""
    if not live:
        return lambda _: None
    if not in_notebook(shell):
        return lambda what: print(what, flush=True)  # noqa: T201
    area = Area(shell)
    return lambda what: area.show({"text/plain": neutral.plain(what), "text/html": f"<div>{html.escape(what)}</div>"})
