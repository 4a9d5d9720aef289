"""How the doctor reads facts: from trees that look like other machines' files, and from small programs and servers."""

from __future__ import annotations

import http.server
import json
import stat
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from illama.config import Settings
from illama.doctor import hardware, service, software
from illama.doctor.facts import Chip
from illama.host.state import FILE_NAME, HostState, write

TOKEN = "hf_secret_of_nobody"


def put(root: Path, path: str, text: str = "") -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n")
    return file


def chip(
    root: Path, pdev: str, kind: str, device: str, driver: str = "", node: str = "", vendor: str = "0x8086"
) -> None:
    """A device on the PCI bus as sysfs shows it."""
    folder = f"sys/bus/pci/devices/{pdev}"
    put(root, f"{folder}/vendor", vendor)
    put(root, f"{folder}/class", kind)
    put(root, f"{folder}/device", device)
    if driver:
        (root / "sys/bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
        (root / folder / "driver").symlink_to(root / "sys/bus/pci/drivers" / driver)
    if node:
        (root / folder / node).mkdir(parents=True)


def test_gpus_and_npus_are_found_on_the_bus_with_driver_and_device_file(tmp_path: Path):
    chip(tmp_path, "0000:03:00.0", "0x030000", "0x56a0", "i915", "drm/renderD128")
    (tmp_path / "sys/bus/pci/devices/0000:03:00.0/drm/card1").mkdir()
    put(tmp_path, "sys/module/i915/version", "backported 1.24")
    chip(tmp_path, "0000:00:02.0", "0x038000", "0x7d55")
    chip(tmp_path, "0000:00:0b.0", "0x120000", "0x7d1d", "intel_vpu", "accel/accel0")
    chip(tmp_path, "0000:01:00.0", "0x030000", "0x2684", "nvidia", "drm/renderD129", vendor="0x10de")
    chip(tmp_path, "0000:00:1f.0", "0x060100", "0x7a04")
    found = hardware.graphics(tmp_path, {})
    assert found.gpus == (
        Chip("0000:00:02.0", "0x7d55"),
        Chip("0000:03:00.0", "0x56a0", "i915", "backported 1.24", "renderD128"),
    )
    assert found.npus == (Chip("0000:00:0b.0", "0x7d1d", "intel_vpu", "", "accel0"),)


def test_device_files_tell_their_mode_and_whether_they_can_be_opened(tmp_path: Path):
    put(tmp_path, "dev/dri/renderD128").chmod(0o660)
    put(tmp_path, "dev/dri/card0")
    put(tmp_path, "dev/accel/accel0").chmod(0o600)
    found = hardware.graphics(tmp_path, {}).nodes
    assert [(node.path, node.mode, node.usable) for node in found] == [
        ("/dev/accel/accel0", "0600", True),
        ("/dev/dri/renderD128", "0660", True),
    ]


def test_opencl_drivers_are_followed_to_their_files(tmp_path: Path):
    put(tmp_path, "etc/OpenCL/vendors/intel.icd", "/usr/lib/x86_64-linux-gnu/intel-opencl/libigdrcl.so")
    put(tmp_path, "etc/OpenCL/vendors/nvidia.icd", "libnvidia-opencl.so.1")
    put(tmp_path, "usr/lib/x86_64-linux-gnu/intel-opencl/libigdrcl.so")
    put(tmp_path, "usr/lib/x86_64-linux-gnu/libOpenCL.so.1")
    found = hardware.graphics(tmp_path, {})
    assert found.opencl_loader.endswith("libOpenCL.so.1")
    assert found.opencl_icds["/usr/lib/x86_64-linux-gnu/intel-opencl/libigdrcl.so"] == ""
    assert found.opencl_icds["libnvidia-opencl.so.1"] == "nvidia.icd names a file that is not there"


def test_libraries_are_looked_for_where_the_environment_says_too(tmp_path: Path):
    put(tmp_path, "mine/libze_loader.so.1")
    assert hardware.graphics(tmp_path, {}).level_zero_loader == ""
    assert hardware.graphics(tmp_path, {"LD_LIBRARY_PATH": f"{tmp_path}/mine"}).level_zero_loader.startswith(
        str(tmp_path)
    )


def test_packages_are_read_from_debians_and_archs_databases_if_installed(tmp_path: Path):
    gone = "Package: libze1\nStatus: deinstall ok config-files\nVersion: 1.16\n\n"
    here = "Package: intel-opencl-icd\nStatus: install ok installed\nVersion: 24.39.31294.20-1032~24.04\n\n"
    put(tmp_path, "var/lib/dpkg/status", gone + here + "Package: bash\nStatus: install ok installed\nVersion: 5\n")
    (tmp_path / "var/lib/pacman/local/intel-compute-runtime-26.05.37020.3-2").mkdir(parents=True)
    assert hardware.graphics(tmp_path, {}).packages == {
        "intel-opencl-icd": "24.39.31294.20-1032~24.04",
        "intel-compute-runtime": "26.05.37020.3-2",
    }


def test_wsl_is_known_by_its_kernel_and_its_device(tmp_path: Path):
    put(tmp_path, "proc/version", "Linux version 6.6.87.2-microsoft-standard-WSL2 (root@builder) (gcc 11.2.0) #1 SMP")
    put(tmp_path, "etc/os-release", 'PRETTY_NAME="Ubuntu 24.04.1 LTS"\nID=ubuntu')
    put(tmp_path, "dev/dxg")
    put(tmp_path, "usr/lib/wsl/lib/libdxcore.so")
    found = hardware.system(tmp_path)
    assert found.wsl
    assert found.kernel == "6.6.87.2-microsoft-standard-WSL2"
    assert found.distribution == "Ubuntu 24.04.1 LTS"
    graphics = hardware.graphics(tmp_path, {})
    assert graphics.dxg
    assert graphics.wsl_libraries


def test_a_tree_without_anything_is_a_machine_without_anything(tmp_path: Path):
    found = hardware.graphics(tmp_path, {})
    assert (found.gpus, found.npus, found.nodes, found.packages, found.dxg) == ((), (), (), {}, False)


def distribution(folder: Path, name: str, version: str, *requires: str) -> PathDistribution:
    lines = "".join(f"Requires-Dist: {each}\n" for each in requires)
    put(
        folder,
        f"{name}-{version}.dist-info/METADATA",
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}",
    )
    return PathDistribution(folder / f"{name}-{version}.dist-info")


