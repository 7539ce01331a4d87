"""Runs artifacts on a device by its native runner: install once, then calls or whole cascades."""

import shlex
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from device_profiler.errors import DeviceError, InputError, VerificationError
from device_profiler.files import sha256_bytes, sha256_path
from device_profiler.leases import LeasedTransport
from device_profiler.runner.build import RunnerFolder, build_runner, write_archive
from device_profiler.runner.detached import DEVICE_FOLDER as DEVICE_FOLDER
from device_profiler.runner.detached import DetachedRun, Finished, StayedAwayError
from device_profiler.runner.job import NO_SCHEDULE, Repetitions, Schedule, write_calls, write_cascade, write_watches
from device_profiler.runner.results import (
    CallResult,
    CascadeResult,
    EntryEvents,
    Visit,
    Window,
    call_results,
    cascade_results,
    entry_events,
    error_of,
    is_done,
    visits,
    windows,
)
from device_profiler.runner.wheels import Machine
from device_profiler.targets import Runtime
from device_profiler.transport import ConnectionLostError, DeviceTimeoutError, Transport
from device_profiler.workload import Array, Call, CascadePlan

_SLOWEST_PUSH_BYTES_S = 2e6
_LINK_TIMEOUT_S = 60.0
_PUSH_START_S, _PUSH_ATTEMPTS = 20.0, 3
# The runner ends itself a little after the host would have ended it.
_LIMIT_MARGIN_S = 60.0

Progress = Callable[[int, int], None]
"""Called with the number of results so far and of all."""
Result = TypeVar("Result")


def no_progress(done: int, total: int) -> None:
    """Shows nothing."""


@dataclass(frozen=True)
class Scheduled(Generic[Result]):
    """What a schedule gave: results of the first runs (no samples), its visits, the sustained run's windows."""

    results: list[Result]
    visits: tuple[Visit, ...]
    windows: tuple[Window, ...]


@dataclass(frozen=True)
class KeptLaunch:
    """One of a session of several. Its results stay on the phone until the session is forgotten: a host that is killed
    loses none of them. `session`: a word that differs where sessions do, for it is part of a folder's name."""

    session: str
    number: int


