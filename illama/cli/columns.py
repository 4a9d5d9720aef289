"""The columns of the tables that the command and the notebook show: one place for both.

Knows: the fields of models and pulls as the host gives them, and how each is written. Does not know: where the rows
come from, or how a table is drawn. Light, because `illama list` waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from illama.cli import text
from illama.paths import private

Row = Mapping[str, Any]
Columns = Mapping[str, Callable[[Row], str]]

# Letters of a failure's reason that a table shows; all of it is in `illama ps --pulls --json`.
_REASON = 100


def cells(columns: Columns, rows: Sequence[Row]) -> list[list[str]]:
    """What stands in each row."""
    return [[column(row) for column in columns.values()] for row in rows]


def table(columns: Columns, rows: Sequence[Row]) -> str:
    """The table as text."""
    return text.table(list(columns), cells(columns, rows))


def worth_showing(jobs: Sequence[Row]) -> list[Row]:
    """The pulls that `ps` shows: those that run, and those that failed and were not tried again."""
    return [job for job in jobs if job.get("state") in {"running", "failed"}]


def _field(name: str) -> Callable[[Row], str]:
    return lambda row: "-" if row.get(name) in (None, "") else str(row[name])


def _size(row: Row) -> str:
    return text.size(row.get("size"))


def _speed(row: Row) -> str:
    return f"{row['tokens_per_second']:.1f}" if row.get("tokens_per_second") else "-"


def _until(row: Row) -> str:
    return "-" if row.get("until_seconds") is None else text.duration(row["until_seconds"])


def _status(job: Row) -> str:
    status = str(job.get("status") or "-")
    if job.get("error"):
        status = f"failed: {job['error']}"
    status = private(status)
    return text.harmless(status if len(status) <= _REASON else status[: _REASON - 1] + "…")


def _done(job: Row) -> str:
    done, total = job.get("completed"), job.get("total")
    return f"{100 * done // total} % of {text.size(total)}" if done is not None and total else "-"


INSTALLED: Columns = {
    "NAME": _field("name"),
    "TASK": _field("task"),
    "WEIGHTS": _field("weight_format"),
    "SIZE": _size,
    "MODIFIED": lambda row: text.ago(row.get("modified_at")),
}
LOADED: Columns = {
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
JOBS: Columns = {
    "PULL": lambda job: private(str(job.get("source") or "-")),
    "ID": _field("id"),
    "STATUS": _status,
    "DONE": _done,
    "WATCHED BY": _field("watchers"),
    "STARTED": lambda job: text.ago(job.get("started_at")),
}
