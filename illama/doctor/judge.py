"""What follows from a machine's facts: a line for each thing, in the order in which a user would look.

Knows: what illama needs. Does not know: how a fact was read, how a line is shown. GPUs and NPUs: `graphics`.
"""

from __future__ import annotations

from illama.doctor import graphics
from illama.doctor.facts import File, Machine, Place
from illama.doctor.finding import Finding, failed, ok, size, warning

_GB = 1000**3
_ROOM_NEEDED = 10 * _GB  # a model of 8 billion parameters in int4 is 5 GB, and lies there twice while it is made
_ROOM_GONE = _GB
_MEMORY_NEEDED = 4 * _GB


def judge(machine: Machine) -> list[Finding]:
    """All findings."""
    return [
        _system(machine),
        *_python(machine),
        *_openvino(machine),
        *graphics.judge(machine),
        _memory(machine),
        *(_place(each) for each in machine.places),
        *_private(machine),
        *_host(machine),
        *_settings(machine),
        _jupyter(machine),
        *_hub(machine),
        _converter(machine),
    ]


def _system(machine: Machine) -> Finding:
    found = machine.system
    where = " in WSL2" if found.wsl else " in a container" if found.container else ""
    name = f"{found.distribution or found.name}, {found.name} {found.kernel}{where}"
    says = f"{name}; {found.processor or 'a processor without a name'}, {found.cores or 'unknown'} cores."
    if found.name != "Linux":
        return warning("system", says, "illama is tested on Linux only; tell us how it went.")
    return ok("system", says)


def _python(machine: Machine) -> list[Finding]:
    found = machine.python
    lines = [ok("Python", f"{found.version}, {found.executable}; illama {machine.illama}.")]
    many = len(found.conflicts)
    mend = f"`{found.executable} -m pip check` lists all; upgrade what is named."
    lines += [warning("packages", f"{conflict}.", mend) for conflict in found.conflicts[:5]]
    if many > 5:
        lines.append(warning("packages", f"{many - 5} more conflicts.", "Best start with a fresh environment."))
    return lines if many else [*lines, ok("packages", "no conflicts among those that illama needs.")]


def _openvino(machine: Machine) -> list[Finding]:
    engine = machine.engine
    install = f"`{engine.interpreter} -m pip install --upgrade openvino-genai`"
    if engine.error:
        show = "-c 'import openvino; print(openvino.Core().available_devices)'"
        do = f"{install}. If it is there, a driver may be at fault: `{engine.interpreter} {show}` shows more."
        if "ILLAMA_ENGINE_PYTHON" in machine.choices.set:
            do = "Set ILLAMA_ENGINE_PYTHON to an interpreter that has openvino-genai, or unset it for this one."
        return [failed("OpenVINO", f"{engine.error.rstrip('.')}.", do)]
    if machine.choices.set.get("ILLAMA_ENGINE") == "fake":
        return [warning("OpenVINO", "ILLAMA_ENGINE is fake: all answers are made up.", "Unset ILLAMA_ENGINE.")]
    releases = {name: ".".join(version.split(".")[:3]) for name, version in engine.packages.items()}
    if len(set(releases.values())) > 1:
        told = ", ".join(f"{name} {engine.packages[name]}" for name in releases)
        return [failed("OpenVINO", f"these versions do not belong together: {told}.", install + ".")]
    names = ", ".join(device.name for device in engine.devices)
    return [ok("OpenVINO", f"{engine.packages.get('openvino-genai', 'unknown')}; it lists {names}.")]


def _memory(machine: Machine) -> Finding:
    found = machine.memory
    if found.free is None or found.total is None:
        return ok("memory", "the system does not tell how much there is.")
    says = f"{size(found.free)} of {size(found.total)} free ({found.where})."
    if found.free < _MEMORY_NEEDED:
        do = "Close what is large. A model takes its size on disk and about a gigabyte: choose a small one."
        return warning("memory", says, do)
    return ok("memory", says)


def _place(place: Place) -> Finding:
    check = f"{place.what} folder"
    if not place.writable:
        return failed(
            check,
            f"this user cannot write in {place.path}.",
            "Have its rights changed, or set ILLAMA_HOME to a folder of your own.",
        )
    says = f"{place.path}, {size(place.free)} free" + ("." if place.exists else "; it is made when it is needed.")
    if place.free is not None and place.what != "logs" and place.free < _ROOM_NEEDED:
        do = (
            "Make room: `illama rm MODEL`; or set ILLAMA_HOME (ILLAMA_REGISTRY_DIR, ILLAMA_CACHE_DIR) to a larger disk."
        )
        return (failed if place.free < _ROOM_GONE else warning)(check, says, do)
    return ok(check, says)


def _private(machine: Machine) -> list[Finding]:
    there = [each for each in machine.private if each.mode is not None]
    wrong = [finding for finding in map(_opened, there) if finding and machine.system.name != "Windows"]
    if wrong:
        return wrong
    if not there:
        return [ok("key and state", "none yet: they are made at the first start.")]
    return [ok("key and state", "; ".join(f"{each.path} ({each.mode})" for each in there) + ": yours alone.")]


