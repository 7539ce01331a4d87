"""The throttling curve: one entry point without a pause, for minutes. A mode of its own, for heat reorders phones.

Clocks are left to the phone here: fixed ones would hide what is to be seen.
"""

import math
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from device_profiler import conditions, phone_settings
from device_profiler.device import Device, read_state
from device_profiler.errors import InputError
from device_profiler.measurement import DeviceIdentity, Provenance
from device_profiler.protocol import DEFAULT_LIMIT_S
from device_profiler.runner.client import install
from device_profiler.runner.job import Schedule, Sustain
from device_profiler.targets import Target
from device_profiler.workload import Workload

# Seconds of the host for one of the emulated phone's clock, on a busy core: only for the estimate.
_EMULATED_SLOWDOWN = 150.0
_WINDOWS = 240
_LEAST_WINDOW_MS = 50
_MARGIN_S = 120.0
_SETTLED_SHARE = 0.25
_STEADY = "this phone's clock knows no heat, its curve is flat: `devices add --ambient` starts one that does"


class CurveWindow(msgspec.Struct, frozen=True):
    """A stretch of the run, from `start_s` on: every sample, their median and 90th percentile [ns]."""

    start_s: float
    median_ns: float
    p90_ns: float
    samples_ns: tuple[int, ...]


class ThrottlingCurve(msgspec.Struct, frozen=True):
    """How one entry's latency develops under continuous load, from a cool phone on.

    `windows` follow one another without a gap. `state_*`: as in Measurement.
    """

    key: str
    entry: str
    target: str
    actual_unit: str
    provenance: Provenance
    seconds: int
    windows: tuple[CurveWindow, ...]
    identity: DeviceIdentity
    state_before: dict[str, str]
    state_after: dict[str, str]
    versions: dict[str, str]
    note: str = ""

    @property
    def burst_ns(self) -> float:
        """Latency of the first window: what a short benchmark would have said."""
        return self.windows[0].median_ns

    @property
    def sustained_ns(self) -> float:
        """Median latency over the last quarter of the windows."""
        last = self.windows[-max(1, math.ceil(_SETTLED_SHARE * len(self.windows))) :]
        return float(np.median([window.median_ns for window in last]))

    @property
    def slowdown(self) -> float:
        """Sustained over burst latency: 1 where the phone does not throttle."""
        return self.sustained_ns / self.burst_ns


def measure_sustained(
    device: Device,
    target: Target,
    artifact: Path,
    workload: Workload,
    seconds: int,
    *,
    threads: int = 1,
    limit_s: float = DEFAULT_LIMIT_S,
) -> ThrottlingCurve:
    """Run one entry of `artifact` for `seconds` of the phone's clock, from a cool start.

    Raises:
        InputError: a unit that our runners can't reach, or under emulation it would take longer than
            `limit_s`.
        DeviceError: the phone failed or is not fit.
        VerificationError: the artifact can't run.
    """
    wall = device.identity.clock == "wall"
    _check(device, target, seconds, None if wall else limit_s)
    transport = device.transport
    runner = replace(install(transport, target.runtime), cores=conditions.big_cores(transport))
    window_ms = max(_LEAST_WINDOW_MS, seconds * 1000 // _WINDOWS)
    with phone_settings.steady(transport, fixed_clocks=False):
        before = conditions.wait_until_fit(transport, pause=conditions.pause_on(transport, device.identity))
        ran = runner.follow(
            artifact,
            [workload.call],
            Schedule(sustain=Sustain(0, seconds, window_ms)),
            threads=threads,
            timeout_s=seconds + _MARGIN_S if wall else limit_s,
        )
        after = read_state(transport)
    return ThrottlingCurve(
        key=workload.key,
        entry=workload.call.entry,
        target=target.name,
        actual_unit="cpu",
        provenance=device.provenance,
        seconds=seconds,
        windows=tuple(_window(window.start_ns, window.samples_ns) for window in ran.windows),
        identity=device.identity,
        state_before=before,
        state_after=after,
        versions={"runner": runner.version},
        note=_STEADY if device.identity.clock == "virtual" else "",
    )


def _window(start_ns: int, samples_ns: tuple[int, ...]) -> CurveWindow:
    p90 = float(np.quantile(samples_ns, 0.9))
    return CurveWindow(start_ns / 1e9, float(np.median(samples_ns)), p90, samples_ns)


def _check(device: Device, target: Target, seconds: int, limit_s: float | None) -> None:
    assert seconds >= 1, "a window of the curve holds one run at least"
    if target.unit != "cpu":
        raise InputError(
            f"target {target.name} has no throttling curve: our runners compute on the CPU, and a predicted time knows "
            "no heat; take a CPU target"
        )
    if limit_s is not None and (estimate := seconds * _EMULATED_SLOWDOWN) > limit_s:
        minutes = round(estimate / 60)
        raise InputError(
            f"{seconds} s of the emulated phone's clock would take about {minutes} minutes here, the limit is "
            f"{limit_s / 60:.0f}: give it {int(limit_s / _EMULATED_SLOWDOWN)} s or less, or attach a {target.device} "
            "(--device SERIAL)"
        )
