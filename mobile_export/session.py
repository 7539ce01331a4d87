"""Running an artifact on this machine, in a process of its own, entry by entry or as the deployed cascade."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

from device_profiler.errors import InputError
from device_profiler.workload import Array, CascadePlan
from mobile_export.glue.python.cascade import Pace, real_confidence, run_stages
from mobile_export.runtimes import HostRuntime, load
from mobile_export.worker import WorkerProcess

__all__ = ["CascadeResult", "HostSession", "real_confidence", "run_cascade"]

LOAD_S, RUN_S = 120.0, 300.0
"""Limits for a small file: to start the process and load it, and for one request."""
_SLOWEST_BYTES_S = 0.5e6


@dataclass(frozen=True)
class CascadeResult:
    """One image through a deployment.

    `exit`: position in `plan.stages` where it left; `confidences`: real values of the stages run, without the last
    stage's (it has none); `labels`: int32 [1, H, W]; `host_ns`: wall time of the loop on this machine, not a phone's.
    """

    exit: int
    confidences: tuple[float, ...]
    labels: Array
    host_ns: int


@dataclass(frozen=True)
class _Run:
    entry: str
    inputs: tuple[Array, ...]


@dataclass(frozen=True)
class _Cascade:
    plan: CascadePlan
    image: Array
    deadline_ns: float


class HostSession:
    """A worker process that has an artifact loaded; use as a context manager.

    Arrays are as stored: int8 where the entry is int8, in the layout of the entry's ports (see
    `boundary.to_stored`). A crash of the runtime raises VerificationError that names the entry; the session is then
    over.
    """

    def __init__(self, artifact: Path, runtime: str, threads: int = 1) -> None:
        """`runtime`: "executorch", "litert" or "coreml".

        Loading may take LOAD_S, a request RUN_S (the first of an entry lays out its weights), and both longer the
        larger the file is; the environment variable `mobile_export.worker.PATIENCE` multiplies that.

        Raises:
            InputError: the artifact is absent or the runtime unknown.
            VerificationError: the runtime doesn't load the file, or took too long.
        """
        if not artifact.exists():
            raise InputError(f"no artifact at {artifact}: give the path of an exported file")
        self._path = artifact
        size_s = _size(artifact) / _SLOWEST_BYTES_S
        self._run_s = RUN_S + size_s
        self._worker = WorkerProcess(_open, artifact, runtime, threads)
        try:
            loading = self._worker.request(None, f"loading {artifact.name}", LOAD_S + size_s)
            self.entries = cast(tuple[str, ...], loading)
        except BaseException:
            self._worker.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker process."""
        self._worker.close()

    def run(self, entry: str, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Outputs of `entry`, in the order of the program's outputs.

        Raises:
            InputError: no such entry.
            VerificationError: the runtime refused, crashed or took too long.
        """
        self._known(entry)
        doing = f"entry {entry!r} of {self._path.name}"
        return cast(tuple[Array, ...], self._worker.request(_Run(entry, inputs), doing, self._run_s))

    def run_cascade(self, plan: CascadePlan, image: Array, deadline_ns: float = math.inf) -> CascadeResult:
        """Run `plan` on `image` (as the first stage stores it), leaving at the first confident exit.

        `deadline_ns`: leaving sooner where the next stage would not end in time, by what it took here before.

        Raises:
            InputError: the plan names an entry that the artifact lacks.
            VerificationError: the runtime refused, crashed or took too long.
        """
        for entry in (*plan.stages, *plan.finish):
            self._known(entry)
        doing = f"cascade {' -> '.join(plan.stages)} of {self._path.name}"
        return cast(CascadeResult, self._worker.request(_Cascade(plan, image, deadline_ns), doing, self._run_s))

    def _known(self, entry: str) -> None:
        if entry not in self.entries:
            raise InputError(f"{self._path.name} has no entry {entry!r}: it has {', '.join(self.entries)}")


def _size(artifact: Path) -> int:
    """Bytes of a file, or of a package's files."""
    files = artifact.rglob("*") if artifact.is_dir() else [artifact]
    return sum(file.stat().st_size for file in files if file.is_file())


def _open(path: Path, runtime: str, threads: int) -> Callable[[object], object]:
    loaded, pace = load(path, runtime, threads), Pace()

    def answer(request: object) -> object:
        if isinstance(request, _Run):
            return loaded.run(request.entry, request.inputs)
        if isinstance(request, _Cascade):
            return run_cascade(loaded, request.plan, request.image, pace, request.deadline_ns)
        return loaded.entries

    return answer


def run_cascade(
    runtime: HostRuntime, plan: CascadePlan, image: Array, pace: Pace | None = None, deadline_ns: float = math.inf
) -> CascadeResult:
    """The host's loop of a deployment, by the reference code that every bundle carries; `deadline_ns` from here on."""
    ends_ns = time.perf_counter_ns() + deadline_ns
    result = run_stages(runtime, plan.stages, plan.finish, plan.thresholds, image, pace, ends_ns)
    return CascadeResult(result.exit, result.confidences, result.labels, result.host_ns)