def _opened(file: File) -> Finding | None:
    """What is wrong with the rights of something that nobody else should read."""
    mode = int(file.mode or "0", 8)
    if not file.own:
        return failed(
            "key and state", f"{file.path} is another user's.", "Set ILLAMA_HOME to a folder of your own, or remove it."
        )
    if not mode & 0o077:
        return None
    says = f"others can get at {file.path} (mode {file.mode})."
    if file.folder:
        return (failed if mode & 0o022 else warning)("key and state", says, f"`chmod 700 {file.path}`.")
    do = f"`chmod 600 {file.path}`. If others were on this machine: remove the key file and `illama stop --host`."
    return failed("key and state", says, do)


def _host(machine: Machine) -> list[Finding]:
    host = machine.host
    if not host.url:
        return [ok("host", "none runs: the first request starts one.")]
    name = host.url if host.pid is None else f"{host.url} (pid {host.pid})"
    if host.wrong:
        do = (
            "See that it runs, and ILLAMA_API_KEY."
            if host.named
            else "`illama logs`, then `illama stop --host --force`."
        )
        return [failed("host", f"{name}: {host.wrong}.", do)]
    found = []
    if host.protocol is not None and host.protocol > machine.protocol:
        found.append(failed("host", f"{name} is of a newer illama ({host.version}).", "Upgrade illama here."))
    elif host.version != machine.illama:
        found.append(
            warning(
                "host",
                f"{name} is illama {host.version or 'of an unknown version'}, this is {machine.illama}.",
                "Have it upgraded."
                if host.named
                else "`illama stop --host`: the next call starts one of this version.",
            )
        )
    # The sentence ends by saying what to do.
    for sentence in host.differences:
        says, _, do = sentence.partition(": ")
        found.append(warning("host", f"{says}.", do[:1].upper() + do[1:]))
    return found or [ok("host", f"{name} answers; illama {host.version}.")]


def _settings(machine: Machine) -> list[Finding]:
    choices = machine.choices
    found = [failed("settings", says, do) for says, do in choices.wrong]
    found += [
        warning(
            "settings",
            f"{name} is no variable of illama's.",
            f"Is {near} meant?" if near else "Unset it; `illama env` lists all that there are.",
        )
        for name, near in choices.unknown.items()
    ]
    names = ", ".join(choices.set)
    return found or [ok("settings", f"set: {names}." if names else "all defaults; `illama env` lists them.")]


def _jupyter(machine: Machine) -> Finding:
    found, python = machine.jupyter, machine.python.executable
    if not found.server:
        return warning(
            "Jupyter", "Jupyter Server is not in this environment.", f"`{python} -m pip install jupyterlab`."
        )
    if not found.extension:
        do = f"`{python} -m pip install illama` in the environment that Jupyter runs in. Magics work without."
        return warning("Jupyter", "illama's server extension is not installed in this environment.", do)
    if not found.enabled:
        says = (
            f"illama's server extension is disabled in {found.file}."
            if found.file
            else ("illama's server extension is installed, but Jupyter's configuration does not name it.")
        )
        do = "`jupyter server extension enable illama_server`, then restart the Jupyter server."
        return warning("Jupyter", says, do)
    if not found.proxy:
        do = f"`{python} -m pip install jupyter-server-proxy`."
        return warning("Jupyter", "jupyter-server-proxy is missing: the launcher has no tile.", do)
    return ok("Jupyter", f"Server {found.server}, illama's extension enabled in {found.file}.")


def _hub(machine: Machine) -> list[Finding]:
    hub = machine.hub
    if hub.error:
        do = (
            "Models that are installed run all the same. To pull from the hub: see to network and proxy (HTTPS_PROXY), "
            "or set HF_ENDPOINT to a mirror."
        )
        return [warning("hub", f"{hub.endpoint} cannot be reached: {hub.error}.", do)]
    if hub.login == "bad":
        do = f"Make a new one at {hub.endpoint}/settings/tokens, or unset it: public models need none."
        return [failed("hub", f"{hub.endpoint} answers, but does not take HF_TOKEN.", do)]
    told = {"none": "no HF_TOKEN is set: public models only", "good": "HF_TOKEN is good"}
    return [ok("hub", f"{hub.endpoint} answers; {told.get(hub.login, 'it does not tell whether HF_TOKEN is good')}.")]


def _converter(machine: Machine) -> Finding:
    found = machine.converter
    if found.error:
        do = "Set ILLAMA_CONVERTER_PYTHON to a Python with optimum-intel, or unset it for one that illama makes."
        return warning("converter", f"{found.error.rstrip('.')}.", do)
    if not found.source:
        says = "none yet: the first pull of a checkpoint asks, or takes --yes, to make one (about 2 GB). "
        return ok("converter", says + "Models in OpenVINO's format and GGUF files need none.")
    return ok("converter", f"optimum-intel {found.packages.get('optimum-intel', '')} in {found.source}.")
