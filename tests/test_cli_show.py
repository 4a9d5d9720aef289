"""`illama show`: what is known about a model, and the catalogue."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from illama.cli import main
from illama.registry import Entry, Registry


@pytest.fixture
def model(home: Path, tmp_path: Path) -> Entry:
    """A model in the registry of this test."""
    registry = Registry(home / "registry")
    staged = registry.staging()
    (staged / "openvino_model.bin").write_bytes(b"x" * 1500)
    two_hours_ago = (datetime.now(timezone.utc) - timedelta(hours=2)).isoformat()
    source = {"kind": "gguf", "file": "tiny.gguf"}
    entry = Entry(name="Tiny", source=source, digest="0" * 64, created=two_hours_ago, aliases=("tiny-alias",))
    return registry.add(entry, staged)


def test_show_knows_a_model_by_its_other_names(model, capsys):
    assert main(["show", "TINY-ALIAS"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^name +Tiny$", out, re.MULTILINE)
    assert re.search(r"^source +kind gguf, file tiny.gguf$", out, re.MULTILINE)
    assert main(["show", "Tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == {"openvino_model.bin": 1500}


def test_show_cuts_hashes_short_and_json_has_them_in_full(model, capsys):
    assert main(["show", "Tiny"]) == 0
    assert f"digest          {'0' * 12}…" in capsys.readouterr().out
    assert main(["show", "Tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == "0" * 64


def test_show_tells_the_template_and_the_parameters(model, home, capsys):
    folder = home / "registry" / "Tiny"
    template = "\n".join(f"{{{{ line {number} }}}}" for number in range(20))
    (folder / "chat_template.jinja").write_text(template)
    (folder / "generation_config.json").write_text('{"temperature": 0.6, "top_p": 0.95}')
    assert main(["show", "tiny"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^parameters\n  temperature +0.6\n  top_p +0.95\n\n", out, re.MULTILINE)
    assert "chat template\n  {{ line 0 }}\n" in out
    assert "{{ line 8 }}" not in out
    assert "--template" in out
    assert main(["show", "tiny", "--template"]) == 0
    assert capsys.readouterr().out == template + "\n"
    assert main(["show", "tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["template"] == template


def test_the_catalogue_lists_short_names(capsys):
    assert main(["show", "--catalog"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^smollm2, smollm2:135m +HuggingFaceTB/SmolLM2-135M-Instruct +92.9 MB$", out, re.MULTILINE)
    assert main(["show", "--catalog", "--json"]) == 0
    assert {"names": ["phi4", "phi4:14b"], "repo": "OpenVINO/phi-4-int4-ov", "size": None} in json.loads(
        capsys.readouterr().out
    )
