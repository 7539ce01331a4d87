"""The same artifacts on the emulated phone: real arm64 kernels over a real adbd, with a virtual clock."""

from pathlib import Path

import numpy as np
import pytest
from deployed import ALL, EXECUTORCH, LITERT_INT8, NAMES, OUTPUTS, Deployed, middle, plan
from local_transport import LocalTransport

from device_profiler.device import Device, identify
from device_profiler.errors import DeviceError, VerificationError
from device_profiler.protocol import forced, measure_calls, measure_cascade, protocol_version
from device_profiler.runner.client import DEVICE_FOLDER, install
from device_profiler.runner.job import Schedule, Settle
from device_profiler.store import Store
from device_profiler.targets import find_target
from device_profiler.transport import Transport
from device_profiler.workload import Call, Operator, Workload

every_deployment = pytest.mark.parametrize("deployed", ALL, ids=NAMES)
ALLOCATOR_NS = 30
"""What the allocator's state may shift a sample by; the clock's rounding is 1 ns."""
OPERATORS = (
    Operator("CONV_2D", 2_000_000, 4_000, 30_000, 20_000, True),
    Operator("DEPTHWISE_CONV_2D", 300_000, 400, 20_000, 20_000, True),
    Operator("MEAN", 0, 0, 5_000, 4, False),
)


@pytest.fixture
def device(transport: Transport) -> Device:
    return Device(transport, identify(transport))


@every_deployment
def test_phone_gives_the_reference_outputs_at_repeatable_times(
    deployed: Deployed, deployments: Path, transport: Transport
) -> None:
    runner, expected = install(transport, deployed.runtime), deployed.expected(deployments)
    first, second = (
        runner.run(deployed.path(deployments), deployed.calls(deployments), warmup=0, iterations=3) for _ in range(2)
    )
    for result, again in zip(first, second, strict=True):
        for index, output in enumerate(result.outputs):
            reference = expected[f"{result.entry}.{index}"][0]
            assert output.dtype == reference.dtype
            np.testing.assert_allclose(output, reference, rtol=0, atol=deployed.tolerance)
        settled = (*result.samples_ns[1:], *again.samples_ns[1:])
        assert max(settled) - min(settled) <= ALLOCATOR_NS, "the same instructions take the same time in every run"


@every_deployment
def test_phone_takes_the_exits_that_the_confidences_say(
    deployed: Deployed, deployments: Path, transport: Transport
) -> None:
    expected, confidences = deployed.expected(deployments), deployed.confidences(deployments)
    threshold = middle(confidences)
    results = install(transport, deployed.runtime).run_cascade(
        deployed.path(deployments), plan(threshold), list(expected["images"]), warmup=0, iterations=1
    )
    exits = [result.exit for result in results]
    assert exits == [0 if confidence >= np.float32(threshold) else 1 for confidence in confidences]
    for index, result in enumerate(results):
        assert np.mean(result.labels == deployed.labels(deployments, result.exit)[index]) == 1.0
    assert max(r.samples_ns[0] for r in results if r.exit == 0) < min(r.samples_ns[0] for r in results if r.exit == 1)


def test_phone_tells_what_ran_as_this_machine_does(deployments: Path, transport: Transport, tmp_path: Path) -> None:
    here = install(LocalTransport(), "executorch", machine="host", root=str(tmp_path))
    there = install(transport, "executorch")
    for path in (EXECUTORCH.path(deployments), deployments / "portable.pte"):
        told = there.watch(path, list(OUTPUTS))
        assert told == here.watch(path, list(OUTPUTS)) and [one.entry for one in told] == list(OUTPUTS)
        assert all(one.kernels for one in told)


def test_phone_tells_what_is_wrong_and_keeps_nothing(deployments: Path, transport: Transport) -> None:
    runner = install(transport, "executorch")
    with pytest.raises(VerificationError, match="no entry nope"):
        runner.run(EXECUTORCH.path(deployments), [Call("nope", ())], warmup=0, iterations=1)
    assert transport.shell(f"ls {DEVICE_FOLDER}/runs").output.strip() == ""


