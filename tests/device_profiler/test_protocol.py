"""What makes a figure valid, on the emulated phone's own disturbed clock; and what is refused."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_transport import LocalTransport

from device_profiler import conditions, phone_settings
from device_profiler.device import Device
from device_profiler.emulator.phone_profile import load_profile
from device_profiler.emulator.rehearsal import Rehearsal
from device_profiler.emulator.weather import Weather, make_weather
from device_profiler.errors import DeviceError, InputError, InvalidMeasurementError
from device_profiler.intervals import (
    WINDOW,
    median_interval,
    settled_from,
    student_quantile,
    tail_of,
)
from device_profiler.measurement import Block, DeviceIdentity
from device_profiler.protocol import forced, measure_calls, path_entries, protocol_version
from device_profiler.sampling import (
    BLOCKS,
    compared_series,
    judged,
    ratio_of,
    virtual_series,
)
from device_profiler.targets import find_target
from device_profiler.transport import ShellResult
from device_profiler.workload import Call, CascadePlan, Operator, Workload

PLAN = CascadePlan(("s0", "s1", "s2"), (0.5, 0.6), ("f0", "f1", "f2"))
CALM_NS = (2_000_000, 1_400_000, 700_000)
GOLDEN_NS = 1_000_000
ENTRIES = ("a", "b", "c")


@dataclass(frozen=True)
class Timed:
    samples_ns: tuple[int, ...]
    load_ns: int = 1
    first_ns: int = 1
    peak_rss_kb: int = 1


def weather(*, start_c: float | None = None, **noise: float) -> Weather:
    made = make_weather(load_profile("pixel7"), seed=5, start_c=start_c)
    assert made is not None and made.noise is not None
    return msgspec.structs.replace(made, noise=msgspec.structs.replace(made.noise, **noise))


def rehearsal(folder: Path, disturbed: Weather, **options: float) -> Rehearsal:
    return Rehearsal(CALM_NS, GOLDEN_NS, disturbed, BLOCKS, folder, **options)  # type: ignore[arg-type]


def test_a_noisy_phone_gives_medians_and_ratios_within_their_intervals(tmp_path: Path) -> None:
    phone = rehearsal(tmp_path, weather(drift=0.0))
    series = compared_series(ENTRIES, phone.launch, phone.ready)
    assert phone.launches == BLOCKS.launches
    for calm, one in zip(CALM_NS, series, strict=True):
        assert one.interval.low <= calm <= one.interval.high < 1.1 * calm
        assert len(one.launches) == BLOCKS.launches and one.last.first_ns > 0
    ratio = ratio_of(series[0].blocks, series[1].blocks)
    assert ratio.low <= CALM_NS[0] / CALM_NS[1] <= ratio.high and ratio.high / ratio.low < 1.05
    with pytest.raises(InputError, match="not compared in one session"):
        ratio_of(series[0].blocks, ())


def test_a_cold_start_is_warm_up(tmp_path: Path) -> None:
    phone = rehearsal(tmp_path, weather(drift=0.0), cold=3.0)
    for calm, one in zip(CALM_NS, compared_series(ENTRIES, phone.launch, phone.ready), strict=True):
        assert one.interval.median == pytest.approx(calm, rel=0.03)
        assert max(one.blocks[0].warmup_ns) > 2 * calm, "what came before it settled is kept, and does not count"


def test_every_launch_compares_all_entries_in_random_order_between_golden_runs(tmp_path: Path) -> None:
    phone = rehearsal(tmp_path, weather(drift=0.0))
    asked: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def launch(order: Sequence[int], visits: Sequence[int]):  # type: ignore[no-untyped-def]
        asked.append((tuple(order), tuple(visits)))
        return phone.launch(order, visits)

    compared_series(ENTRIES, launch, phone.ready)
    assert {visits for _, visits in asked} == {(-1, 0, 1, 2, 2, 1, 0, -1)}
    assert len({order for order, _ in asked}) > 1 and all(sorted(order) == [0, 1, 2] for order, _ in asked)


def test_many_entries_are_cut_into_blocks_with_golden_runs_of_their_own(tmp_path: Path) -> None:
    phone = Rehearsal([1_000_000] * 8, GOLDEN_NS, weather(drift=0.0), BLOCKS, tmp_path)
    series = compared_series([str(n) for n in range(8)], phone.launch, phone.ready)
    assert {block.block for one in series for block in one.blocks} == {0, 1}
    assert phone.launches == BLOCKS.launches


def test_drifted_blocks_are_void_kept_and_measured_again(tmp_path: Path) -> None:
    phone = rehearsal(tmp_path, weather(drift=0.08, drift_s=0.3))
    series = compared_series(ENTRIES, phone.launch, phone.ready)
    void = [block for block in series[0].blocks if block.verdict != "valid"]
    assert void and len(series[0].blocks) == phone.launches > BLOCKS.launches
    assert all(block.samples_ns for block in void) and f"{len(void)} void blocks" in series[0].note
    counted = {sample for samples in series[0].launches for sample in samples}
    assert not counted & {sample for block in void for sample in block.samples_ns}
    ratio = ratio_of(series[0].blocks, series[1].blocks)
    assert ratio.low <= CALM_NS[0] / CALM_NS[1] <= ratio.high


def test_a_hot_phone_is_waited_for_and_throttled_blocks_do_not_count(tmp_path: Path) -> None:
    calm = weather(start_c=41.0, drift=0.0)
    assert calm.heat is not None
    phone = rehearsal(tmp_path, msgspec.structs.replace(calm, heat=msgspec.structs.replace(calm.heat, tau_s=20.0)))
    series = compared_series(ENTRIES, phone.launch, phone.ready)
    assert phone.waited_s > 0
    assert series[0].interval.median == pytest.approx(CALM_NS[0], rel=0.03)


def test_a_phone_that_never_calms_down_gives_no_figure(tmp_path: Path) -> None:
    phone = rehearsal(tmp_path, weather(drift=0.3, drift_s=0.1))
    with pytest.raises(InvalidMeasurementError, match=r"no 6 launches with a valid block in 14 \(blocks: .*drifted"):
        compared_series(ENTRIES, phone.launch, phone.ready)
    assert phone.launches == BLOCKS.most_launches
    shaking = rehearsal(tmp_path, weather(noise=0.2, drift=0.0))
    with pytest.raises(InvalidMeasurementError, match="unsettled"):
        compared_series(ENTRIES, shaking.launch, shaking.ready)


def test_the_same_seed_gives_the_same_figures(tmp_path: Path) -> None:
    taken = []
    for number, seed in enumerate((5, 5, 6)):
        folder = tmp_path / str(number)
        folder.mkdir()
        phone = rehearsal(folder, weather(seed=seed))
        taken.append([one.blocks for one in compared_series(ENTRIES, phone.launch, phone.ready)])
    assert taken[0] == taken[1] != taken[2]


def test_variance_between_launches_widens_the_interval(tmp_path: Path) -> None:
    widths = []
    for launch in (0.0, 0.02):
        phone = rehearsal(tmp_path, weather(launch=launch, drift=0.0))
        interval = compared_series(ENTRIES, phone.launch, phone.ready)[0].interval
        widths.append(interval.high - interval.low)
    assert widths[1] > 2 * widths[0]


def block(first: int, last: int) -> Block:
    return Block(0, 0, (), (1,), (first,) * 3, (last,) * 3)


def test_a_block_is_void_beyond_five_percent_of_drift_or_off_the_sessions_level() -> None:
    blocks = [block(100, 104), block(100, 106), block(100, 94), block(101, 103), block(110, 110)]
    verdicts = [one.verdict for one in judged({0: blocks}, 0.05)[0]]
    assert verdicts == ["valid", "drifted", "drifted", "valid", "off level"]


def test_few_launches_widen_the_percentiles() -> None:
    assert student_quantile(5, 0.975) == pytest.approx(2.570582, abs=1e-5)
    assert student_quantile(8, 0.975) == pytest.approx(2.306004, abs=1e-5)
    assert [tail_of(n) < 0.025 for n in (2, 3, 6, 20)] == [True] * 4
    assert tail_of(3) < tail_of(6) < tail_of(20) < tail_of(1) == pytest.approx(0.025)


def test_a_virtual_clock_gives_its_last_sample() -> None:
    (series,) = virtual_series(["a"], lambda effort: [Timed((1_000_400, 1_000_000))])
    assert series.interval.low == series.interval.median == series.interval.high == 1_000_000
    with pytest.raises(DeviceError, match="not steady"):
        virtual_series(["a"], lambda effort: [Timed((1_200_000, 1_000_000))])


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


def test_a_unit_without_a_device_model_is_not_predicted() -> None:
    target = msgspec.structs.replace(find_target("pixel7-npu"), device_model=None)
    with pytest.raises(DeviceError, match="pixel7-npu has no device model, so its NPU can't be predicted"):
        measure_calls(device(), target, Path("m.tflite"), work(1))


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
    assert protocol_version(find_target("pixel7-cpu"), "wall").startswith("2 executorch "), "measured in blocks"
    assert cpu.startswith("1 executorch ") and npu.startswith("1 ai-edge-litert ") and "tensor-g2-tpu" in npu


@dataclass
class StatefulPhone(LocalTransport):
    """Answers dumpsys with a battery level, and with thermal statuses one after the other."""

    level: int = 80
    powered: str = "false"
    thermal: list[int] = field(default_factory=lambda: [0])

    def shell(self, command: str, *, timeout_s: float = 30.0) -> ShellResult:
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
    paused: list[float] = []
    state = conditions.wait_until_fit(StatefulPhone(thermal=[2, 1, 0]), pause=paused.append)
    assert state["thermal_status"] == "0" and len(paused) == 2
    with pytest.raises(InvalidMeasurementError, match=r"throttled by heat \(thermal status 3\)"):
        conditions.wait_until_fit(StatefulPhone(thermal=[3]), cooling_s=60.0, pause=paused.append)
    assert sum(paused[2:]) == 60.0


def test_big_cores_are_those_of_the_largest_capacity() -> None:
    assert conditions.big_cores(StatefulPhone()) == "c"


def test_the_mean_clock_is_weighted_by_the_time_at_each_frequency() -> None:
    before = {0: {300_000: 10, 1_800_000: 10}, 7: {2_850_000: 5}}
    after = {0: {300_000: 10, 1_800_000: 30}, 7: {500_000: 30, 2_850_000: 15}}
    assert conditions.mean_khz(before, after) == {"cpu_khz_mean": "1800000,1087500"}
    assert conditions.mean_khz({}, {}) == {}


class Refusing(LocalTransport):
    """A phone that answers every command with one text and one exit code."""

    answer = ShellResult(1, "")

    def shell(self, command: str, *, timeout_s: float = 30.0) -> ShellResult:
        return self.answer


def test_settings_that_can_not_be_noted_or_restored_are_told() -> None:
    phone = Refusing()
    phone.answer = ShellResult(1, "stay_on_while_plugged_in\n")
    with pytest.raises(DeviceError, match=r"could not be restored \(stay_on_while_plugged_in\): run `sh /data/local"):
        phone_settings.restore(phone)
    phone_settings.tidy(phone)  # tells it in the log
    phone.answer = ShellResult(1, "nothing")
    with pytest.raises(DeviceError, match=r"can't note its settings .* see whether its storage is full"):
        phone_settings.steady(phone).__enter__()
    phone.answer = ShellResult(127, "idle: not found")
    pause = conditions.pause_on(phone, device(clock="unsteady").identity)
    with pytest.raises(DeviceError, match="can't let its clock pass: idle: not found"):
        pause(10.0)
