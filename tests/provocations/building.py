"""Errors while runners and emulated phones are built: tools that fail, packages that lack something, a stuck start."""

import os
import platform
import sys
import zipfile
from pathlib import Path

import pytest

from device_profiler import debian, toolchain
from device_profiler.emulator import phone, vm
from device_profiler.emulator.host_tools import HostTools, host_tools
from device_profiler.emulator.registry import EmulatedPhone, start_time, write_state
from device_profiler.links import usb_class
from device_profiler.runner import wheels
from device_profiler.runner.build import _debian_libraries
from device_profiler.runner.wheels import Wheel
from device_profiler.sample_export import _write_parquet
from device_profiler.store import Store
from device_profiler.toolchain import Compiler


def _program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def package_look_up_without_apt(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("PATH", "")
    debian.direct_dependencies("linux-image-arm64", suite="bookworm", architecture="arm64")


def packages_without_a_library(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(debian, "fetch", lambda *names, **options: folder)
    _debian_libraries()


def package_that_names_no_kernel(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(debian, "direct_dependencies", lambda *names, **options: ("libc6",))
    vm._gather_kernel(folder)


def compiler_that_does_not_run(folder: Path, patch: pytest.MonkeyPatch) -> None:
    toolchain._version(_program(folder / "g++", "echo 'cc1plus: error: wrong ELF class' >&2; exit 1"), {})


def compiler_that_does_not_end(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(toolchain, "COMPILE_TIMEOUT_S", 0.2)
    (folder / "clock.c").write_text("")
    stuck = _program(folder / "gcc", "exec sleep 60")
    Compiler(stuck, stuck, "1.0").compile([folder / "clock.c"], "clock", language="c")


def machine_that_emulates_nothing(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(platform, "machine", lambda: "riscv64")
    host_tools()


def program_that_qemu_does_not_run(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(platform, "machine", lambda: "x86_64")
    _program(folder / "lib/ld-linux-x86-64.so.2", "echo 'qemu: uncaught target signal 4' >&2; exit 1")
    HostTools(folder).run(folder, "/system/bin/sh", "-c", "true")


def phone_whose_supervisor_does_not_start(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sys, "executable", str(_program(folder / "python", "echo 'no module named encodings' >&2; exit 1")))
    phone._start_supervisor(folder)


def phone_that_does_not_answer(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(phone, "BOOT_TIMEOUT_S", 0.0)
    phone._wait_until_up(folder)


def phone_that_does_not_end(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Signals that change nothing: what a process in the middle of a kernel call does with them."""
    patch.setattr(phone, "STOP_TIMEOUT_S", 0.0)
    patch.setattr(phone, "_end", lambda *words: None)
    own = os.getpid()
    write_state(EmulatedPhone("127.0.0.1:40000", "namespace", "pixel7", str(folder), own, start_time(own)))
    phone._take_down(folder)


def _wheel(folder: Path) -> None:
    """A wheel that pip takes for every machine, in the only place where it looks."""
    with zipfile.ZipFile(folder / "little-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("little-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: little\nVersion: 1.0\n")
        archive.writestr("little-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("little-1.0.dist-info/RECORD", "")


def _only_index(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("PIP_CONFIG_FILE", os.devnull)
    patch.setenv("PIP_NO_INDEX", "1")
    patch.setenv("PIP_FIND_LINKS", str(folder))


def wheel_that_is_nowhere(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _only_index(folder, patch)
    wheels._download(Wheel("little", ()), "1.0", folder / "unpacked")


def wheel_without_a_library(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _wheel(folder)
    _only_index(folder, patch)
    wheels._download(Wheel("little", ("little/liblittle.so",)), "1.0", folder / "unpacked")


def wheel_that_takes_too_long(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(wheels, "_DOWNLOAD_TIMEOUT_S", 0.01)
    wheels._pip_download("little==1.0", folder)


def usb_without_its_library(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setitem(sys.modules, "adb_shell.transport.usb_transport", None)
    usb_class()


def store_without_its_driver(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setitem(sys.modules, "psycopg", None)
    Store("postgresql://lab@127.0.0.1:9/measurements")


def table_without_its_package(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setitem(sys.modules, "pyarrow", None)
    _write_parquet(iter(()), folder / "samples.parquet")