def test_requirements_that_are_not_met_are_conflicts_and_others_are_not(tmp_path: Path):
    installed = {
        "illama": distribution(
            tmp_path, "illama", "1", "httpx>=0.27", "pandas; extra == 'x'", "gone", "old>=9; python_version < '3'"
        ),
        "httpx": distribution(tmp_path, "httpx", "0.20", "anyio<4"),
        "anyio": distribution(tmp_path, "anyio", "4.1"),
        "stranger": distribution(tmp_path, "stranger", "1", "nothing-of-ours"),
    }
    assert software.conflicts(installed, ["illama"]) == [
        "illama needs httpx>=0.27, but 0.20 is installed",
        "illama needs gone, which is not installed",
        "httpx needs anyio<4, but 4.1 is installed",
    ]


def test_a_folder_that_an_uninstall_left_behind_is_no_package(tmp_path: Path, monkeypatch):
    (tmp_path / "gone-1.0.dist-info").mkdir()
    distribution(tmp_path, "Odd.Name", "no version at all", "pytest")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = software.installed_here()
    assert "gone" not in found
    assert found["odd-name"].version == "no version at all"
    assert software.conflicts({"odd-name": found["odd-name"], "pytest": found["odd-name"]}, ["odd-name"]) == []


def test_another_interpreter_is_asked_for_its_packages():
    found = software.versions(sys.executable, ["pytest", "no-such-package"])
    assert found == {"pytest": pytest.__version__}


def test_a_converter_that_is_no_python_is_told(tmp_path: Path):
    missing = software.converter(Settings.load({"ILLAMA_CONVERTER_PYTHON": str(tmp_path / "nothing")}))
    script = put(tmp_path, "python", "#!/bin/sh\nexit 3")
    script.chmod(0o755)
    broken = software.converter(Settings.load({"ILLAMA_CONVERTER_PYTHON": str(script)}))
    assert "cannot be started" in missing.error
    assert "no Python that works" in broken.error
    assert broken.source == "ILLAMA_CONVERTER_PYTHON"


