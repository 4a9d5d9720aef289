from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import illama
from illama.config import VARIABLES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted([*(ROOT / "illama").rglob("*.py"), *(ROOT / "server_ext").rglob("*.py")])
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
HEAVY = {"openvino", "openvino_genai", "torch", "transformers", "huggingface_hub", "gguf", "numpy", "pandas"}

# What conda-forge calls otherwise, and what only a notebook's environment needs.
CONDA_NAMES: dict[str, str] = {}


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(lines: list[str]) -> dict[str, str]:
    parsed = [Requirement(line) for line in lines]
    return {normalised(each.name): str(each.specifier) for each in parsed}


def imported_by(code: str, scratch: Path) -> set[str]:
    printed = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "IPYTHONDIR": str(scratch / "ipython")},
    )
    return set(json.loads(printed.stdout.splitlines()[-1]))


def test_the_public_names_are_these():
    assert sorted(illama.__all__) == [
        "AsyncClient",
        "Client",
        "IllamaError",
        "__version__",
        "chat",
        "load_ipython_extension",
        "panel",
    ]


def test_every_public_name_can_be_had():
    assert all(getattr(illama, name) for name in illama.__all__)
    assert dir(illama) == sorted(illama.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'pannel'"):
        illama.pannel  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        "import illama",
        "import illama.cli, illama.client, illama.discovery, illama.notebook",
        "from IPython.core.interactiveshell import InteractiveShell as S; S().run_line_magic('load_ext', 'illama')",
    ],
)
def test_nothing_heavy_is_imported_where_people_wait(code: str, tmp_path: Path):
    assert imported_by(code, tmp_path) & HEAVY == set()


def test_importing_illama_alone_does_not_even_import_the_http_client(tmp_path: Path):
    assert imported_by("import illama", tmp_path).isdisjoint({"httpx", "tornado", "IPython", "illama.client"})


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_stays_under_400_lines(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 400


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p.name != "__main__.py"], ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_module_opens_by_saying_what_it_is(path: Path):
    text = path.read_text(encoding="utf-8")
    assert not text or text.startswith('"""')


def test_the_conda_environment_asks_for_what_pyproject_asks_for():
    found = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (from_pip,) = [each["pip"] for each in found if isinstance(each, dict)]
    from_conda = requirements([each for each in found if isinstance(each, str)])
    python = from_conda.pop("python")
    pip_part = requirements([each for each in from_pip if not each.startswith("-e")])
    project = pyproject()["project"]
    extras = {name: requirements(lines) for name, lines in project["optional-dependencies"].items()}
    assert "-e ." in from_pip
    assert python == project["requires-python"]
    assert from_conda.keys() & pip_part.keys() == set()
    wanted = requirements(project["dependencies"]) | extras["lab"] | {"ipykernel": extras["test"]["ipykernel"]}
    assert {**from_conda, **pip_part} == wanted


def test_the_readme_has_every_variable_with_its_default_and_no_other():
    rows = dict(re.findall(r"^\| `((?:ILLAMA|HF)_[A-Z_]+)` \| ([^|]*) \|", README, re.MULTILINE))
    assert list(rows) == [variable.name for variable in VARIABLES]
    for variable in VARIABLES:
        if variable.default is not None:
            assert rows[variable.name] == f"`{variable.default}`"


def test_the_readme_names_no_variable_that_does_not_exist():
    assert set(re.findall(r"\b(?:ILLAMA_[A-Z_]+)\b", README)) <= {variable.name for variable in VARIABLES}


def test_the_readmes_first_commands_are_those_that_ci_runs():
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert blocks[0].strip() == "python -m pip install . && illama quickstart"
    assert blocks[1].strip() == 'python -m pip install -e ".[test]" && python -m pytest'


def test_the_version_has_its_entry_in_the_changelog():
    assert f"\n## {illama.__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_there_are_notebooks():
    assert [path.name for path in NOTEBOOKS] == [
        "01_quickstart.ipynb",
        "02_models.ipynb",
        "03_openai_api_and_open_webui.ipynb",
        "04_structured_output.ipynb",
        "05_embeddings_and_search.ipynb",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_shows_no_secret_and_no_place_of_this_machine(path: Path):
    # A picture is one long word in base64.
    text = re.sub(r'"image/png": "[^"]*"', "", path.read_text(encoding="utf-8"))
    places = r"/home/|/root|/tmp/|/work|/Users/|C:\\\\"
    secrets = r"Bearer (?!KEY|YOUR-KEY|{)|hf_[A-Za-z]{8}|\b[A-Za-z0-9_-]{32,}\b"
    assert re.findall(f"{places}|{secrets}", text) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_was_run_from_top_to_bottom_without_an_error(path: Path):
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"] == []
