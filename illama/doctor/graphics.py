"""Judges GPUs and NPUs: which OpenVINO can use, and of each other one what stands in the way.

Knows: what has to be there, in the order in which it fails: kernel driver, device file, rights, OpenCL for a GPU, Level
Zero for an NPU. Does not know: how the facts were read.

Sources: OpenVINO's and Intel's installation pages for packages and groups; Arc wants Linux 6.2 or newer with i915; the
B series has the xe driver, for which Intel's compute runtime wants to be 24.39 or newer (the release that brought it);
graphics before the 11th generation of Core need the runtime's legacy branch, whose last release is 24.35.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from illama.doctor.facts import Chip, Device, Machine, Node
from illama.doctor.finding import Finding, failed, ok, size, warning
from illama.host.devices import choose

_INTEGRATED = "0000:00:02.0"  # where every integrated GPU of Intel's is
_XE_RUNTIME = (24, 39)
_OPENCL = "sudo apt install ocl-icd-libopencl1 intel-opencl-icd"
_AGAIN = "then restart what runs: `illama stop --host`, and your Jupyter server"


def judge(machine: Machine) -> list[Finding]:
    """GPU, NPU, the libraries between, and the device that is chosen."""
    found = []
    listed = [device for device in machine.engine.devices if device.name.startswith("GPU")]
    if machine.system.wsl:
        found.append(_wsl(machine, listed))
    elif not machine.engine.error:
        found += _gpus(machine, listed)
        found += _npus(machine)
    return [*found, *_level_zero(machine), *_chosen(machine)]


def _gpus(machine: Machine, listed: Sequence[Device]) -> list[Finding]:
    chips = machine.graphics.gpus
    if not chips:
        if not listed:
            return [ok("GPU", "no GPU of Intel's in this machine: models run on the CPU.")]
        return [ok("GPU", f"{_named(device)}.") for device in listed]
    matched = _match(machine, listed)
    found = []
    for chip in chips:
        device = matched.get(chip.pdev)
        if device:
            found.append(ok("GPU", f"{_named(device)}; kernel driver {_driver(machine, chip)}."))
        else:
            integrated = chip.pdev == _INTEGRATED
            says, do = _obstacle(machine, chip)
            where = f"{'the integrated GPU' if integrated else 'the GPU'} 8086:{chip.id[2:]} at {chip.pdev}"
            found.append((warning if integrated else failed)("GPU", f"{where} cannot be used: {says}", do))
    return found


def _match(machine: Machine, listed: Sequence[Device]) -> dict[str, Device]:
    """Which of OpenVINO's devices is which chip: by address, else in order, those that can be opened first."""
    chips = machine.graphics.gpus
    found = {device.pdev: device for device in listed if device.pdev in {chip.pdev for chip in chips} and device.pdev}
    rest = [device for device in listed if device not in found.values()]
    free = [chip for chip in chips if chip.pdev not in found]
    free.sort(key=lambda chip: not ((node := _node(machine, chip)) and node.usable))
    return {**found, **{chip.pdev: device for chip, device in zip(free, rest, strict=False)}}


