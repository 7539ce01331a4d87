"""How a latency is taken: what runs how often, what makes a figure valid, and what it may be called.

- steady virtual clock (our emulated phone): deterministic, so the first run warms up and two samples suffice; emulated.
- wall clock (a real phone): awake, cool, charged, on its big cores; several launches, in each of which the entries are
  compared in blocks between runs of a golden model; the median with its bootstrap interval over the launches; measured.
  An emulated phone whose clock is disturbed is measured likewise; emulated.
- an NPU that is only emulated: the artifact runs on the phone's CPU for its outputs, the time comes from the device
  model; called predicted. No accelerator ran, so there is no verdict on one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

import msgspec

from device_profiler import conditions, phone_settings
from device_profiler.device import Device, read_state
from device_profiler.errors import InputError, InvalidMeasurementError, UnavailableError, VerificationError
from device_profiler.files import sha256_bytes
from device_profiler.golden import golden_file
from device_profiler.measurement import Measurement
from device_profiler.prediction import Prediction, load_model, predict
from device_profiler.runner.client import KeptLaunch, Progress, Runner, Scheduled, install, no_progress
from device_profiler.runner.job import Schedule
from device_profiler.runner.results import Affine, CallResult, CascadeResult
from device_profiler.runner.wheels import WHEELS
from device_profiler.sampling import (
    BLOCKS,
    VIRTUAL,
    BlockEffort,
    Effort,
    Launch,
    Result,
    Series,
    Visited,
    compared_series,
    virtual_series,
)
from device_profiler.store import PROTOCOL
from device_profiler.targets import Target
from device_profiler.workload import Array, Call, CascadePlan, Operator, Workload

PROTOCOL_VERSION = "1"
"""On a steady virtual clock."""
BLOCKS_VERSION = "2"
"""Where entries are compared in blocks."""
DEFAULT_LIMIT_S = 1800.0

# Multiply-adds a second that the emulated phone gets through on a busy core of the host: only for the estimate.
_EMULATED_MACS_S = {"fp32": 7e7, "int8": 4e8}
_CALL_OVERHEAD_S = 0.3
_TIMEOUT_FACTOR, _LEAST_TIMEOUT_S = 10.0, 300.0


@dataclass(frozen=True)
class MeasuredCall:
    """A measurement with the outputs that the phone gave, as stored, and their quantisation."""

    measurement: Measurement
    outputs: tuple[Array, ...]
    quantization: tuple[Affine | None, ...]


@dataclass(frozen=True)
class _Subject:
    """What a measurement is of: `operators` of one run, in groups that are handed over one by one."""

    key: str
    entry: str
    operators: tuple[tuple[Operator, ...], ...]

    @property
    def macs(self) -> int:
        return sum(operator.macs for group in self.operators for operator in group)


def protocol_version(target: Target, clock: str = "virtual") -> str:
    """What a kept figure must agree in to be used again: protocol, runtime and, where it predicts, the device model.

    `clock`: of the phone, see DeviceIdentity.
    """
    wheel = WHEELS[target.runtime]
    protocol = PROTOCOL_VERSION if clock == "virtual" or target.device_model else BLOCKS_VERSION
    parts = [protocol, wheel.package, wheel.version]
    if target.device_model is not None:
        parts.append(load_model(target.device_model).fingerprint)
    return " ".join(parts)


def measure_calls(
    device: Device,
    target: Target,
    artifact: Path,
    workloads: Sequence[Workload],
    *,
    threads: int = 1,
    limit_s: float = DEFAULT_LIMIT_S,
    effort: BlockEffort = BLOCKS,
    progress: Progress = no_progress,
) -> list[MeasuredCall]:
    """Latency and outputs of entry points of `artifact`, in the order of `workloads`.

    `effort`: how much is run on a clock that is not steady.

    Raises:
        InputError: under emulation it would take longer than `limit_s` (with the estimate), or several threads on a
            virtual clock.
        DeviceError: the phone failed, is not fit, or its NPU can't be measured by our runners.
        InvalidMeasurementError: it stayed hot, or too many blocks drifted or did not settle.
        VerificationError: the artifact can't run.
    """
    session = _Session(device, target, threads, limit_s, effort)
    subjects = [_Subject(work.key, work.call.entry, (work.operators,)) for work in workloads]
    session.check(subjects)
    runner, timeout_s = session.runner(), session.timeout_s(subjects)

    def launch(once: Effort) -> list[CallResult]:
        return runner.run(
            artifact,
            [work.call for work in workloads],
            warmup=once.warmup,
            iterations=once.iterations,
            threads=threads,
            timeout_s=timeout_s,
            progress=progress,
        )

    def blocks(number: KeptLaunch, order: Sequence[int], visits: Sequence[int]) -> Visited[CallResult]:
        calls: list[Call] = [workloads[index].call for index in order]
        schedule = session.schedule(visits)
        return _visited(
            runner.follow(
                artifact, calls, schedule, launch=number, threads=threads, timeout_s=timeout_s, progress=progress
            )
        )

    measured = session.measure(runner, subjects, launch, blocks)
    return [MeasuredCall(taken, result.outputs, result.quantization) for taken, result in measured]


def measure_cascade(
    device: Device,
    target: Target,
    artifact: Path,
    plan: CascadePlan,
    image: Array,
    *,
    key: str,
    operators: Mapping[str, tuple[Operator, ...]],
    threads: int = 1,
    limit_s: float = DEFAULT_LIMIT_S,
    effort: BlockEffort = BLOCKS,
    progress: Progress = no_progress,
) -> list[Measurement]:
    """Latency of each path through a deployment, image in to labels out: one measurement an exit, in order.

    The path to an exit is forced by its thresholds; `image` is as the first stage takes it. `operators` gives those of
    each entry of `plan`. Measurements are kept under `key`, their `entry` is "path_0", "path_1", ... Raises as
    `measure_calls`.
    """
    session = _Session(device, target, threads, limit_s, effort)
    subjects = [
        _Subject(key, f"path_{exit}", tuple(operators[entry] for entry in path_entries(plan, exit)))
        for exit in range(len(plan.stages))
    ]
    session.check(subjects)
    runner, timeout_s = session.runner(), session.timeout_s(subjects)
    paths = _Paths(session, runner, artifact, plan, image, timeout_s, progress)
    return [measurement for measurement, _ in session.measure(runner, subjects, paths.one_by_one, paths.in_blocks)]


def forced(plan: CascadePlan, exit: int) -> CascadePlan:
    """`plan` with thresholds by which every image leaves at `exit`."""
    thresholds = [float("-inf") if stage == exit else float("inf") for stage in range(len(plan.thresholds))]
    return msgspec.structs.replace(plan, thresholds=tuple(thresholds))


def path_entries(plan: CascadePlan, exit: int) -> tuple[str, ...]:
    """The entries that run for an image that leaves at `exit`, in order."""
    return (*plan.stages[: exit + 1], *plan.finish[exit : exit + 1])


_NumberedLaunch = Callable[[KeptLaunch, Sequence[int], Sequence[int]], Visited[Result]]
"""As `sampling.BlockLaunch`, with the launch's place in its session."""