@dataclass(frozen=True)
class Runner:
    """A runner on a device. `root` is the folder on the device that holds runners and runs.

    `cores`: hexadecimal mask of the cores that it is kept to, or None.
    """

    transport: Transport
    program: RunnerFolder
    root: str
    cores: str | None = None

    @property
    def version(self) -> str:
        """Runtime with its version, and the hash of what was pushed."""
        return f"{self.program.runtime} {self.program.runtime_version} {self.program.key[:12]}"

    def run(
        self,
        artifact: Path,
        calls: Sequence[Call],
        *,
        warmup: int,
        iterations: int,
        threads: int = 1,
        timeout_s: float = 600.0,
        progress: Progress = no_progress,
    ) -> list[CallResult]:
        """Run entry points of `artifact` one after the other, in one process; a result for each call, in order.

        Raises:
            InputError: no such file, or no calls.
            VerificationError: the artifact can't do it (missing entry, wrong input, damaged file); says why.
            DeviceError: the device failed: away, out of space or memory, out of time.
        """
        repetitions = Repetitions(warmup, iterations, threads, timeout_s + _LIMIT_MARGIN_S)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_calls(folder, artifact.name, calls, repetitions)
            lines = self._execute(artifact, folder, len(calls), NO_SCHEDULE, timeout_s, progress)
            return call_results(lines, folder / "outputs")

    def run_cascade(
        self,
        artifact: Path,
        plan: CascadePlan,
        images: Sequence[Array],
        *,
        warmup: int,
        iterations: int,
        threads: int = 1,
        timeout_s: float = 600.0,
        progress: Progress = no_progress,
    ) -> list[CascadeResult]:
        """Run a deployment over `images` (each as its first stage takes it) as an app would; a result for each.

        Raises: as `run`; VerificationError also where quantisations at a boundary between entries differ.
        """
        repetitions = Repetitions(warmup, iterations, threads, timeout_s + _LIMIT_MARGIN_S)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_cascade(folder, artifact.name, plan, images, repetitions)
            lines = self._execute(artifact, folder, len(images), NO_SCHEDULE, timeout_s, progress)
            return cascade_results(lines, folder / "outputs")

    def follow(
        self,
        artifact: Path,
        calls: Sequence[Call],
        schedule: Schedule,
        *,
        launch: KeptLaunch | None = None,
        threads: int = 1,
        timeout_s: float = 600.0,
        progress: Progress = no_progress,
    ) -> Scheduled[CallResult]:
        """Run each call once, then `schedule`, all in one process. Raises as `run`.

        `launch`: of a session, whose launches are on the phone until `forget`; asked for again, it is not run again.
        """
        repetitions = Repetitions(0, schedule.iterations, threads, timeout_s + _LIMIT_MARGIN_S)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_calls(folder, artifact.name, calls, repetitions, schedule)
            lines = self._execute(artifact, folder, len(calls), schedule, timeout_s, progress, launch)
            return _scheduled(call_results(lines[: len(calls)], folder / "outputs"), lines, schedule)

    def follow_cascade(
        self,
        artifact: Path,
        plan: CascadePlan,
        image: Array,
        schedule: Schedule,
        *,
        launch: KeptLaunch | None = None,
        threads: int = 1,
        timeout_s: float = 600.0,
        progress: Progress = no_progress,
    ) -> Scheduled[CascadeResult]:
        """Likewise for the paths of a deployment on one image; visit n is to the path that leaves at exit n."""
        repetitions = Repetitions(0, schedule.iterations, threads, timeout_s + _LIMIT_MARGIN_S)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_cascade(folder, artifact.name, plan, [image], repetitions, schedule)
            lines = self._execute(artifact, folder, 1, schedule, timeout_s, progress, launch)
            return _scheduled(cascade_results(lines[:1], folder / "outputs"), lines, schedule)

    def watch(self, artifact: Path, entries: Sequence[str], *, timeout_s: float = 600.0) -> tuple[EntryEvents, ...]:
        """What a run of each entry comes to: what a delegate took, and what the runtime's own kernels did.

        For ExecuTorch alone: LiteRT's runtime tells no such events. Raises as `run`.
        """
        repetitions = Repetitions(0, 0, limit_s=timeout_s + _LIMIT_MARGIN_S)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_watches(folder, artifact.name, entries, repetitions)
            return entry_events(self._execute(artifact, folder, len(entries), NO_SCHEDULE, timeout_s, no_progress))

    def forget(self, session: str) -> None:
        """Remove a session's launches from the phone: they count, or never will.

        Raises:
            DeviceError: the phone stayed away; the session, asked for again, is collected whole.
        """
        run = DetachedRun(self.transport, f"{self.root}/runs/{session}")
        run.patiently(lambda: _succeed(self.transport, f"rm -rf {shlex.quote(run.folder)}-*"))

    def _execute(
        self,
        artifact: Path,
        folder: Path,
        first: int,
        schedule: Schedule,
        timeout_s: float,
        progress: Progress,
        launch: KeptLaunch | None = None,
    ) -> tuple[str, ...]:
        """Push, run, collect: the result lines without the last, and `folder`/outputs.

        A run is named by its content: one that was started by a host which was cut off is collected, not run again.
        Collected is what has left the phone, and for a launch what was never collected in its place: results never
        count twice.
        """
        if not artifact.is_file():
            raise InputError(f"artifact {artifact} does not exist; export it first")
        archive, total = folder / "job.tar", first + len(schedule.visits)
        write_archive(archive, (artifact, folder / "inputs", folder / "job", *schedule.put_golden(folder)))
        command = self._command()
        name = _run_id(archive, command, launch)
        run = DetachedRun(self.transport, f"{self.root}/runs/{name}", _owner(self.transport))
        ended = False
        try:
            if not run.adopt():
                run.send(archive, _push_timeout_s(archive))
                run.start(f"{command} {run.folder}/job")
            finished = run.wait(timeout_s, lambda done: progress(min(done, total), total))
            ended = True
            lines = self._checked(finished, None if schedule.sustain else total, artifact)
            run.patiently(lambda: _pull(self.transport, f"{run.folder}/outputs", folder / "outputs"))
            run.patiently(run.lighten if launch else run.remove)
            return lines
        except StayedAwayError:
            raise
        except BaseException:
            self._leave(run, ended)
            raise

    def _command(self) -> str:
        pinned = f"taskset {self.cores} " if self.cores else ""
        return f"{pinned}{self.program.command(self._program_folder)}"

    @property
    def _program_folder(self) -> str:
        return program_folder(self.root, self.program)

    def _checked(self, finished: Finished, total: int | None, artifact: Path) -> tuple[str, ...]:
        """The lines but the last; `total` of them, where that is known beforehand."""
        address, runtime = self.transport.address, self.program.runtime
        error = error_of(finished.lines)
        if error is not None:
            raise VerificationError(f"{artifact.name} failed on {address} ({runtime}): {error}")
        if finished.exit_code != 0:
            cause = (
                "was killed (out of memory?)" if finished.exit_code > 128 else f"ended with code {finished.exit_code}"
            )
            raise DeviceError(f"the {runtime} runner on {address} {cause}: {finished.log or 'it said nothing'}")
        if not is_done(finished.lines) or (total is not None and len(finished.lines) != total + 1):
            wanted = "a sustained run" if total is None else f"{total} runs"
            raise DeviceError(f"{address} gave {len(finished.lines)} lines of results for {wanted}; run it again")
        return finished.lines[:-1]

    def _leave(self, run: DetachedRun, ended: bool) -> None:
        """Stop what still runs and remove its folder; a phone that is away keeps them until the next `install`."""
        try:
            if not ended:
                run.kill()
            run.remove()
        except DeviceError:
            return


