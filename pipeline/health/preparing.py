"""Fetches and builds what phone, runners and sample data need, and says how each went."""

from collections.abc import Callable

from device_profiler.device import open_device
from device_profiler.runner.build import build_runner
from device_profiler.targets import all_targets
from device_profiler.toolchain import INSTALL_CROSS_COMPILER, cross_compiler, host_compiler
from pipeline.data.sample import fetch_packages
from pipeline.health.check import Check, attempt
from pipeline.health.machine import REAL_PHONE

AREA = "prepared"


def prepare(note: Callable[[str], None]) -> list[Check]:
    """Everything into the cache, nothing on the host; `note` tells what goes on."""
    steps: list[tuple[str, Callable[[], str], str]] = [
        ("host compiler", lambda: host_compiler().version, "install g++"),
        ("arm64 compiler", lambda: cross_compiler().version, INSTALL_CROSS_COMPILER),
        ("runner for executorch", lambda: build_runner("executorch").key[:12], "see `doctor -v`"),
        ("runner for litert", lambda: build_runner("litert").key[:12], "see `doctor -v`"),
        ("emulated phone boots", _boot, REAL_PHONE),
        ("sample data", _sample, "use --data shapes or --data folder:PATH"),
    ]
    found = []
    for name, step, remedy in steps:
        note(f"preparing: {name}")
        found.append(attempt(AREA, name, step, remedy))
    return found


def _boot() -> str:
    with open_device("emulated", all_targets()[0]) as device:
        uname = device.transport.shell("uname -m").output.strip()
        return f"{device.identity.model} ({device.identity.properties.get('ro.mess.form')}) answers {uname}"


def _sample() -> str:
    return f"{len(fetch_packages().versions)} packages"
