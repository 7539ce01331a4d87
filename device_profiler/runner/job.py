"""Writes what a runner reads: the job file (its format is described in source/job.h) and the inputs file."""

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from device_profiler.errors import InputError
from device_profiler.files import sha256_bytes
from device_profiler.golden import GOLDEN_ENTRY
from device_profiler.workload import Array, Call, CascadePlan

_ALIGNMENT = 64
GOLDEN_VISIT = -1
"""In place of the number of a call or path: a visit to the golden model."""
_GOLDEN_FILE = "golden"


@dataclass(frozen=True)
class Repetitions:
    """How often an entry point runs: once, then `warmup` untimed times, then `iterations` timed ones. The runner
    ends itself after `limit_s` of wall time."""

    warmup: int
    iterations: int
    threads: int = 1
    limit_s: float = 0.0

    def __post_init__(self) -> None:
        if self.warmup < 0 or self.iterations < 0 or self.threads < 1:
            raise InputError(f"{self}: warmup and iterations must be >= 0, threads >= 1")


@dataclass(frozen=True)
class Settle:
    """A visit warms up until the coefficient of variation over its last `window` runs is at most `variation`, for
    `most` runs at most."""

    window: int
    variation: float
    most: int


@dataclass(frozen=True)
class Sustain:
    """One call or path without a pause for `seconds` of the phone's clock, reported in windows of `window_ms`."""

    subject: int
    seconds: int
    window_ms: int


@dataclass(frozen=True)
class Schedule:
    """What a process does after each call or path ran once: `visits` to them by number (GOLDEN_VISIT: to the golden
    model), each with its warm-up and `iterations` timed runs, then a sustained run."""

    visits: tuple[int, ...] = ()
    iterations: int = 0
    settle: Settle | None = None
    sustain: Sustain | None = None
    golden: Path | None = None

    def lines(self) -> list[str]:
        """The job's directives; the golden model lies beside the job."""
        lines = [f"golden {_GOLDEN_FILE} {GOLDEN_ENTRY}"] if self.golden else []
        if self.settle:
            lines.append(f"settle {self.settle.window} {round(self.settle.variation * 1000)} {self.settle.most}")
        lines += [f"visit {'golden' if visit == GOLDEN_VISIT else visit}" for visit in self.visits]
        if self.sustain:
            lines.append(f"sustain {self.sustain.subject} {self.sustain.seconds} {self.sustain.window_ms}")
        return lines

    def put_golden(self, folder: Path) -> tuple[Path, ...]:
        """Copy the golden model into the job's folder; the files to send along."""
        if self.golden is None:
            return ()
        return (Path(shutil.copy(self.golden, folder / _GOLDEN_FILE)),)


NO_SCHEDULE = Schedule()


@dataclass
class _InputFile:
    """Collects arrays into one file; equal arrays are stored once."""

    path: Path
    _size: int = 0
    _offsets: dict[str, int] = field(default_factory=dict)

    def add(self, array: Array) -> str:
        """The words "OFFSET DTYPE SHAPE" under which a job names the array."""
        stored = np.ascontiguousarray(array)
        content = stored.astype(stored.dtype.newbyteorder("<"), copy=False).tobytes()
        key = sha256_bytes(content)
        if key not in self._offsets:
            self._offsets[key] = self._append(content)
        shape = ",".join(map(str, array.shape)) or "-"
        return f"{self._offsets[key]} {array.dtype.name} {shape}"

    def _append(self, content: bytes) -> int:
        offset = -(-self._size // _ALIGNMENT) * _ALIGNMENT
        with self.path.open("ab") as stream:
            stream.write(b"\0" * (offset - self._size) + content)
        self._size = offset + len(content)
        return offset


def write_calls(
    folder: Path, model: str, calls: Sequence[Call], repetitions: Repetitions, schedule: Schedule = NO_SCHEDULE
) -> None:
    """Write `job` and `inputs` into `folder`, which is to hold the model under the name `model` on the device.

    Raises:
        InputError: no calls, or an entry's name that the job file can't hold.
    """
    if not calls:
        raise InputError("a run needs at least one call")
    inputs = _InputFile(folder / "inputs")
    lines = []
    for call in calls:
        lines.append(f"call {_word(call.entry)}")
        lines += [f"input {inputs.add(array)}" for array in call.inputs]
    _write(folder, model, repetitions, [*lines, *schedule.lines()])


def write_cascade(
    folder: Path,
    model: str,
    plan: CascadePlan,
    images: Sequence[Array],
    repetitions: Repetitions,
    schedule: Schedule = NO_SCHEDULE,
) -> None:
    """Likewise for a cascade over `images`, each as its first stage takes it.

    Raises:
        InputError: no images, or a plan whose thresholds or finish do not fit its stages.
    """
    _check_plan(plan)
    if not images:
        raise InputError("a cascade needs at least one image")
    inputs = _InputFile(folder / "inputs")
    thresholds = [f"{np.float32(threshold):.9g}" for threshold in plan.thresholds] + ["last"]
    lines = [f"stage {_word(stage)} {limit}" for stage, limit in zip(plan.stages, thresholds, strict=True)]
    lines += [f"finish {_word(entry)}" for entry in plan.finish]
    lines += [f"image {inputs.add(image)}" for image in images]
    _write(folder, model, repetitions, [*lines, *schedule.lines()])


def write_watches(folder: Path, model: str, entries: Sequence[str], repetitions: Repetitions) -> None:
    """Likewise for entries that are run once on zeros each, to tell what ran.

    Raises:
        InputError: no entries, or a name that the job file can't hold.
    """
    if not entries:
        raise InputError("nothing to watch: give at least one entry")
    _write(folder, model, repetitions, [f"watch {_word(entry)}" for entry in entries])


def _check_plan(plan: CascadePlan) -> None:
    if len(plan.thresholds) != len(plan.stages) - 1:
        raise InputError(
            f"{len(plan.stages)} stages take {len(plan.stages) - 1} thresholds, not {len(plan.thresholds)}"
        )
    if len(plan.finish) != len(plan.stages) - 1:
        raise InputError(
            f"{len(plan.stages)} stages take {len(plan.stages) - 1} finish entries (the last stage gives labels "
            f"itself), not {len(plan.finish)}"
        )
    if any(np.isnan(threshold) for threshold in plan.thresholds):
        raise InputError(f"thresholds must be numbers: {plan.thresholds}")


def _write(folder: Path, model: str, repetitions: Repetitions, lines: Sequence[str]) -> None:
    (folder / "inputs").touch()
    head = ["job 1", f"model {_word(model)}", "inputs inputs", "results results", "outputs outputs"]
    head += [f"threads {repetitions.threads}", f"warmup {repetitions.warmup}", f"iterations {repetitions.iterations}"]
    head.append(f"limit {math.ceil(repetitions.limit_s)}")
    (folder / "job").write_text("\n".join([*head, *lines]) + "\n")


def _word(name: str) -> str:
    if not name or any(character.isspace() for character in name):
        raise InputError(f"the name {name!r} is empty or has a space in it: a job file can't hold it")
    return name