def _scheduled(results: list[Result], lines: Sequence[str], schedule: Schedule) -> Scheduled[Result]:
    first, last = len(results), len(results) + len(schedule.visits)
    return Scheduled(results, visits(lines[first:last]), windows(lines[last:]))


def install(transport: Transport, runtime: Runtime, *, machine: Machine = "phone", root: str = DEVICE_FOLDER) -> Runner:
    """Build the runner of `runtime` if need be and push it into `root` on the device, unless it is there already.

    `machine` is "host" when the transport leads to this machine instead of a phone. Leftovers of runs that are older
    than a day are removed.

    Raises:
        InputError: the runtime or a compiler is missing.
        DeviceError: the build, a download or the push failed.
    """
    program = build_runner(runtime, machine)
    push_program(transport, program, root)
    transport.shell(
        f"find {shlex.quote(root)}/runs -mindepth 1 -maxdepth 1 -mtime +1 -exec rm -rf {{}} + 2>/dev/null; true"
    )
    return Runner(transport, program, root)


def push_program(transport: Transport, program: RunnerFolder, root: str = DEVICE_FOLDER) -> str:
    """Push a program into its folder under `root` on the device, unless it is there already; gives that folder.

    Raises:
        DeviceError: the push failed.
    """
    folder = program_folder(root, program)
    listing = transport.shell(f"cat {shlex.quote(folder)}/complete 2>/dev/null")
    if listing.output.strip() != program.key:
        push_archive(transport, program.archive, folder)
        _succeed(transport, f"echo {program.key} > {shlex.quote(folder)}/complete")
    return folder


def program_folder(root: str, program: RunnerFolder) -> str:
    """Where a runner's files lie on the device."""
    return f"{root}/runners/{program.runtime}-{program.key[:12]}"


def push_archive(transport: Transport, archive: Path, folder: str) -> None:
    """Unpack a tar file into `folder` on the device.

    Raises:
        DeviceError: the push failed, or the phone refused.
    """
    place, remote = shlex.quote(folder), f"{folder}/{archive.name}"
    _succeed(transport, f"mkdir -p {place}")
    _push_again_if_stuck(transport, archive, remote)
    _succeed(transport, f"cd {place} && tar -xf {shlex.quote(archive.name)} && rm {shlex.quote(archive.name)}")


def _push_again_if_stuck(transport: Transport, file: Path, remote: str) -> None:
    """Large pushes over adb now and then hang for good: a push is whole or absent, so it is simply made again."""
    for _ in range(_PUSH_ATTEMPTS - 1):
        try:
            transport.push(file, remote, timeout_s=_push_timeout_s(file))
            return
        except (ConnectionLostError, DeviceTimeoutError):
            transport.close()
    transport.push(file, remote, timeout_s=_push_timeout_s(file))


def _run_id(archive: Path, command: str, launch: KeptLaunch | None) -> str:
    """What is run, and how: the same job has the same name, and every launch of it another."""
    content = sha256_bytes(sha256_path(archive).encode(), command.encode())[:16]
    return f"{launch.session}-{launch.number}-{content}" if launch else content


def _owner(transport: Transport) -> str:
    """The lease under which a run goes."""
    return transport.lease.token if isinstance(transport, LeasedTransport) else "none"


def _push_timeout_s(file: Path) -> float:
    return _PUSH_START_S + file.stat().st_size / _SLOWEST_PUSH_BYTES_S


def _succeed(transport: Transport, command: str) -> None:
    result = transport.shell(command, timeout_s=_LINK_TIMEOUT_S)
    if result.exit_code != 0:
        raise DeviceError(f"{transport.address} refused {command!r}: {result.output.strip()[-200:]}")


def _pull(transport: Transport, remote: str, file: Path) -> None:
    transport.pull(remote, file, timeout_s=_LINK_TIMEOUT_S * 5)
