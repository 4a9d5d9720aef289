"""Reads what Linux tells of GPUs and NPUs: chips, drivers, device files and their rights, OpenCL, Level Zero, WSL.

Knows: sysfs, /dev, the loaders' files, the databases of dpkg and pacman. Does not know: OpenVINO, what follows from the
facts. All paths are below `root`, so that tests can tell of other machines; elsewhere than on Linux there is nothing.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from illama.doctor.facts import Chip, Graphics, Node, System, User

ROOT = Path("/")
_INTEL = "0x8086"
# PCI classes: 03 is a display controller of any kind, 12 a processing accelerator, as the NPU calls itself.
_DISPLAY, _ACCELERATOR = "0x03", "0x12"
# Where the loader looks: the distributions' folders, those of WSL, of hand-made installations.
_LIBRARIES = (
    "usr/lib/x86_64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "lib/x86_64-linux-gnu",
    "lib64",
    "usr/local/lib",
    "usr/lib/wsl/lib",
    "run/opengl-driver/lib",
)
# The driver's packages in Debian and Ubuntu (Intel's own repositories too), Fedora and Arch.
_PACKAGES = {
    "intel-opencl-icd",
    "intel-opencl-icd-legacy1",
    "ocl-icd-libopencl1",
    "libze1",
    "level-zero",
    "libze-intel-gpu1",
    "intel-level-zero-gpu",
    "intel-level-zero-npu",
    "intel-driver-compiler-npu",
    "intel-fw-npu",
    "intel-compute-runtime",
    "level-zero-loader",
    "ocl-icd",
    "intel-npu-driver",
}


def system(root: Path = ROOT) -> System:
    """The operating system and processor."""
    release = {}
    for line in _text(root / "etc/os-release").splitlines():
        name, _, value = line.partition("=")
        release[name] = value.strip("\"'")
    version = _text(root / "proc/version")
    kernel = re.search(r"Linux version (\S+)", version)
    model = re.search(r"^model name\s*:\s*(.+)$", _text(root / "proc/cpuinfo"), re.MULTILINE)
    return System(
        name=platform.system(),
        kernel=kernel.group(1) if kernel else platform.release(),
        distribution=release.get("PRETTY_NAME", ""),
        processor=model.group(1).strip() if model else platform.processor(),
        cores=os.cpu_count(),
        wsl="microsoft" in version.lower(),
        container=(root / ".dockerenv").exists() or (root / "run/.containerenv").exists(),
    )


def graphics(root: Path = ROOT, environ: Mapping[str, str] | None = None) -> Graphics:
    """Intel's GPUs and NPUs and all that OpenVINO needs to use them."""
    if not sys.platform.startswith("linux"):
        return Graphics()
    environ = os.environ if environ is None else environ
    folders = [root / each for each in _LIBRARIES]
    folders += [Path(each) for each in environ.get("LD_LIBRARY_PATH", "").split(":") if each]
    files = [*(root / "dev/dri").glob("renderD*"), *(root / "dev/accel").glob("accel*")]
    return Graphics(
        gpus=_chips(root, _DISPLAY, "drm", "renderD"),
        npus=_chips(root, _ACCELERATOR, "accel", "accel"),
        nodes=tuple(node for node in map(_node, sorted(files)) if node),
        dxg=(root / "dev/dxg").exists(),
        wsl_libraries=(root / "usr/lib/wsl/lib/libdxcore.so").exists(),
        opencl_loader=_library(folders, "libOpenCL.so.1"),
        opencl_icds=_icds(root, folders, environ),
        level_zero_loader=_library(folders, "libze_loader.so.1"),
        level_zero_gpu=_library(folders, "libze_intel_gpu.so.1"),
        level_zero_npu=_library(folders, "libze_intel_npu.so.1", "libze_intel_vpu.so.1"),
        packages={**_debian(root), **_arch(root)},
    )


def user() -> User:
    """This process's groups, and those that a fresh login would bring; not the group that is named after the user."""
    if sys.platform == "win32":
        return User()
    import grp
    import pwd

    try:
        account = pwd.getpwuid(os.geteuid())
        own, login = account.pw_name, os.getgrouplist(account.pw_name, account.pw_gid)
    except KeyError:
        own, login = "", []  # a user id without a name, as containers have

    def names(ids: Iterable[int]) -> tuple[str, ...]:
        found = set()
        for each in ids:
            try:
                found.add(grp.getgrgid(each).gr_name)
            except KeyError:
                found.add(str(each))  # a container's groups need have no names
        return tuple(sorted(found - {own}))

    return User(os.geteuid() == 0, names({os.getegid(), *os.getgroups()}), names(login))


def _chips(root: Path, kind: str, folder: str, prefix: str) -> tuple[Chip, ...]:
    found = []
    for path in sorted((root / "sys/bus/pci/devices").glob("*")):
        if _text(path / "vendor") != _INTEL or not _text(path / "class").startswith(kind):
            continue
        driver = (path / "driver").resolve().name if (path / "driver").is_symlink() else ""
        nodes = sorted(each.name for each in (path / folder).glob(f"{prefix}*"))
        found.append(
            Chip(
                pdev=path.name,
                id=_text(path / "device"),
                driver=driver,
                driver_version=_text(root / "sys/module" / driver / "version") if driver else "",
                node=nodes[0] if nodes else "",
            )
        )
    return tuple(found)


def _node(path: Path) -> Node | None:
    try:
        found = path.stat()
    except OSError:
        return None
    import grp

    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    # access() asks the kernel, which counts access lists too: a desktop's login gets its right by one.
    return Node(f"/dev/{path.parent.name}/{path.name}", group, mode(found), os.access(path, os.R_OK | os.W_OK))


def mode(found: os.stat_result) -> str:
    """A file's mode as chmod takes it: `0600`."""
    return f"{stat.S_IMODE(found.st_mode):04o}"


def _library(folders: list[Path], *names: str) -> str:
    """The first of these libraries that is in one of the folders, by its path; "" if none is."""
    for folder in folders:
        for name in names:
            if (folder / name).exists():
                return str(folder / name)
    return ""


def _icds(root: Path, folders: list[Path], environ: Mapping[str, str]) -> dict[str, str]:
    """The OpenCL drivers that are registered: the library, and what is wrong with it ("" if nothing is)."""
    chosen = environ.get("OCL_ICD_VENDORS", "")
    vendors = Path(chosen) if chosen and Path(chosen).is_dir() else root / "etc/OpenCL/vendors"
    found = {}
    for path in sorted(vendors.glob("*.icd")):
        library = _text(path)
        if not library:
            continue
        there = (root / library.lstrip("/")).exists() if library.startswith("/") else bool(_library(folders, library))
        found[library] = "" if there else f"{path.name} names a file that is not there"
    return found


def _debian(root: Path) -> dict[str, str]:
    found, name, installed = {}, "", False
    with contextlib.suppress(OSError), (root / "var/lib/dpkg/status").open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("Package: "):
                name, installed = line[9:].strip(), False
            elif line.startswith("Status: "):
                installed = line.rstrip().endswith(" installed")
            elif line.startswith("Version: ") and installed and name in _PACKAGES:
                found[name] = line[9:].strip()
    return found


def _arch(root: Path) -> dict[str, str]:
    found = {}
    for path in (root / "var/lib/pacman/local").glob("*-*-*"):
        name, version, build = path.name.rsplit("-", 2)
        if name in _PACKAGES:
            found[name] = f"{version}-{build}"
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
