"""What makes a figure valid, with seeded noise, drift and throttling for a real phone's; and what is refused."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_transport import LocalTransport

from device_profiler import conditions
from device_profiler.device import Device
from device_profiler.errors import DeviceError, InputError
from device_profiler.intervals import WINDOW, median_interval, settled_from
from device_profiler.measurement import DeviceIdentity
from device_profiler.protocol import forced, measure_calls, path_entries, protocol_version
from device_profiler.sampling import MOST_LAUNCHES, WALL, Effort, settled_series, virtual_series
from device_profiler.targets import find_target
from device_profiler.transport import ShellResult
from device_profiler.workload import Call, CascadePlan, Operator, Workload

PLAN = CascadePlan(("s0", "s1", "s2"), (0.5, 0.6), ("f0", "f1", "f2"))
BASE_NS = 1_000_000.0


@dataclass(frozen=True)
class Timed:
    samples_ns: tuple[int, ...]
    load_ns: int = 1
    first_ns: int = 1
    peak_rss_kb: int = 1


Shape = Callable[[np.random.Generator, int], np.ndarray]


@dataclass
class Machine:
    """Launches whose samples are BASE_NS times what `shape` gives for a launch of so many samples."""

    shape: Shape
    orders: list[tuple[int, ...]] = field(default_factory=list)
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(3))

    def launch(self, order: Sequence[int], effort: Effort) -> list[Timed]:
        self.orders.append(tuple(order))
        return [
            Timed(
                tuple(int(BASE_NS * (index + 1) * factor) for factor in self.shape(self.generator, effort.iterations))
            )
            for index in order
        ]


def noise(generator: np.random.Generator, count: int) -> np.ndarray:
    return generator.normal(1.0, 0.01, count)


def warming_up(generator: np.random.Generator, count: int) -> np.ndarray:
    return noise(generator, count) + 2.0 * np.exp(-np.arange(count) / 3)


def throttling(generator: np.random.Generator, count: int) -> np.ndarray:
    return noise(generator, count) * (1 + 0.05 * np.arange(count))


def launches_differ(generator: np.random.Generator, count: int) -> np.ndarray:
    return noise(generator, count) * generator.choice([0.9, 1.0, 1.1])


def test_calm_launches_give_the_median_within_its_interval() -> None:
    machine = Machine(noise)
    for index, series in enumerate(settled_series(["a", "b"], machine.launch)):
        assert series.interval.median == pytest.approx(BASE_NS * (index + 1), rel=0.01)
        assert series.interval.low <= series.interval.median <= series.interval.high
        assert len(series.launches) == WALL.launches
    assert len(machine.orders) == WALL.launches and len(set(machine.orders)) > 1, "the order is shuffled"


def test_slow_first_samples_are_warm_up() -> None:
    (series,) = settled_series(["a"], Machine(warming_up).launch)
    assert series.interval.median == pytest.approx(BASE_NS, rel=0.02)
    assert all(len(samples) < WALL.iterations for samples in series.launches)


def test_a_throttling_phone_gives_no_figure() -> None:
    machine = Machine(throttling)
    with pytest.raises(DeviceError, match=f"a did not settle in {MOST_LAUNCHES} launches"):
        settled_series(["a"], machine.launch)
    assert len(machine.orders) == MOST_LAUNCHES


def test_variance_between_launches_widens_the_interval() -> None:
    (calm,), (wide,) = (settled_series(["a"], Machine(shape).launch) for shape in (noise, launches_differ))
    assert wide.interval.high - wide.interval.low > 3 * (calm.interval.high - calm.interval.low)


def test_a_virtual_clock_gives_its_last_sample() -> None:
    (series,) = virtual_series(["a"], lambda order, effort: [Timed((1_000_400, 1_000_000))])
    assert series.interval.low == series.interval.median == series.interval.high == 1_000_000
    with pytest.raises(DeviceError, match="not steady"):
        virtual_series(["a"], lambda order, effort: [Timed((1_200_000, 1_000_000))])


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=60), st.integers(1, 1000))
def test_settling_does_not_depend_on_the_unit(samples: list[int], factor: int) -> None:
    start = settled_from(samples)
    assert start is None or 0 <= start <= len(samples) - WINDOW
    assert settled_from([sample * factor for sample in samples]) == start


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.integers(1, 10**9), min_size=1, max_size=10), min_size=1, max_size=3))
def test_the_interval_holds_the_median_and_stays_among_the_samples(launches: list[list[int]]) -> None:
    interval, samples = median_interval(launches), [sample for launch in launches for sample in launch]
    assert min(samples) <= interval.low <= interval.median <= interval.high <= max(samples)
    assert interval.median == np.median(samples) and interval == median_interval(launches)


def test_forced_paths_run_what_an_image_at_that_exit_runs() -> None:
    assert [path_entries(PLAN, exit) for exit in range(3)] == [
        ("s0", "f0"),
        ("s0", "s1", "f1"),
        ("s0", "s1", "s2", "f2"),
    ]
    assert path_entries(CascadePlan(("whole",), (), ()), 0) == ("whole",)
    confidence = np.float32(0.7)
    for exit in range(3):
        thresholds = forced(PLAN, exit).thresholds
        leaves = [stage for stage, limit in enumerate(thresholds) if confidence >= np.float32(limit)]
        assert (leaves[0] if leaves else 2) == exit


def device(**changed: object) -> Device:
    identity = {
        "address": "x",
        "model": "Pixel 7",
        "soc": "GS201",
        "abi": "arm64-v8a",
        "android": "14",
        "fingerprint": "f",
        "emulated": True,
        "clock": "virtual",
    } | changed
    return Device(LocalTransport(), DeviceIdentity(**identity))  # type: ignore[arg-type]


def work(macs: int) -> list[Workload]:
    return [Workload("k", Call("e", ()), (Operator("CONV_2D", macs, 0, 0, 0, True),))]


def test_hours_of_emulation_are_refused_with_an_estimate() -> None:
    with pytest.raises(InputError, match=r"100 GMAC .* would take about \d+ minutes .* the limit is 30"):
        measure_calls(device(), find_target("pixel7-cpu"), Path("m.pte"), work(10**11))


def test_a_cpu_time_never_passes_for_an_npu() -> None:
    real = device(emulated=False, clock="wall")
    with pytest.raises(DeviceError, match=r"NPU of Pixel 7 can't be measured by our runners.*benchmark_model"):
        measure_calls(real, find_target("pixel7-npu"), Path("m.tflite"), work(10))


def test_threads_do_not_add_up_on_a_virtual_clock() -> None:
    with pytest.raises(InputError, match="2 threads on a virtual clock"):
        measure_calls(device(), find_target("pixel7-cpu"), Path("m.pte"), work(10), threads=2)
    with pytest.raises(InputError, match="nothing to measure"):
        measure_calls(device(), find_target("pixel7-cpu"), Path("m.pte"), [])


def test_protocol_versions_name_what_a_figure_rests_on() -> None:
    cpu, npu = protocol_version(find_target("pixel7-cpu")), protocol_version(find_target("pixel7-npu"))
    assert cpu.startswith("1 executorch ") and npu.startswith("1 ai-edge-litert ") and "tensor-g2-tpu" in npu


@dataclass
class StatefulPhone(LocalTransport):
    """Answers dumpsys with a battery level, and with thermal statuses one after the other."""

    level: int = 80
    powered: str = "false"
    thermal: list[int] = field(default_factory=lambda: [0])
    commands: list[str] = field(default_factory=list)

    def shell(self, command: str, *, timeout_s: float = 30.0) -> ShellResult:
        self.commands.append(command)
        if command.startswith("grep"):
            lines = [
                f"/sys/devices/system/cpu/cpu{core}/cpu_capacity:{value}"
                for core, value in enumerate([160, 160, 1024, 1024])
            ]
            return ShellResult(0, "\n".join(lines))
        status = self.thermal.pop(0) if len(self.thermal) > 1 else self.thermal[0]
        return ShellResult(
            0,
            f"  USB powered: {self.powered}\n  level: {self.level}\n  temperature: 281\n__next__\n"
            f"Thermal Status: {status}\n__next__\n1803000\n",
        )


def test_an_empty_battery_is_refused_and_a_hot_phone_waited_for() -> None:
    with pytest.raises(DeviceError, match=r"battery .* is at 12 %"):
        conditions.wait_until_fit(StatefulPhone(level=12))
    state = conditions.wait_until_fit(StatefulPhone(thermal=[2, 1, 0]), pause_s=0.0)
    assert state["thermal_status"] == "0"
    with pytest.raises(DeviceError, match=r"throttled by heat \(thermal status 3\)"):
        conditions.wait_until_fit(StatefulPhone(thermal=[3]), cooling_s=0.0, pause_s=0.0)


def test_the_phone_is_restored_even_after_a_failure() -> None:
    phone = StatefulPhone()
    with pytest.raises(ValueError, match="in between"), conditions.steady(phone):
        raise ValueError("in between")
    joined = "\n".join(phone.commands)
    assert joined.index("fixed-performance-mode-enabled true") < joined.index("fixed-performance-mode-enabled false")
    assert "svc power stayon false" in joined


def test_big_cores_are_those_of_the_largest_capacity() -> None:
    assert conditions.big_cores(StatefulPhone()) == "c"
