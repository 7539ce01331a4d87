"""What works on this machine, what is missing, and the command that mends it; and fetching what can be fetched."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from device_profiler import debian
from device_profiler.device import open_device
from device_profiler.emulator.forms import choose_form
from device_profiler.emulator.registry import list_phones
from device_profiler.errors import InputError, PipelineError
from device_profiler.links import attached_serials
from device_profiler.runner.build import build_runner
from device_profiler.targets import all_targets
from device_profiler.toolchain import INSTALL_CROSS_COMPILER, cross_compiler, host_compiler
from pipeline.data.sample import fetch_packages

State = Literal["works", "missing", "note"]
PACKAGES = ("torch", "torchvision", "executorch", "ai-edge-litert", "litert-torch", "timm", "adb-shell", "numpy")
_REAL_PHONE = "attach a phone (--device SERIAL or HOST:PORT)"


@dataclass(frozen=True)
class Check:
    """One finding. `remedy` is the command or step that mends what is missing."""

    name: str
    state: State
    detail: str
    remedy: str = ""


def examine() -> list[Check]:
    """Look without fetching anything."""
    return [
        _python(),
        *[_package(name) for name in PACKAGES],
        _attempt("apt", _apt, f"without it: {_REAL_PHONE}, use --data folder:PATH, and {INSTALL_CROSS_COMPILER}"),
        _attempt("emulated phone", _emulated, _REAL_PHONE),
        _phones(),
    ]


def prepare(note: Callable[[str], None]) -> list[Check]:
    """Fetch and build what phone, runners and sample data need into the cache; `note` tells what goes on."""
    steps: list[tuple[str, Callable[[], str], str]] = [
        ("host compiler", lambda: host_compiler().version, "install g++"),
        ("arm64 compiler", lambda: cross_compiler().version, INSTALL_CROSS_COMPILER),
        ("runner for executorch", lambda: build_runner("executorch").key[:12], "see `doctor -v`"),
        ("runner for litert", lambda: build_runner("litert").key[:12], "see `doctor -v`"),
        ("emulated phone boots", _boot, _REAL_PHONE),
        ("sample data", _sample, "use --data shapes or --data folder:PATH"),
    ]
    found = []
    for name, step, remedy in steps:
        note(f"preparing: {name}")
        found.append(_attempt(name, step, remedy))
    return found


def _attempt(name: str, step: Callable[[], str], remedy: str) -> Check:
    try:
        return Check(name, "works", step())
    except PipelineError as error:
        return Check(name, "missing", str(error), remedy)


def _python() -> Check:
    version = sys.version.split()[0]
    enough = sys.version_info >= (3, 11)
    return Check("python", "works" if enough else "missing", version, "" if enough else "install Python 3.11 or newer")


def _package(name: str) -> Check:
    try:
        return Check(name, "works", metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, "missing", "not installed", "python -m pip install -e .")


def _apt() -> str:
    if not debian.available():
        raise InputError("there is no apt and dpkg on this machine: no emulated phone and no sample data")
    return f"{debian.host_suite()} {debian.host_architecture()}"


def _emulated() -> str:
    if not debian.available():
        raise InputError("it is built from Debian packages, which can't be fetched here")
    return choose_form().reason()


def _phones() -> Check:
    attached, emulated = attached_serials(), [phone.address for phone in list_phones()]
    if attached or emulated:
        return Check(
            "phones", "works", f"attached: {', '.join(attached) or 'none'}; emulated: {', '.join(emulated) or 'none'}"
        )
    if not debian.available():
        return Check("phones", "missing", "none attached, and none can be emulated here", _REAL_PHONE)
    return Check("phones", "note", "none attached; `deploy` starts an emulated one and says so", "")


def _boot() -> str:
    with open_device("emulated", all_targets()[0]) as device:
        uname = device.transport.shell("uname -m").output.strip()
        return f"{device.identity.model} ({device.identity.properties.get('ro.mess.form')}) answers {uname}"


def _sample() -> str:
    return f"{len(fetch_packages().versions)} packages"
