"""Exporting in processes of its own: two known failures end the interpreter, and two exports use two cores."""

import io
import pickle
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch

from device_profiler.abreast import abreast
from device_profiler.errors import PipelineError
from device_profiler.targets import Precision
from mobile_export.artifact import Artifact
from mobile_export.exporters import Calibration, exporter
from mobile_export.program import Program
from mobile_export.worker import WorkerCrash, WorkerProcess

EXPORT_TIMEOUT = 1800.0
"""Seconds that one export may take."""


@dataclass(frozen=True)
class ExportJob:
    """One artifact to write: what `exporter(runtime)` takes."""

    runtime: str
    programs: tuple[Program, ...]
    destination: Path
    precision: Precision
    calibration: Calibration | None = None


def export_in_worker(
    runtime: str,
    programs: Sequence[Program],
    destination: Path,
    *,
    precision: Precision,
    calibration: Calibration | None = None,
    threads: int = 1,
) -> Artifact:
    """`exporter(runtime)(...)` in a fresh process, which may crash without harm.

    Modules travel pickled, through a pipe, never over a file: their classes must be importable.

    Raises:
        InputError: as the exporter does.
        VerificationError: as the exporter does, or the process crashed: the programs that do by themselves are named.
    """
    job = ExportJob(runtime, tuple(programs), destination, precision, calibration)
    try:
        return _export(job, threads)
    except WorkerCrash as crash:
        if len(job.programs) == 1:
            raise
        crashing = _crashing(job, threads)
        told = f"{', '.join(crashing)} by itself does" if crashing else "none of its programs does so by itself"
        raise WorkerCrash(f"{crash}; {told}") from crash


def _export(job: ExportJob, threads: int) -> Artifact:
    with WorkerProcess(_open, threads) as worker:
        # Pickled here: multiprocessing's own pickler would hand tensors over in shared memory, which may be small.
        buffer = io.BytesIO()
        pickle.Pickler(buffer, protocol=5).dump(job)
        doing = f"exporting {job.destination.name} with {job.runtime}"
        return cast(Artifact, worker.request(buffer.getvalue(), doing, EXPORT_TIMEOUT))


def _crashing(job: ExportJob, threads: int) -> list[str]:
    """Names of the programs that crash when exported by themselves, found by halving a set that crashes."""
    middle = len(job.programs) // 2
    found: list[str] = []
    for half in (job.programs[:middle], job.programs[middle:]):
        with tempfile.TemporaryDirectory() as folder:
            part = replace(job, programs=half, destination=Path(folder) / job.destination.name)
            try:
                _export(part, threads)
            except WorkerCrash:
                found += [half[0].name] if len(half) == 1 else _crashing(part, threads)
            except PipelineError:
                continue  # an entry without its neighbours may be refused: that is no crash
    return found


def export_in_parallel(jobs: Sequence[ExportJob], at_once: int = 2) -> tuple[Artifact, ...]:
    """Each job in a process of its own, `at_once` at a time; artifacts in the jobs' order.

    Raises:
        InputError, VerificationError: the first failed job's, once the running ones have ended.
    """
    return tuple(abreast(_export_job, jobs, at_once))


def _export_job(job: ExportJob) -> Artifact:
    return export_in_worker(
        job.runtime, job.programs, job.destination, precision=job.precision, calibration=job.calibration
    )


def _open(threads: int) -> Callable[[object], object]:
    torch.set_num_threads(threads)

    def answer(request: object) -> object:
        job = pickle.loads(cast(bytes, request))
        return exporter(job.runtime)(
            job.programs, job.destination, precision=job.precision, calibration=job.calibration
        )

    return answer