def test_cpu_measurement_is_called_emulated_and_kept(deployments: Path, device: Device, tmp_path: Path) -> None:
    target = find_target("pixel7-cpu")
    workloads = [Workload(f"key-{call.entry}", call, OPERATORS) for call in EXECUTORCH.calls(deployments)[:2]]
    measured = [call.measurement for call in measure_calls(device, target, EXECUTORCH.path(deployments), workloads)]
    assert [one.key for one in measured] == ["key-stage_0", "key-stage_1"]
    for one in measured:
        assert (one.provenance, one.requested_unit, one.actual_unit) == ("emulated", "cpu", "cpu")
        assert one.low_ns == one.median_ns == one.high_ns == one.samples_ns[-1]
        assert one.state_before["battery_level"] and one.state_after["thermal_status"] == "0"
        assert one.identity.emulated and one.identity.model == "Pixel 7"
    with Store(tmp_path / "store.sqlite") as store:
        store.add(measured[0])
        assert (
            store.get("key-stage_0", device.identity.fingerprint, "pixel7-cpu", protocol_version(target)) == measured[0]
        )


def test_npu_measurement_is_predicted_beside_real_outputs(deployments: Path, device: Device) -> None:
    target, call = find_target("pixel7-npu"), LITERT_INT8.calls(deployments)[0]
    (measured,) = measure_calls(device, target, LITERT_INT8.path(deployments), [Workload("key", call, OPERATORS)])
    one = measured.measurement
    assert (one.provenance, one.requested_unit, one.actual_unit) == ("predicted", "npu", "cpu")
    assert one.median_ns != pytest.approx(one.executed_ns[0]) and 0 < one.overhead_ns < one.median_ns
    assert one.versions["device_model"].startswith("tensor-g2-tpu 1 ")
    np.testing.assert_array_equal(measured.outputs[0], LITERT_INT8.expected(deployments)["stage_0.0"][0])


def test_each_path_of_a_cascade_is_measured_whole(deployments: Path, device: Device) -> None:
    target, image = find_target("pixel7-cpu"), EXECUTORCH.expected(deployments)["images"][0]
    operators = dict.fromkeys(("stage_0", "stage_1", "finish_0"), OPERATORS)
    early, late = measure_cascade(
        device, target, EXECUTORCH.path(deployments), plan(0.5), image, key="whole", operators=operators
    )
    assert (early.entry, late.entry) == ("path_0", "path_1")
    parts = measure_calls(
        device,
        target,
        EXECUTORCH.path(deployments),
        [Workload(call.entry, call, OPERATORS) for call in EXECUTORCH.calls(deployments)],
    )
    stage_0, stage_1, finish_0 = (part.measurement.median_ns for part in parts)
    assert early.median_ns == pytest.approx(stage_0 + finish_0, rel=0.03)
    assert late.median_ns == pytest.approx(stage_0 + stage_1, rel=0.03)


def test_a_schedule_visits_the_paths_of_a_cascade_in_its_order(deployments: Path, transport: Transport) -> None:
    runner, path = install(transport, EXECUTORCH.runtime), EXECUTORCH.path(deployments)
    image, either = EXECUTORCH.expected(deployments)["images"][0], plan(0.5)
    early, late = (
        runner.run_cascade(path, forced(either, exit), [image], warmup=2, iterations=1)[0].samples_ns[0]
        for exit in range(2)
    )
    assert late > 1.05 * early, "the two can be told apart"
    visits = runner.follow_cascade(path, either, image, Schedule((1, 0, 0, 1), 2, Settle(2, 0.5, most=4))).visits
    for visit, expected in zip(visits, (late, early, early, late), strict=True):
        assert visit.samples_ns == pytest.approx((expected, expected), rel=0.01)


def test_a_phone_without_room_is_a_clear_error(deployments: Path, transport: Transport) -> None:
    with pytest.raises(DeviceError, match="refused"):
        install(transport, "executorch", root="/proc/nowhere")