def _obstacle(machine: Machine, chip: Chip) -> tuple[str, str]:
    """The first thing that keeps OpenVINO from a GPU, and what to do about it."""
    graphics, kernel = machine.graphics, machine.system.kernel
    if chip.driver == "vfio-pci":
        return "it is given to a virtual machine (vfio-pci).", "Run illama in that machine, or give the GPU back."
    if not chip.driver:
        return (
            f"no driver of the kernel ({kernel}) has taken it.",
            "Arc A wants Linux 6.2 or newer (i915), Arc B 6.12 (xe). Then see `sudo dmesg | grep -iE 'i915|xe'`.",
        )
    if not chip.node:
        return (
            f"its driver {chip.driver} has made no device file.",
            f"Firmware may be missing: `sudo apt install linux-firmware`; see `sudo dmesg | grep -i {chip.driver}`.",
        )
    barred = _barred(machine, chip, "/dev/dri")
    if barred:
        return barred
    if not graphics.opencl_loader:
        return "OpenCL is not installed (no libOpenCL.so.1).", f"`{_OPENCL}`, {_AGAIN}."
    icds = {library: wrong for library, wrong in graphics.opencl_icds.items() if "igdrcl" in library}
    if not icds:
        return (
            "OpenCL is installed, but Intel's driver for it is not.",
            f"`sudo apt install intel-opencl-icd` (Fedora and Arch: intel-compute-runtime), {_AGAIN}.",
        )
    if all(icds.values()):
        return (
            f"Intel's OpenCL driver is registered, but broken: {next(iter(icds.values()))}.",
            "`sudo apt install --reinstall intel-opencl-icd`.",
        )
    runtime = _runtime(machine)
    if runtime and chip.driver == "xe" and _release(runtime) < _XE_RUNTIME:
        return (
            f"Intel's OpenCL driver {runtime} is too old for the kernel's xe driver, which wants 24.39 or newer.",
            "Install a newer intel-opencl-icd, from Intel's repository or github.com/intel/compute-runtime.",
        )
    return (
        f"driver, rights and OpenCL{f' {runtime}' if runtime else ''} are there, but OpenVINO does not list it.",
        "See whether `clinfo -l` lists it. If not, install a newer intel-opencl-icd (github.com/intel/compute-runtime)"
        + (
            "; for Core of the 10th generation and older intel-opencl-icd-legacy1." if chip.pdev == _INTEGRATED else "."
        ),
    )


def _barred(machine: Machine, chip: Chip, folder: str) -> tuple[str, str] | None:
    """Why this user cannot open a chip's device file; None if they can."""
    node, path = _node(machine, chip), f"{folder}/{chip.node}"
    if node is None:
        return (
            f"{path} is not here, though the kernel has it.",
            f"In a container: start it with `--device {folder}`, and with `--group-add` and the number of its group.",
        )
    if node.usable:
        return None
    says = f"this user may not open {path} (group {node.group}, mode {node.mode})"
    if node.group in machine.user.groups_after_login and node.group not in machine.user.groups:
        return (
            f"{says}: it was added to the group, but not logged in since.",
            f"Log out of the whole session and in again, {_AGAIN}.",
        )
    if node.group.isdigit():
        return f"{says}.", f"In a container: start it with `--group-add {node.group}`."
    return (
        f"{says}, as it is not in that group.",
        f"`sudo usermod -aG {node.group} $USER`, log out and in again, {_AGAIN}.",
    )


def _wsl(machine: Machine, listed: Sequence[Device]) -> Finding:
    graphics = machine.graphics
    if listed:
        return ok("GPU", f"{', '.join(map(_named, listed))}, through WSL2 (/dev/dxg).")
    if not graphics.dxg:
        return warning(
            "GPU",
            "WSL2 shows no GPU of Windows (no /dev/dxg).",
            "In Windows: install Intel's graphics driver, `wsl --update`, `wsl --shutdown`. WSL 1 has no GPU.",
        )
    if not graphics.wsl_libraries:
        return warning(
            "GPU",
            "WSL2 has a GPU (/dev/dxg), but not Windows' libraries for it (/usr/lib/wsl/lib).",
            "In a container: pass /usr/lib/wsl in too. Else in Windows: `wsl --update`, `wsl --shutdown`.",
        )
    if not graphics.opencl_loader or not any("igdrcl" in each for each in graphics.opencl_icds):
        return warning(
            "GPU",
            "WSL2 has a GPU (/dev/dxg), but OpenCL or Intel's driver for it is not installed in here.",
            f"If the GPU is Intel's: `{_OPENCL}`, {_AGAIN}.",
        )
    return warning(
        "GPU",
        "WSL2 has a GPU (/dev/dxg) and OpenCL, but OpenVINO lists no GPU.",
        "If the GPU is Intel's: update its driver in Windows, `wsl --update`, `wsl --shutdown`; then see `clinfo -l`.",
    )