def _visited(scheduled: Scheduled[Result]) -> Visited[Result]:
    return Visited(scheduled.results, scheduled.visits)


@dataclass(frozen=True)
class _Session:
    """One visit to a phone for one target."""

    device: Device
    target: Target
    threads: int
    limit_s: float
    effort: BlockEffort

    @property
    def wall(self) -> bool:
        """Whether the phone's own time passes; else it counts instructions."""
        return self.device.identity.clock == "wall"

    @property
    def steady(self) -> bool:
        """Whether every run takes the same time, or times do not matter."""
        return self.device.identity.clock == "virtual" or self.predicted

    @property
    def predicted(self) -> bool:
        """Whether the target's unit can't run here and a device model stands in."""
        return self.target.unit != "cpu"

    @property
    def runs(self) -> int:
        """Runs of each entry altogether."""
        return VIRTUAL.runs if self.steady else self.effort.runs

    def check(self, subjects: Sequence[_Subject]) -> None:
        """Refuse what can't be done before anything is pushed."""
        if not subjects:
            raise InputError("nothing to measure: give at least one workload")
        if self.predicted:
            _check_unit(self.device, self.target)
        if not self.wall and self.threads > 1:
            raise InputError(f"{self.threads} threads on a virtual clock add up instead of overlapping: use 1")
        if not self.wall and (estimate := self.estimate_s(subjects)) > self.limit_s:
            macs = sum(subject.macs for subject in subjects)
            raise InputError(
                f"{len(subjects)} programs of {macs / 1e9:.3g} GMAC together would take about {estimate / 60:.0f} "
                f"minutes on the emulated phone, the limit is {self.limit_s / 60:.0f}: take a smaller input or fewer "
                f"candidates, or attach a {self.target.device} (--device SERIAL)"
            )

    def estimate_s(self, subjects: Sequence[_Subject]) -> float:
        """Wall time under emulation, from multiply-adds."""
        macs = sum(subject.macs for subject in subjects)
        return macs * self.runs / _EMULATED_MACS_S[self.target.precision] + _CALL_OVERHEAD_S * len(subjects)

    def timeout_s(self, subjects: Sequence[_Subject]) -> float:
        """How long one launch may take."""
        return max(_LEAST_TIMEOUT_S, self.estimate_s(subjects) * _TIMEOUT_FACTOR)

    def runner(self) -> Runner:
        runner = install(self.device.transport, self.target.runtime)
        return runner if self.steady else replace(runner, cores=conditions.big_cores(self.device.transport))

    def schedule(self, visits: Sequence[int]) -> Schedule:
        """A launch's visits at this session's effort."""
        golden = golden_file(self.target.runtime)
        return Schedule(tuple(visits), self.effort.iterations, self.effort.settle, golden=golden)

    def measure(
        self, runner: Runner, subjects: Sequence[_Subject], launch: Launch[Result], blocks: _NumberedLaunch[Result]
    ) -> list[tuple[Measurement, Result]]:
        """Launch as often as the clock asks for; each subject's measurement with a result of its last launch."""
        entries = [subject.entry for subject in subjects]
        if self.steady:
            before = read_state(self.device.transport)
            series = virtual_series(entries, launch, steady=not self.predicted)
            after = read_state(self.device.transport)
        else:
            before, series, after = self._compared(runner, subjects, blocks)
        versions = self._versions(runner)
        return [
            (self._measurement(subject, one, before, after, versions), one.last)
            for subject, one in zip(subjects, series, strict=True)
        ]

    def _compared(
        self, runner: Runner, subjects: Sequence[_Subject], blocks: _NumberedLaunch[Result]
    ) -> tuple[dict[str, str], list[Series[Result]], dict[str, str]]:
        """State before, series, state after, on a phone in a steady state."""
        transport = self.device.transport
        pause = conditions.pause_on(transport, self.device.identity)
        with phone_settings.steady(transport):
            before = conditions.wait_until_fit(transport, pause=pause)
            residency = conditions.read_residency(transport)
            ready = partial(conditions.wait_until_fit, transport, pause=pause)
            series = self._resumable(runner, subjects, blocks, ready)
            clocks = conditions.mean_khz(residency, conditions.read_residency(transport))
            return before, series, read_state(transport) | clocks

    def _resumable(
        self, runner: Runner, subjects: Sequence[_Subject], blocks: _NumberedLaunch[Result], ready: Callable[[], object]
    ) -> list[Series[Result]]:
        """The series; their launches stay on the phone until all are there.

        Orders follow from a seed and verdicts from samples, so the same session after a kill asks for the same
        launches: it collects those that the phone has. One that gave no figure is not collected again.
        """
        session, numbers = self._name(subjects), count()

        def launch(order: Sequence[int], visits: Sequence[int]) -> Visited[Result]:
            return blocks(KeptLaunch(session, next(numbers)), order, visits)

        try:
            series = compared_series([subject.entry for subject in subjects], launch, ready, self.effort)
        except (InvalidMeasurementError, VerificationError):
            runner.forget(session)
            raise
        runner.forget(session)
        return series

    def _name(self, subjects: Sequence[_Subject]) -> str:
        """A word for this session: what is measured, and on which build of the phone's system."""
        words = [self.device.identity.fingerprint, self.target.name, repr(self.effort)]
        words += [word for subject in subjects for word in (subject.key, subject.entry)]
        return sha256_bytes(*(f"{word}\n".encode() for word in words))[:16]

    def _versions(self, runner: Runner) -> dict[str, str]:
        versions = {PROTOCOL: protocol_version(self.target, self.device.identity.clock), "runner": runner.version}
        if self.target.device_model is not None:
            versions["device_model"] = load_model(self.target.device_model).fingerprint
        return versions

    def _measurement(
        self,
        subject: _Subject,
        series: Series[Result],
        before: dict[str, str],
        after: dict[str, str],
        versions: dict[str, str],
    ) -> Measurement:
        taken = Measurement(
            key=subject.key,
            entry=subject.entry,
            target=self.target.name,
            requested_unit=self.target.unit,
            actual_unit="cpu",
            provenance=self.device.provenance,
            samples_ns=series.samples_ns,
            median_ns=series.interval.median,
            low_ns=series.interval.low,
            high_ns=series.interval.high,
            load_ns=series.last.load_ns,
            first_ns=series.last.first_ns,
            peak_rss_kb=series.last.peak_rss_kb,
            identity=self.device.identity,
            state_before=before,
            state_after=after,
            versions=versions,
            note=series.note,
            blocks=series.blocks,
        )
        return self._predicted(taken, subject) if self.predicted else taken

    def _predicted(self, taken: Measurement, subject: _Subject) -> Measurement:
        """The device model's time in place of the CPU's, which is kept beside it."""
        assert self.target.device_model is not None
        predictions = [predict(group, load_model(self.target.device_model)) for group in subject.operators]
        total = sum(prediction.total_ns for prediction in predictions)
        overhead = sum(prediction.overhead_ns for prediction in predictions)
        return msgspec.structs.replace(
            taken,
            provenance="predicted",
            samples_ns=(round(total),),
            median_ns=total,
            low_ns=total,
            high_ns=total,
            executed_ns=taken.samples_ns,
            overhead_ns=overhead,
            note=_prediction_note(predictions, taken),
        )


