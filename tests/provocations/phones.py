"""Errors of phones that misbehave, raised on this machine in a phone's place: its real shell, a command amiss."""

import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from device_profiler import benchmark_tool, leases, self_test
from device_profiler.device import Device
from device_profiler.measurement import DeviceIdentity
from device_profiler.runner.build import RunnerFolder
from device_profiler.runner.client import Runner, push_archive
from device_profiler.runner.detached import DetachedRun, Finished
from device_profiler.transport import ShellResult
from device_profiler.verified_transfer import VerifiedTransport
from tests.device_profiler.local_transport import LocalTransport

NO_PROGRAM = RunnerFolder("executorch_runner", "executorch", "1.0", Path("runner.tar"), "0" * 24, own_loader=False)


@dataclass
class Amiss(LocalTransport):
    """This machine's shell; `before` redefines commands of it."""

    before: str = ""

    def shell(self, command: str, *, timeout_s: float = 30.0) -> ShellResult:
        return super().shell(f"{self.before}\n{command}", timeout_s=timeout_s)


class NoExitCodes(LocalTransport):
    """As phones before Android 7 answer: without the command's exit code."""

    def shell(self, command: str, *, timeout_s: float = 30.0) -> ShellResult:
        return ShellResult(0, super().shell(command, timeout_s=timeout_s).output)


class Altering(LocalTransport):
    """A way that alters a file and does not notice."""

    def pull(self, remote: str, local: Path, *, timeout_s: float = 120.0) -> None:
        local.write_bytes(Path(remote).read_bytes()[:-1])


def _tried(trial: Callable[[Device], str], transport: LocalTransport) -> None:
    identity = DeviceIdentity("x", "Pixel 7", "GS201", "arm64-v8a", "14", "f", emulated=True, clock="virtual")
    trial(Device(transport, identity))


def exit_codes_that_are_lost(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _tried(self_test._exit_codes, NoExitCodes())


def df_that_can_not_be_read(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _tried(self_test._storage, Amiss(before="df() { echo 'df: no such mount'; }"))


def full_storage(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _tried(self_test._storage, Amiss(before="df() { echo '/dev/x 9000000 8980000 20000 99% /data'; }"))


def file_that_comes_back_changed(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(self_test, "DEVICE_FOLDER", str(folder / "phone"))
    _tried(self_test._round_trip, Altering())


def clock_that_stands_still(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _tried(self_test._clock, Amiss(before="cat() { echo '86400.5 100'; }; sleep() { true; }"))


def clock_that_can_not_be_read(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _tried(self_test._clock, Amiss(before="cat() { false; }; date() { echo never; }"))


def runner_that_does_not_start(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(self_test, "install", lambda transport, runtime: Runner(transport, NO_PROGRAM, str(folder)))
    _tried(self_test._runner, LocalTransport())


def lease_without_uptime(folder: Path, patch: pytest.MonkeyPatch) -> None:
    leases._read_on_phone(Amiss(before="read() { false; }; date() { echo never; }"))


def folder_that_a_tool_may_not_make(folder: Path, patch: pytest.MonkeyPatch) -> None:
    benchmark_tool._succeed(LocalTransport(), "mkdir -p /proc/tools")


def folder_that_a_runner_may_not_make(folder: Path, patch: pytest.MonkeyPatch) -> None:
    push_archive(LocalTransport(), Path("runner.tar"), "/proc/runners")


def results_that_are_too_few(folder: Path, patch: pytest.MonkeyPatch) -> None:
    Runner(LocalTransport(), NO_PROGRAM, str(folder))._checked(Finished(0, ('{"done":true}',), ""), 3, Path("m.pte"))


def run_that_can_not_start(folder: Path, patch: pytest.MonkeyPatch) -> None:
    DetachedRun(LocalTransport(), str(folder / "run")).start("true")


def run_whose_folder_is_gone(folder: Path, patch: pytest.MonkeyPatch) -> None:
    DetachedRun(LocalTransport(), str(folder / "run")).wait(1.0, lambda done: None)


def run_with_a_garbled_state(folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / "run" / "started").mkdir(parents=True)
    DetachedRun(Amiss(before="cat() { echo 0x; }"), str(folder / "run"))._state()


def run_with_garbled_results(folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / "run").mkdir()
    (folder / "run" / "exit").write_text("0\n")
    (folder / "run" / "results").write_text('{"done":true}\n')
    DetachedRun(Amiss(before='tail() { command tail "$@" | tr t T; }'), str(folder / "run"))._poll()


class Cable(VerifiedTransport):
    """To this machine: a cable that loses a byte of a file where it is told to, and a shell with one command amiss."""

    def __init__(self, before: str = "", *, loses: bool = False) -> None:
        super().__init__("this machine")
        self._transport, self._loses = Amiss(before=before), loses

    def close(self) -> None:
        pass

    @contextmanager
    def _bounded(self, action: str, timeout_s: float) -> Iterator[None]:
        yield

    def _shell(self, command: str) -> ShellResult:
        return self._transport.shell(command)

    def _raw_shell(self, line: str) -> bytes:
        raise AssertionError

    def _send(self, local: Path, remote: str, mode: int) -> None:
        self._copy(local, Path(remote))

    def _receive(self, remote: str, local: Path) -> None:
        self._copy(Path(remote), local)

    def _copy(self, source: Path, destination: Path) -> None:
        shutil.copy(source, destination)
        if self._loses:
            destination.write_bytes(source.read_bytes()[1:])


def _file(folder: Path) -> Path:
    (folder / "local").write_text("weights")
    return folder / "local"


def file_that_changes_on_its_way_to_the_phone(folder: Path, patch: pytest.MonkeyPatch) -> None:
    Cable(loses=True).push(_file(folder), str(folder / "remote"))


def file_that_changes_on_its_way_from_the_phone(folder: Path, patch: pytest.MonkeyPatch) -> None:
    Cable(loses=True).pull(str(_file(folder)), folder / "back")


def file_that_the_phone_does_not_keep(folder: Path, patch: pytest.MonkeyPatch) -> None:
    remote = shlex.quote("remote")
    Cable("mv() { echo 'mv: Read-only file system'; return 1; }").push(_file(folder), remote)
