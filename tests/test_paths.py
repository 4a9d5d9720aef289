"""What is printed, and so saved with a notebook, names no user's home folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from support_notebook import ENTRY

from illama.cli import columns, logs, models, text
from illama.config import Settings
from illama.errors import PullError
from illama.notebook import tables
from illama.notebook.stopping import Stopped
from illama.paths import private


@pytest.fixture
def ada(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, which is the user's."""
    folder = tmp_path / "ada"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    return folder


def test_only_the_home_folder_itself_becomes_a_tilde():
    home = Path("/home/ada")
    assert private("/home/ada/x /home/adam /home/ada.b /home/ada.", home) == "~/x /home/adam /home/ada.b ~."
    assert private("/x", Path("/")) == "/x"


def test_a_local_models_source_is_shown_below_the_tilde(ada: Path):
    entry = {**ENTRY, "source": {"kind": "gguf", "file": f"{ada}/models/m.gguf"}, "folder": f"{ada}/registry/m"}
    for shown in (models.describe(entry), repr(tables.model(entry)), tables.model(entry)._repr_html_()):
        assert "file ~/models/m.gguf" in shown
        assert "~/registry/m" in shown
        assert str(ada) not in shown


def test_the_pulls_of_ps_the_findings_and_the_failures_name_no_home(ada: Path, capsys: pytest.CaptureFixture[str]):
    error = PullError(f"There is no {ada}/m.gguf.", hint=f"Look into {ada}.")
    text.fail(error)
    text.warn([f"the registry is {ada}/registry"])
    job = {"source": f"{ada}/m.gguf", "error": f"no {ada}/m.gguf", "started_at": None}
    finding = {"level": "warning", "check": "key", "says": f"{ada}/key is open.", "do": f"chmod 600 {ada}/key"}
    shown = [
        "\n".join(error._render_traceback_()),
        "\n".join(Stopped(f"The pull of {ada}/m.gguf is cancelled.")._render_traceback_()),
        capsys.readouterr().err,
        columns.table(columns.JOBS, [job]),
        tables.examined([finding])._repr_html_(),
    ]
    for each in shown:
        assert "~" in each
        assert str(ada) not in each


def test_a_logs_lines_name_no_home(ada: Path):
    settings = Settings.load()
    settings.log_dir.mkdir(parents=True)
    (settings.log_dir / "host.log").write_text(f"loading {ada}/registry/m\n")
    assert logs.tail(settings, "host", 5) == ["loading ~/registry/m"]
