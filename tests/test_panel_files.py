"""The panel's files as text: what the page's policy and the widget's loader rely on. And what `illama.panel` needs."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

import illama
from illama.errors import ConfigError
from illama.notebook import grammar
from illama.notebook.panel import docks

STATIC = Path(illama.__file__).parent / "notebook" / "static"
MODULES = sorted(STATIC.glob("*.js"))
IMPORTED = re.compile(r'^(?:import|export) [^;]*?from "([^"]+)";$', re.MULTILINE)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_module_makes_no_markup_and_stays_small(module: Path):
    text = module.read_text("utf-8")
    assert text.startswith("// ")
    assert len(text.splitlines()) < 250
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setHTMLUnsafe|DOMParser"
    assert re.findall(forbidden, text) == []


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_module_imports_its_neighbours_in_the_form_that_the_widget_reads(module: Path):
    text = module.read_text("utf-8")
    names = IMPORTED.findall(text)
    assert all(re.fullmatch(r"\./[\w-]+\.js", name) and (STATIC / name).is_file() for name in names)
    code = re.sub(r"/\*.*?\*/|^\s*//.*?$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert len(re.findall(r"^\s*import\b(?!\()", code, re.MULTILINE)) == len(
        re.findall(r"^import .*", code, re.MULTILINE)
    )
    if module.name == "widget.js":
        assert names == []


def test_no_module_imports_itself_by_way_of_others():
    imports = {path.name: {name[2:] for name in IMPORTED.findall(path.read_text("utf-8"))} for path in MODULES}

    def walk(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"{' > '.join(above)} > {name}"
        for other in imports[name]:
            walk(other, (*above, name))

    walk("page.js", ())
    walk("kernel.js", ())


def test_the_panel_lists_all_styles():
    (listed,) = re.findall(r"STYLES = \[([^\]]+)\]", (STATIC / "panel.js").read_text("utf-8"))
    assert set(re.findall(r'"([^"]+)"', listed)) == {path.name for path in STATIC.glob("*.css")} - {"page.css"}


def test_without_its_packages_the_panel_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    find = importlib.util.find_spec

    def missing(name: str, *more: Any) -> Any:
        return None if name == "anywidget" else find(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", missing)
    with pytest.raises(ConfigError) as caught:
        illama.panel()
    assert 'pip install "illama[lab]"' in caught.value.hint


def test_it_docks_where_jupyters_server_runs_the_notebook():
    assert docks({"JPY_SESSION_NAME": "/a.ipynb"})
    assert not docks({})


def test_the_magic_takes_here():
    assert grammar.parse_line("panel") == grammar.commands.Panel()
    assert grammar.parse_line("panel --here") == grammar.commands.Panel(here=True)


def test_a_saved_widget_has_no_state_but_where_it_stands():
    from illama.notebook.panel_widget import Panel

    panel = Panel(docked=False)
    ours = {name for name in panel.get_state() if not name.startswith("_")}
    assert ours == {"docked", "layout", "tabbable", "tooltip"}
    data, _ = panel._repr_mimebundle_()
    assert data["text/plain"] == repr(panel)
    assert "illama.panel()" in data["text/html"]
    panel.close()