def _npus(machine: Machine) -> list[Finding]:
    listed = [device for device in machine.engine.devices if device.name.startswith("NPU")]
    if listed:
        return [ok("NPU", f"{_named(device)}.") for device in listed]
    found = []
    for chip in machine.graphics.npus:
        says, do = _npu_obstacle(machine, chip)
        found.append(warning("NPU", f"the NPU at {chip.pdev} cannot be used: {says}", do))
    return found


def _npu_obstacle(machine: Machine, chip: Chip) -> tuple[str, str]:
    packages = "intel-level-zero-npu and intel-driver-compiler-npu of github.com/intel/linux-npu-driver"
    if not chip.driver:
        return "no driver of the kernel has taken it.", "`sudo modprobe intel_vpu`; it comes with Linux 6.8 or newer."
    if not chip.node:
        return (
            f"its driver {chip.driver} has made no device file.",
            "Mostly its firmware is missing: install intel-fw-npu of github.com/intel/linux-npu-driver, then reboot.",
        )
    barred = _barred(machine, chip, "/dev/accel")
    if barred:
        return barred
    if not machine.graphics.level_zero_loader:
        return "Level Zero is not installed (no libze_loader.so.1).", "`sudo apt install libze1`."
    if not machine.graphics.level_zero_npu:
        return "its Level Zero driver is not installed (no libze_intel_npu.so.1).", f"Install {packages}."
    return "driver and rights are there, but OpenVINO does not list it.", f"Install the newest {packages}."


def _level_zero(machine: Machine) -> list[Finding]:
    graphics = machine.graphics
    if not graphics.gpus and not graphics.npus:
        return []
    if not graphics.level_zero_loader:
        return [ok("Level Zero", "not installed; OpenVINO needs it for an NPU only, and OpenCL for a GPU.")]
    parts = [("GPU", graphics.level_zero_gpu), ("NPU", graphics.level_zero_npu)]
    there = " and ".join(name for name, path in parts if path)
    return [ok("Level Zero", f"installed, with the driver for {there}." if there else "installed, without a driver.")]


def _chosen(machine: Machine) -> list[Finding]:
    choices, names = machine.choices, [device.name for device in machine.engine.devices]
    if machine.engine.error:
        return []
    chosen = choose(choices.device, names)
    if chosen:
        return [ok("device", f"models run on {chosen} ({'ILLAMA_DEVICE' if choices.device_set else 'the default'}).")]
    if choices.device_set:
        return [
            failed(
                "device",
                f"ILLAMA_DEVICE is {choices.device}, which is not there. This machine has: {', '.join(names)}.",
                f"Set ILLAMA_DEVICE to one of these, or unset it; the line on {choices.device.partition('.')[0]} "
                "above says what the device lacks.",
            )
        ]
    return [ok("device", "models run on CPU, as OpenVINO lists no GPU.")]


def _node(machine: Machine, chip: Chip) -> Node | None:
    return next((node for node in machine.graphics.nodes if chip.node and node.path.endswith("/" + chip.node)), None)


def _named(device: Device) -> str:
    memory = f", {size(device.memory)}" if device.memory else ""
    return f"{device.name} is {device.full_name}{memory}{f', driver {device.driver}' if device.driver else ''}"


def _driver(machine: Machine, chip: Chip) -> str:
    if not chip.driver:
        return "unknown"
    return f"{chip.driver} {chip.driver_version or f'of Linux {machine.system.kernel}'}"


def _runtime(machine: Machine) -> str:
    """The version of Intel's OpenCL driver; "" if no known package is installed."""
    packages = machine.graphics.packages
    return packages.get("intel-opencl-icd", "") or packages.get("intel-compute-runtime", "")


def _release(version: str) -> tuple[int, ...]:
    found = re.match(r"(?:\d+:)?(\d+)\.(\d+)", version)
    return tuple(map(int, found.groups())) if found else _XE_RUNTIME