@dataclass(frozen=True, eq=False)
class _Paths:
    """The launches of a cascade in a session: every path of `plan`, forced by thresholds."""

    session: _Session
    runner: Runner
    artifact: Path
    plan: CascadePlan
    image: Array
    timeout_s: float
    progress: Progress

    def one_by_one(self, once: Effort) -> list[CascadeResult]:
        """A launch for each path."""
        results = []
        for exit in range(len(self.plan.stages)):
            results += self.runner.run_cascade(
                self.artifact,
                forced(self.plan, exit),
                [self.image],
                warmup=once.warmup,
                iterations=once.iterations,
                threads=self.session.threads,
                timeout_s=self.timeout_s,
            )
            self.progress(exit + 1, len(self.plan.stages))
        return results

    def in_blocks(self, number: KeptLaunch, order: Sequence[int], visits: Sequence[int]) -> Visited[CascadeResult]:
        """One launch in which the paths take turns, `order` telling which path a visit is of."""
        ran = self.runner.follow_cascade(
            self.artifact,
            self.plan,
            self.image,
            self.session.schedule([visit if visit < 0 else order[visit] for visit in visits]),
            launch=number,
            threads=self.session.threads,
            timeout_s=self.timeout_s,
            progress=self.progress,
        )
        return Visited(ran.results * len(order), ran.visits)


def _check_unit(device: Device, target: Target) -> None:
    """A CPU time must never pass for an accelerator's."""
    if not device.identity.emulated:
        raise UnavailableError(
            f"the {target.unit.upper()} of {device.identity.model} can't be measured by our runners, which compute on "
            "the CPU: NNAPI is reached only by LiteRT's own benchmark_model; use a CPU target on this phone, or "
            "--device emulated for a predicted figure"
        )
    if target.device_model is None:
        raise UnavailableError(
            f"target {target.name} has no device model, so its {target.unit.upper()} can't be predicted: attach a "
            f"{target.device}, or choose a target that `targets` calls emulated or predicted"
        )


def _prediction_note(predictions: Sequence[Prediction], taken: Measurement) -> str:
    fallbacks = sorted({kind for prediction in predictions for kind in prediction.fallbacks})
    note = (
        f"predicted: no accelerator ran, so there is no verdict on one; outputs from the {taken.provenance} phone's "
        f"CPU, median {taken.median_ns / 1e6:.3f} ms there"
    )
    return f"{note}; not taken by the unit: {', '.join(fallbacks)}" if fallbacks else note
