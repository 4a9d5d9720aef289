from __future__ import annotations

import os
from pathlib import Path

import pytest

from illama.config import BY_NAME, VARIABLES, Settings
from illama.errors import ConfigError


def test_defaults_are_those_that_are_documented():
    settings = Settings.load({})
    assert (settings.device, settings.one_model, settings.idle_ttl_sec) == ("GPU", True, 600)
    assert (settings.host, settings.port, settings.engine, settings.stream) == ("0.0.0.0", 11434, "openvino", True)
    assert (settings.max_queue, settings.max_wait_sec, settings.drain_sec, settings.max_tokens) == (512, 60, 30, 4096)


def test_every_variable_is_an_attribute_of_settings():
    settings = Settings.load({})
    assert [name for name, variable in BY_NAME.items() if not hasattr(settings, variable.field)] == []


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("ILLAMA_DEVICE", "gpu.1", "GPU.1"),
        ("ILLAMA_ONE_MODEL", "no", False),
        ("ILLAMA_IDLE_TTL_SEC", "-1", -1),
        ("ILLAMA_IDLE_TTL_SEC", "0", 0),
        ("ILLAMA_PORT", "8000", 8000),
        ("ILLAMA_ALLOWED_HOSTS", "a.example, b.example,", ("a.example", "b.example")),
        ("ILLAMA_BASE_URL", "http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("ILLAMA_ENGINE", "fake", "fake"),
        ("ILLAMA_STREAM", "0", False),
        ("HF_TOKEN", "hf_x", "hf_x"),
    ],
)
def test_a_variable_is_read_from_the_environment(name: str, raw: str, value: object):
    settings = Settings.load({name: raw})
    assert getattr(settings, BY_NAME[name].field) == value
    assert settings.is_set(name)
    assert settings.sources[name] == "environment"


@pytest.mark.parametrize("name", [variable.name for variable in VARIABLES])
def test_an_empty_variable_counts_as_unset(name: str):
    settings = Settings.load({name: "  "})
    assert not settings.is_set(name)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("ILLAMA_DEVICE", "TPU"),
        ("ILLAMA_DEVICE", "GPU."),
        ("ILLAMA_ONE_MODEL", "maybe"),
        ("ILLAMA_IDLE_TTL_SEC", "-2"),
        ("ILLAMA_IDLE_TTL_SEC", "nan"),
        ("ILLAMA_MAX_WAIT_SEC", "soon"),
        ("ILLAMA_PORT", "0"),
        ("ILLAMA_PORT", "65536"),
        ("ILLAMA_MAX_TOKENS", "1.5"),
        ("ILLAMA_BASE_URL", "localhost:8000"),
        ("ILLAMA_ENGINE", "cuda"),
    ],
)
def test_a_value_that_cannot_be_used_is_an_error_that_names_it(name: str, raw: str):
    with pytest.raises(ConfigError) as caught:
        Settings.load({name: raw})
    assert name in caught.value.message
    assert raw in caught.value.message
    assert name in caught.value.hint


def test_one_home_holds_everything(tmp_path: Path):
    settings = Settings.load({"ILLAMA_HOME": str(tmp_path)})
    folders = [settings.registry_dir, settings.cache_dir, settings.run_dir, settings.log_dir, settings.key_file]
    assert [folder.parent for folder in folders] == [tmp_path] * 5
    assert settings.sources["ILLAMA_REGISTRY_DIR"] == "ILLAMA_HOME"


def test_a_folder_of_its_own_wins_over_the_home(tmp_path: Path):
    settings = Settings.load({"ILLAMA_HOME": str(tmp_path / "home"), "ILLAMA_REGISTRY_DIR": str(tmp_path / "models")})
    assert settings.registry_dir == tmp_path / "models"
    assert settings.cache_dir == tmp_path / "home" / "cache"


def test_reading_the_settings_writes_nothing(tmp_path: Path):
    settings = Settings.load({"ILLAMA_HOME": str(tmp_path / "new")})
    assert settings.public()
    assert settings.run_dir
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(os.name == "nt", reason="the shared root is a Unix path")
def test_without_the_shared_root_models_go_to_the_users_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("illama.config.SHARED_ROOT", tmp_path / "file" / "illama")
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setattr("os.access", lambda *_: False)
    settings = Settings.load({})
    assert "cannot be made" in settings.sources["ILLAMA_REGISTRY_DIR"]
    assert settings.registry_dir.name == "registry"
    assert not settings.registry_dir.is_relative_to(tmp_path)


def test_the_shared_root_is_used_where_it_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "registry").mkdir()
    monkeypatch.setattr("illama.config.SHARED_ROOT", tmp_path)
    assert Settings.load({}).registry_dir == tmp_path / "registry"


def test_what_is_shown_holds_no_secret():
    shown = Settings.load({"HF_TOKEN": "hf_secret", "ILLAMA_API_KEY": "key_secret"}).public()
    assert "secret" not in str(shown)
    assert {"HF_TOKEN", "ILLAMA_API_KEY"}.isdisjoint(shown)