def test_a_later_configuration_of_jupyter_counts_more(tmp_path: Path):
    def config(path: str, enabled: bool) -> None:
        put(tmp_path, path, json.dumps({"ServerApp": {"jpserver_extensions": {"illama_server": enabled}}}))

    user, environment = tmp_path / "user", tmp_path / "env"
    put(tmp_path, "user/jupyter_server_config.json", "{broken")
    assert software.jupyter({}, [user, environment]).enabled is None
    config("env/jupyter_server_config.d/illama_server.json", True)
    assert software.jupyter({}, [user, environment]).enabled is True
    config("user/jupyter_server_config.d/illama_server.json", False)
    found = software.jupyter({}, [user, environment])
    assert found.enabled is False
    assert found.file == str(tmp_path / "user/jupyter_server_config.d/illama_server.json")


def test_unknown_variables_are_told_with_the_nearest_name_and_secrets_are_hidden():
    environ = {
        "ILLAMA_DEVCE": "GPU",
        "ILLAMA_WHATEVER_THIS_IS": "1",
        "ILLAMA_TEST_CACHE": "/x",
        "HF_TOKEN": TOKEN,
        "HF_ENDPOINT": "https://ada:pass@hub.example",
    }
    found = service.choices(Settings.load(environ), environ)
    assert found.unknown == {"ILLAMA_DEVCE": "ILLAMA_DEVICE", "ILLAMA_WHATEVER_THIS_IS": ""}
    assert found.set == {"HF_TOKEN": "(hidden)", "HF_ENDPOINT": "https://hub.example"}


def test_files_that_others_can_read_are_seen_with_their_modes_and_nothing_is_mended(home: Path):
    settings = Settings.load()
    (home / "run").mkdir(mode=0o755)
    put(home, "key", "a key").chmod(0o644)
    folder, state_file, key = service.private(settings)
    assert (folder.mode, folder.folder) == ("0755", True)
    assert state_file.mode is None
    assert key.mode == "0644"
    assert stat.S_IMODE((home / "run").stat().st_mode) == 0o755


def test_looking_makes_no_folders(home: Path):
    settings = Settings.load()
    found = {place.what: place for place in service.places(settings)}
    assert not found["models"].exists
    assert found["models"].writable
    assert found["models"].free
    assert service.host(settings).url == ""
    assert list(home.iterdir()) == []


class Answering(http.server.BaseHTTPRequestHandler):
    """A hub, or something else that answers HTTP."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def answering() -> Iterator[http.server.HTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        server.asked, server.status, server.body = [], 200, b"{}"
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "login"), [(200, "good"), (401, "bad"), (404, "unchecked")])
def test_a_token_is_tried_at_the_hub_and_shown_nowhere(answering, status, login):
    answering.status = status
    found = service.hub(Settings.load({"HF_ENDPOINT": answering.url, "HF_TOKEN": TOKEN}))
    assert (found.error, found.login) == ("", login)
    assert answering.asked == [("/api/whoami-v2", f"Bearer {TOKEN}")]
    assert TOKEN not in repr(found)


def test_a_hub_that_fails_or_is_not_there_is_told_with_the_reason(answering):
    assert service.hub(Settings.load({"HF_ENDPOINT": answering.url})).error == ""
    answering.status = 503
    assert "503" in service.hub(Settings.load({"HF_ENDPOINT": answering.url})).error
    answering.server_close()
    assert "refused" in service.hub(Settings.load({"HF_ENDPOINT": "http://127.0.0.1:1"})).error


def test_what_answers_in_the_hosts_place_but_is_none_is_told(answering, home: Path):
    settings = Settings.load()
    me = HostState.of_this_process(
        version="0.1.0", host="127.0.0.1", port=answering.server_port, key="k", settings={}, on_demand=True
    )
    write(settings.run_dir, me)
    assert (settings.run_dir / FILE_NAME).exists()
    assert service.host(settings).wrong == ""
    answering.body = b"<html>"
    assert service.host(settings).wrong == "what answers there is no model host"
    answering.status = 401
    assert service.host(settings).wrong == "it does not take the key"
