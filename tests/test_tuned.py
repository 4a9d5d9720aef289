"""What was tuned counts where it was tuned, under what somebody set, and `show` says which is which."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from support_host import fake_model, running_host

from illama.bench import parties
from illama.cli import main
from illama.config import Settings
from illama.host import loading
from illama.host.devices import Device
from illama.registry import Entry, Registry, tuned

CPU = Device("CPU", "A processor", cores=8, openvino="2026.4.1-22982-releases/2026/4")
ARC = Device("GPU.1", "An Arc", 2**34, "0000:03:00.0", "24.39", openvino="2026.4.1")
OPTIONS = {"threads": 4, "max_batched_tokens": 512}


def entry(place: Device, **options: object) -> Entry:
    found = {"options": OPTIONS, **tuned.found_at(place), "date": "2026-01-01T00:00:00+00:00", "figures": []}
    return Entry("Big", {"kind": "ir"}, "0" * 64, "2026-01-01T00:00:00+00:00", options=options, tuned=found)


@pytest.mark.parametrize("place", [CPU, ARC])
def test_what_was_tuned_here_is_in_force(place: Device) -> None:
    assert tuned.in_force(entry(place), place) == OPTIONS
    assert tuned.told(entry(place), place)["misfit"] == ""


def test_what_somebody_set_wins() -> None:
    found = entry(CPU, threads=1, pipeline="paged")
    assert tuned.in_force(found, CPU) == {"threads": 1, "pipeline": "paged", "max_batched_tokens": 512}
    assert tuned.told(found, CPU)["in_force"] == {"max_batched_tokens": 512}


@pytest.mark.parametrize(
    ("place", "here", "why"),
    [
        (CPU, dataclasses.replace(CPU, full_name="Another"), "the device was A processor, and is Another"),
        (CPU, dataclasses.replace(CPU, cores=16), "the number of cores was 8, and is 16"),
        (CPU, dataclasses.replace(CPU, openvino="2027.0.0-1"), "OpenVINO was 2026.4, and is 2027.0"),
        (CPU, dataclasses.replace(CPU, openvino=None), "OpenVINO was 2026.4, and is unknown"),
        (CPU, ARC, "the device was A processor, and is An Arc"),
        (ARC, dataclasses.replace(ARC, name="NPU"), "it was tuned on GPU.1, and runs on NPU"),
    ],
)
def test_elsewhere_it_is_not_and_the_reason_is_told(place: Device, here: Device, why: str) -> None:
    found = entry(place, pipeline="paged")
    assert tuned.in_force(found, here) == {"pipeline": "paged"}
    assert tuned.told(found, here)["misfit"] == why
    assert tuned.told(found, here)["in_force"] == {}


def test_a_patch_a_driver_or_the_same_device_under_another_number_change_nothing() -> None:
    assert tuned.in_force(entry(CPU), dataclasses.replace(CPU, openvino="2026.4.2")) == OPTIONS
    assert tuned.in_force(entry(ARC), dataclasses.replace(ARC, driver="25.01", name="GPU")) == OPTIONS


def test_an_entry_keeps_it_and_one_without_is_as_before(home: Path) -> None:
    fake_model(home, "Big")
    registry = Registry(home / "registry")
    before = registry.get("Big")
    assert tuned.in_force(before, CPU) == before.options
    registry.update("Big", lambda each: dataclasses.replace(each, tuned=entry(CPU).tuned))
    (registry.root / "index.json").unlink()
    assert Registry(registry.root).get("Big").tuned == entry(CPU).tuned
    assert registry.copy("Big", "Other").tuned == entry(CPU).tuned


def keep(home: Path, **changed: Any) -> None:
    """Keep `OPTIONS` as found on the fake device, but for what is `changed`."""
    here = {**tuned.found_at(Device("CPU", "a fake device")), "date": "2026-01-01T00:00:00+00:00", **changed}
    Registry(home / "registry").update(
        "Big", lambda each: dataclasses.replace(each, tuned={"options": OPTIONS, "figures": [], **here})
    )


def test_the_engine_is_loaded_with_it_and_the_benchmarks_too(home: Path) -> None:
    fake_model(home, "Big", stored={"threads": 2})
    keep(home)
    settings = Settings.load({"ILLAMA_HOME": str(home), "ILLAMA_ENGINE": "fake"})
    found = Registry(home / "registry").get("Big")
    message = parties.load_message(settings, found, Device("CPU", "a fake device"))
    assert message["options"] == {"threads": 2, "max_batched_tokens": 512}
    assert parties.load_message(settings, found, CPU)["options"] == {"threads": 2}


@pytest.mark.parametrize(("wanted", "given"), [(None, 2**30), (0.25, 2**28), (64.0, 2**30)])
def test_the_kv_cache_takes_no_more_than_is_wanted_and_never_more_than_there_is(
    home: Path, wanted: float | None, given: int
) -> None:
    found = fake_model(home, "Big", stored={"kv_gib": wanted} if wanted else {})
    settings = Settings.load({"ILLAMA_HOME": str(home), "ILLAMA_ENGINE": "fake"})
    message = loading.message(settings, Registry(settings.registry_dir), found, CPU, 2**30)
    assert message["kv_bytes"] == given


def test_show_and_set_tell_it_apart(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    fake_model(home, "Big", stored={"threads": 2})
    keep(home)
    monkeypatch.setenv("ILLAMA_HOME", str(home))
    monkeypatch.setenv("ILLAMA_ENGINE", "fake")
    assert main(["show", "Big"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "tuned threads=4, max_batched_tokens=512 (on a fake device" in shown
    assert "not in force of what was tuned: threads, as the options say otherwise" in shown
    assert main(["set", "Big"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["max_batched_tokens"].split()[1:3] == ["512", "(tuned)"]
    assert lines["threads"].split()[1:3] == ["2", "threads"]
    keep(home, full_name="another device")
    assert main(["show", "Big"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "not in force what was tuned: the device was another device, and is a fake device." in shown
    assert main(["set", "Big"]) == 0
    assert "(tuned)" not in capsys.readouterr().out


def test_the_host_tells_it_too(home: Path) -> None:
    fake_model(home, "Big")
    keep(home)
    with running_host(home) as host:
        found = host.http.post("/api/show", json={"model": "Big"}).json()["entry"]["tuned"]
        assert (found["in_force"], found["misfit"]) == (OPTIONS, "")
        assert host.chat("Big", '/fake {"echo": true}').status_code == 200
