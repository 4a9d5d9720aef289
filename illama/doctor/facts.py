"""The facts about a machine that illama's working hangs on, as plain data.

Knows: names and kinds of facts. Does not know: how they are read, what follows from them. A `Machine` is JSON-able
(`dataclasses.asdict`), so that one which nobody here owns can be recorded, sent and judged. Sizes are bytes, modes are
as `chmod` takes them ("0700"). No fact holds a key, a token, or what anybody wrote.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class System:
    """The operating system. `kernel` as in `uname -r`; `wsl`: Linux in Windows' own virtual machine."""

    name: str
    kernel: str
    distribution: str = ""
    processor: str = ""
    cores: int | None = None
    wsl: bool = False
    container: bool = False


@dataclass(frozen=True)
class Python:
    """This interpreter, the packages that matter, by their versions, and a sentence for each requirement not met."""

    version: str
    executable: str
    packages: dict[str, str] = field(default_factory=dict)
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Device:
    """A device as OpenVINO lists it. `memory` is its own, None where it works in the machine's."""

    name: str
    full_name: str
    memory: int | None = None
    pdev: str | None = None
    driver: str | None = None


@dataclass(frozen=True)
class Engine:
    """What runs models: its interpreter, its OpenVINO, the devices it lists, or the `error` of asking for them."""

    interpreter: str
    packages: dict[str, str] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Chip:
    """A GPU or NPU of Intel's on the PCI bus, whether or not a driver has taken it.

    `driver` is the kernel's module (i915, xe, intel_vpu) and `driver_version` that of a module from outside the kernel;
    `node` is the device file that programs open (renderD128, accel0), "" if the driver has made none.
    """

    pdev: str
    id: str
    driver: str = ""
    driver_version: str = ""
    node: str = ""


@dataclass(frozen=True)
class Node:
    """A device file: its owner group and mode, and whether this process may open it to read and write."""

    path: str
    group: str
    mode: str
    usable: bool


@dataclass(frozen=True)
class Graphics:
    """What stands between OpenVINO and a GPU or NPU.

    `opencl_icds` are the drivers that OpenCL's loader is told of: what is wrong with each, "" if nothing is, by its
    library's name. `packages` are the versions of the distribution's packages that matter.
    """

    gpus: tuple[Chip, ...] = ()
    npus: tuple[Chip, ...] = ()
    nodes: tuple[Node, ...] = ()
    dxg: bool = False
    wsl_libraries: bool = False
    opencl_loader: str = ""
    opencl_icds: dict[str, str] = field(default_factory=dict)
    level_zero_loader: str = ""
    level_zero_gpu: str = ""
    level_zero_npu: str = ""
    packages: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class User:
    """This process's rights: the groups that it has, and those that its user would have after a fresh login."""

    root: bool = False
    groups: tuple[str, ...] = ()
    groups_after_login: tuple[str, ...] = ()


@dataclass(frozen=True)
class Memory:
    """The machine's (or container's) memory."""

    where: str
    total: int | None = None
    free: int | None = None


@dataclass(frozen=True)
class Place:
    """A folder that is written to: `free` and `total` are its disk's; `writable` also if it has yet to be made."""

    what: str
    path: str
    exists: bool
    writable: bool
    free: int | None = None
    total: int | None = None


@dataclass(frozen=True)
class File:
    """A file or folder that only its owner may read. `mode` is None if there is none, `own`: it is this user's."""

    path: str
    mode: str | None = None
    own: bool = True
    folder: bool = False


@dataclass(frozen=True)
class Host:
    """The model host. `url` is "" if none runs; `answers` is None if it was not asked.

    `wrong` says why one that is there is not of use; `differences` are sentences on settings that differ from ours.
    """

    url: str = ""
    pid: int | None = None
    version: str = ""
    protocol: int | None = None
    answers: bool | None = None
    wrong: str = ""
    named: bool = False
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Jupyter:
    """Jupyter in this environment. `enabled` is what its configuration says of the extension, `file` where."""

    server: str = ""
    proxy: str = ""
    extension: bool = False
    enabled: bool | None = None
    file: str = ""


@dataclass(frozen=True)
class Hub:
    """The hub of models. `login`, by the token: "none", "good", "bad", "unchecked"; `error` is "" if it answered."""

    endpoint: str
    error: str = ""
    login: str = "none"


@dataclass(frozen=True)
class Converter:
    """What converts checkpoints: `source` says which it is, "" that there is none; `error` why it cannot be used."""

    source: str = ""
    interpreter: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Choices:
    """The user's settings: those that are set, and those that mean nothing, each with the name that may be meant.

    `wrong`: of each that has a value which cannot be used, what is wrong and what to do.
    """

    device: str = "GPU"
    device_set: bool = False
    set: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    wrong: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Machine:
    """All facts at one moment (`taken`, ISO 8601)."""

    taken: str
    illama: str
    protocol: int
    system: System
    python: Python
    engine: Engine
    graphics: Graphics
    user: User
    memory: Memory
    choices: Choices
    host: Host
    jupyter: Jupyter
    hub: Hub
    converter: Converter
    places: tuple[Place, ...] = ()
    private: tuple[File, ...] = ()
