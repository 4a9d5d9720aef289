"""Variables in a question: what `--var NAME` puts where the question says `{NAME}`.

Knows: text, DataFrames, arrays, and whatever can be written as JSON. Does not know: pandas and numpy, which it never
imports: it looks at what is there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Characters that one variable may take, unless it is a text: about 2,500 tokens. What is left out is said.
LIMIT = 8000


def put(question: str, values: Mapping[str, Any]) -> str:
    """The question with each `{NAME}` replaced by the value of that name; those it does not mention follow below.

    Nothing else in braces is touched, nor what is in the values.
    """
    if not values:
        return question
    texts = {name: text_of(value) for name, value in values.items()}
    mentioned: set[str] = set()

    def replaced(found: re.Match[str]) -> str:
        mentioned.add(found[1])
        return texts[found[1]]

    pattern = re.compile(r"\{(" + "|".join(map(re.escape, texts)) + r")\}")
    filled = pattern.sub(replaced, question)
    return "\n\n".join([filled, *(f"{name}:\n{text}" for name, text in texts.items() if name not in mentioned)])


def text_of(value: Any, limit: int = LIMIT) -> str:
    """A value as a model reads it: a text as it is, a DataFrame as CSV, the rest as JSON or as Python shows it.

    All but texts are cut at `limit` characters, and say so.
    """
    if isinstance(value, str):
        return value
    kind = f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}"
    if kind == "pandas.Series":
        return _frame(value.to_frame(), "Series", limit)
    if kind == "pandas.DataFrame":
        return _frame(value, "DataFrame", limit)
    if kind == "numpy.ndarray":
        return _cut(f"array of shape {value.shape}, {value.dtype}:\n{_array(value)}", limit)
    return _cut(_json(value), limit)


def _frame(frame: Any, kind: str, limit: int) -> str:
    rows = len(frame)
    columns = ", ".join(f"{name} ({dtype})" for name, dtype in frame.dtypes.items())
    numbered = type(frame.index).__name__ == "RangeIndex"
    # A row takes two characters at least: no more of a long table is written than may be shown.
    lines = frame.head(limit // 2).to_csv(index=not numbered, float_format="%.6g", lineterminator="\n").splitlines()
    shown, length = [lines[0]], len(lines[0])
    for line in lines[1:]:
        length += len(line) + 1
        if length > limit:
            break
        shown.append(line)
    missing = f"\n… the first {len(shown) - 1:,} of {rows:,} rows" if len(shown) - 1 < rows else ""
    return f"{kind} of {rows:,} rows: {_cut(columns, limit)}\n" + _cut("\n".join(shown), limit) + missing


def _array(array: Any) -> str:
    import sys

    return str(sys.modules["numpy"].array2string(array, threshold=1000, edgeitems=5, precision=6, separator=", "))


def _json(value: Any) -> str:
    import msgspec

    try:
        return msgspec.json.encode(value, enc_hook=_plainer).decode()
    except (TypeError, ValueError, RecursionError):
        return repr(value)


def _plainer(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if type(value).__module__ == "numpy":
        return value.tolist()
    return str(value)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}\n… the first {limit:,} of {len(text):,} characters"
