"""`doctor`: what is right and wrong with this machine for illama, and what to do about it.

Knows: which words and exit code an examination ends with, where the report goes. Does not know: what is looked at
(`illama.doctor`).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from illama.cli import text
from illama.config import Settings
from illama.errors import ConfigError, IllamaError

if TYPE_CHECKING:
    from illama.doctor.facts import Device, Machine
    from illama.doctor.finding import Finding
    from illama.doctor.selftest import Sizes


def doctor(args: argparse.Namespace, settings: Settings) -> int:
    """`illama doctor`: exit code 1 if there is a failure."""
    from illama.doctor import finding, report
    from illama.doctor.examine import examine
    from illama.doctor.judge import judge

    status = text.StatusLine()
    status.show("looking at this machine …")
    more: dict[str, Any] = {}
    try:
        machine = examine(settings)
        findings = judge(machine)
        if args.selftest:
            tried, more["selftest"] = _selftest(settings, machine, status)
            findings += tried
            more["report"] = str(_write(machine, findings, more["selftest"]))
    finally:
        status.clear()
    if args.json:
        print(json.dumps(report.as_json(machine, findings, **more), indent=2, ensure_ascii=False))
    else:
        print(report.lines(findings))
        print(f"\n{report.summary(findings)}")
        if args.selftest:
            print(f"The report is {more['report']}: read it, then send it to whoever helps you.")
    return 1 if finding.worst(findings) == finding.FAILURE else 0


def _selftest(
    settings: Settings, machine: Machine, status: text.StatusLine
) -> tuple[list[Finding], list[dict[str, Any]]]:
    """Run a model on each device: what is found, and all that was measured."""
    from illama.client import Client
    from illama.doctor import selftest
    from illama.doctor.finding import failed

    if settings.base_url:
        hint = "Unset it, or run the self-test on the machine of that host."
        return [failed("self-test", "ILLAMA_BASE_URL names a host that may be another machine's.", hint)], []
    if not machine.engine.devices:
        return [failed("self-test", "OpenVINO lists no device to try.", "See the line on OpenVINO above.")], []
    with Client(settings=settings) as client:
        try:
            client.connect()
            state = client.session.endpoint().state
            measure = _measure(state.pid if state else None)
            runs = selftest.SelfTest(client, machine.engine.devices, measure, status.show).run()
        except IllamaError as error:
            return [failed("self-test", error.message, error.hint)], []
    return selftest.judge(runs), [dataclasses.asdict(run) for run in runs]


def _measure(pid: int | None) -> Callable[[Device], Sizes]:
    from illama.doctor.selftest import Sizes
    from illama.host import memory

    def sizes(device: Device) -> Sizes:
        own = memory.device(device.name, device.memory, device.pdev).used if device.memory else None
        if pid is None:
            return Sizes(None, own)
        use = memory.usage(pid)
        return Sizes(use.rss if use.pss is None else use.pss, own)

    return sizes


def _write(machine: Machine, findings: list[Finding], tried: list[dict[str, Any]]) -> Path:
    from illama.doctor import report

    try:
        return report.write(Path.cwd(), machine, findings, tried)
    except OSError as problem:
        raise ConfigError(
            f"The report cannot be written into {Path.cwd()}: {problem.strerror}.",
            hint="Run it in a folder where you may write.",
        ) from problem
