"""Exporting in processes of its own: two known failures end the interpreter, and two exports use two cores."""

import io
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from device_profiler.targets import Precision
from mobile_export.artifact import Artifact
from mobile_export.exporters import Calibration, exporter
from mobile_export.program import Program
from mobile_export.worker import WorkerProcess

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
        VerificationError: as the exporter does, or the process crashed.
    """
    job = ExportJob(runtime, tuple(programs), destination, precision, calibration)
    with WorkerProcess(_open, threads) as worker:
        # Pickled here: multiprocessing's own pickler would hand tensors over in shared memory, which may be small.
        buffer = io.BytesIO()
        pickle.Pickler(buffer, protocol=5).dump(job)
        doing = f"exporting {destination.name} with {runtime}"
        return cast(Artifact, worker.request(buffer.getvalue(), doing, EXPORT_TIMEOUT))


def export_in_parallel(jobs: Sequence[ExportJob], at_once: int = 2) -> tuple[Artifact, ...]:
    """Each job in a process of its own, `at_once` at a time; artifacts in the jobs' order.

    Raises:
        InputError, VerificationError: the first failed job's, once the running ones have ended.
    """
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        return tuple(pool.map(_export_job, jobs))


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
