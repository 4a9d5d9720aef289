"""docs/api.md against the code: every path and every field of every request stands in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from illama.host import schema_ollama
from illama.host.app import Host

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "api.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"^#{2,3} ", PAGE, flags=re.MULTILINE)
NAMED = re.compile(r"`([^`\s]+)`")


def described() -> list[tuple[str, str, Any]]:
    """Path, method and operation of all that the host serves."""
    return [
        (route.path, method.upper(), operation)
        for route in Host.table()
        for method, operation in route.handler.operations.items()
    ]


def in_first_column(section: str) -> set[str]:
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in NAMED.findall(row.split("|")[1])}


def test_every_path_and_method_stands_in_the_page() -> None:
    for path, method, _ in described():
        assert f"`{method} {path}`" in PAGE


def test_every_field_of_every_request_stands_in_its_endpoints_section() -> None:
    checked = 0
    for path, method, operation in described():
        if not (isinstance(operation.request, type) and issubclass(operation.request, msgspec.Struct)):
            continue
        (section,) = [each for each in SECTIONS if f"`{method} {path}`" in each.splitlines()[0]]
        named = in_first_column(section) if method != "DELETE" else set(NAMED.findall(section))
        missing = set(operation.request.__struct_fields__) - named
        assert not missing, f"docs/api.md, {method} {path}: {', '.join(sorted(missing))}"
        checked += 1
    assert checked > 5


@pytest.mark.parametrize("section", [each for each in SECTIONS if "\n| field" in each], ids=lambda s: s.splitlines()[0])
def test_no_row_promises_a_field_that_no_request_has(section: str) -> None:
    known: set[str] = set()
    for path, method, operation in described():
        if f"`{method} {path}`" in section.splitlines()[0]:
            known |= set(operation.request.__struct_fields__)
    if "field of `options`" in section:
        known |= set(schema_ollama.Options.__struct_fields__)
    for line in section.splitlines():
        if line.startswith("| `") and line.split("|")[2].strip() != "no":
            unknown = set(NAMED.findall(line.split("|")[1])) - known
            assert not unknown, f"docs/api.md: {', '.join(sorted(unknown))}"


def test_every_option_stands_in_the_page() -> None:
    (section,) = [each for each in SECTIONS if each.startswith("`POST /api/generate`")]
    assert set(schema_ollama.Options.__struct_fields__) <= in_first_column(section)


@pytest.mark.parametrize("section", [each for each in SECTIONS if "\n| field" in each], ids=lambda s: s.splitlines()[0])
def test_each_row_says_yes_no_or_how_it_differs(section: str) -> None:
    for line in section.splitlines():
        if line.startswith("| `"):
            assert line.split("|")[2].strip() in {"yes", "no", "differs", "ours"}, line
