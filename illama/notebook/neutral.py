"""Makes a model's Markdown harmless: whatever it wrote, no HTML, script, image or odd link of it reaches the page.

Knows: CommonMark, and what JupyterLab does with it (its own kernel's output is trusted, so nothing there cleans it; it
takes formulas out of the text first and puts them back into the finished HTML). Does not know: models, cells, display.

The rule is that nothing depends on our and the renderer's reading being the same:

- A fenced block is written anew, at the left margin, with a fence longer than any in it and a bare language name. All
  Markdown renderers agree on such a block, and whatever is in it stays as it was.
- A code span that holds a character that could matter outside of code is written as `<code>` with these characters as
  entities. These two tags are the only ones in the result.
- Everywhere else `<` before anything but a space or a number becomes an entity (inside a formula: gets a space behind
  it), so there is no tag, no comment, no `<link>`.
- A link stays if its target is plain http, https or mailto. Any other, `javascript:` and `data:` among them, and every
  reference definition, becomes plain text. An image becomes a link: showing an answer must not fetch anything.
- Where formulas are possible, `"` is an entity (a formula could end up inside an attribute), and the TeX commands that
  link, style or load are broken by a space.
"""

from __future__ import annotations

import html
import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# An opening fence: what may stand before it (indentation, quote marks, one list marker), the fence, the info string.
_FENCE = re.compile(
    r"^(?P<before>[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?)(?P<fence>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)$"
)
_LANGUAGE = re.compile(r"[A-Za-z0-9_+#.-]+")
_TICKS = re.compile(r"`+")
# ASCII punctuation but for `,`, `-`, `/`, and a dot within a number: without `:` and `.` no bare address is a link.
_MEANINGFUL = re.compile(r"[!-+:-@\[-`{-~]|\.(?!\d)|(?<!\d)\.")
_RISKY_IN_CODE = re.compile(r'[<>\]"\\$@]')
_LINK = re.compile(
    r"\]\((?:(?P<target>(?:https?://|mailto:)[\w\-.~:/?#@!&*+,;=%]*)(?:[ \t]+\"[^\"\n]*\"|[ \t]+'[^'\n]*')?[ \t]*\))?"
)
_TAG_START = re.compile(r"\\?<(?![\s\d=]|$)")
_FORMULA = re.compile(r"(?<!\\)(\$\$?)(?=\S)(?:[^$\\]|\\.)+?\1")
_TEX = re.compile(r"\\(?=(?:href|url|style|class|cssId|require|includegraphics|html\w*|data|unicode)(?![A-Za-z]))")


def plain(text: str) -> str:
    """The text without control characters, which could steer a terminal or turn text around; newline and tab stay."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def as_html(text: str) -> str:
    """The text as HTML that shows exactly this text."""
    return html.escape(plain(text))


def entities(text: str) -> str:
    """The text for use inside a line of Markdown: what could mean something there is an entity."""
    return _MEANINGFUL.sub(lambda match: f"&#{ord(match[0])};", plain(text))


def markdown(text: str) -> str:
    """Make a model's Markdown safe to display as `text/markdown`, also while it is still being written.

    A fence that is still open is closed. The result may be followed by more Markdown after an empty line.
    """
    out: list[str] = []
    lines = plain(text).split("\n")
    formulas = "$" in text or "\\" in text
    position = 0
    while position < len(lines):
        opening = _FENCE.match(lines[position])
        if opening is None:
            out.append(_text_line(lines[position], formulas))
            position += 1
            continue
        code, position = _read_fence(lines, position + 1, opening)
        out += _write_fence(opening, code)
    return "\n".join(out)


def _read_fence(lines: list[str], position: int, opening: re.Match[str]) -> tuple[list[str], int]:
    """The lines of code behind an opening fence, and the position behind the closing one."""
    fence, width = opening["fence"], len(opening["before"].expandtabs(4))
    closing = re.compile(rf"[ \t>]*{re.escape(fence[0])}{{{len(fence)},}}[ \t]*$")
    leading = re.compile(rf"[ \t>]{{0,{width}}}" if ">" in opening["before"] else rf"[ \t]{{0,{width}}}")
    code: list[str] = []
    while position < len(lines):
        line = lines[position]
        position += 1
        if closing.match(line):
            break
        code.append(leading.sub("", line, count=1))
    return code, position


def _write_fence(opening: re.Match[str], code: list[str]) -> list[str]:
    marker = opening["before"].replace(">", "").strip()
    longest = max((len(run) for run in re.findall(r"`+|~+", "\n".join(code))), default=0)
    fence = "`" * max(3, longest + 1)
    language = _LANGUAGE.match(opening["info"].strip())
    return [*([marker] if marker else []), "", fence + (language[0] if language else ""), *code, fence, ""]


def _text_line(line: str, formulas: bool) -> str:
    """One line outside of fenced blocks: its code spans one way, the rest the other."""
    out: list[str] = []
    position = 0
    for start, end, ticks in _spans(line):
        out.append(_text(line[position:start], formulas))
        out.append(_code_span(line[start:end], ticks))
        position = end
    out.append(_text(line[position:], formulas))
    return "".join(out)


def _spans(line: str) -> list[tuple[int, int, int]]:
    """Where the code spans of a line are: start, end, and how many backticks each has on a side."""
    found: list[tuple[int, int, int]] = []
    position = 0
    while opening := _TICKS.search(line, position):
        escaped = (len(line[: opening.start()]) - len(line[: opening.start()].rstrip("\\"))) % 2
        start = opening.start() + escaped
        ticks = opening.end() - start
        closing = next((run for run in _TICKS.finditer(line, opening.end()) if len(run[0]) == ticks), None)
        if ticks and closing:
            found.append((start, closing.end(), ticks))
            position = closing.end()
        else:
            position = opening.end()
    return found


def _code_span(span: str, ticks: int) -> str:
    if not _RISKY_IN_CODE.search(span):
        return span
    inner = span[ticks:-ticks]
    if inner.strip() and inner[0] == inner[-1] == " ":
        inner = inner[1:-1]
    return f"<code>{entities(inner)}</code>"


def _text(text: str, formulas: bool) -> str:
    text = _LINK.sub(lambda link: f"]({link['target']})" if link["target"] else "]&#40;", text)
    text = text.replace("![", "&#33;[").replace("]:", "]&#58;").replace("`", "&#96;")
    if formulas:
        text = _FORMULA.sub(lambda formula: _TAG_START.sub("< ", formula[0]), text)
        text = _TEX.sub(r"\\ ", text).replace('"', "&quot;")
    return _TAG_START.sub("&lt;", text)
