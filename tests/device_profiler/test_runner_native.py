"""The runners, compiled for this machine: outputs, decisions, and every way in which a job can be wrong."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from deployed import ALL, EXECUTORCH, LITERT, LITERT_INT8, NAMES, OUTPUTS, Deployed, middle, plan
from local_transport import LocalTransport

from device_profiler.errors import DeviceError, InputError, VerificationError
from device_profiler.golden import golden_file
from device_profiler.runner.client import Runner, install
from device_profiler.runner.job import GOLDEN_VISIT, Schedule, Settle, Sustain
from device_profiler.runner.results import EntryEvents
from device_profiler.workload import Call, CascadePlan

every_deployment = pytest.mark.parametrize("deployed", ALL, ids=NAMES)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("device"))


def runner_for(deployed: Deployed, root: str) -> Runner:
    return install(LocalTransport(), deployed.runtime, machine="host", root=root)


@every_deployment
def test_outputs_equal_the_reference(deployed: Deployed, deployments: Path, root: str) -> None:
    expected = deployed.expected(deployments)
    results = runner_for(deployed, root).run(
        deployed.path(deployments), deployed.calls(deployments), warmup=1, iterations=3
    )
    assert [result.entry for result in results] == list(OUTPUTS)
    for result in results:
        assert len(result.outputs) == OUTPUTS[result.entry]
        for index, output in enumerate(result.outputs):
            reference = expected[f"{result.entry}.{index}"][0]
            assert output.dtype == reference.dtype and output.shape == reference.shape
            np.testing.assert_allclose(output, reference, rtol=0, atol=deployed.tolerance)


@every_deployment
def test_times_are_reported(deployed: Deployed, deployments: Path, root: str) -> None:
    calls = deployed.calls(deployments)
    for result in runner_for(deployed, root).run(deployed.path(deployments), calls, warmup=0, iterations=4):
        assert len(result.samples_ns) == 4 and min(result.samples_ns) > 0
        assert result.load_ns > 0 and result.first_ns > 0 and result.peak_rss_kb > 1000


def test_int8_outputs_carry_their_quantisation(deployments: Path, root: str) -> None:
    result = runner_for(LITERT_INT8, root).run(
        LITERT_INT8.path(deployments), LITERT_INT8.calls(deployments)[:1], warmup=0, iterations=0
    )[0]
    scale, zero_point = LITERT_INT8.expected(deployments)["confidence_quantization"]
    confidence = result.quantization[2]
    assert confidence is not None
    assert np.float32(confidence.scale) == np.float32(scale) and confidence.zero_point == zero_point


@every_deployment
def test_a_cascade_leaves_where_the_confidence_reaches_the_threshold(
    deployed: Deployed, deployments: Path, root: str
) -> None:
    expected, confidences = deployed.expected(deployments), deployed.confidences(deployments)
    threshold = middle(confidences)
    results = runner_for(deployed, root).run_cascade(
        deployed.path(deployments), plan(threshold), list(expected["images"]), warmup=0, iterations=2
    )
    assert {result.exit for result in results} == {0, 1}
    for index, result in enumerate(results):
        assert result.exit == (0 if confidences[index] >= np.float32(threshold) else 1)
        np.testing.assert_allclose(result.confidences, [confidences[index]], rtol=0, atol=deployed.tolerance)
        assert result.labels.dtype == np.uint8 and result.labels.shape == (1, 32, 32)
        reference = deployed.labels(deployments, result.exit)[index]
        assert np.mean(result.labels == reference) == 1.0
        assert len(result.samples_ns) == 2


def test_a_confidence_equal_to_the_threshold_leaves(deployments: Path, root: str) -> None:
    """The comparison is float32's >=, on the very value that the phone reports."""
    runner, images = runner_for(LITERT_INT8, root), LITERT_INT8.expected(deployments)["images"]
    artifact = LITERT_INT8.path(deployments)
    seen = runner.run_cascade(artifact, plan(2.0), [images[0]], warmup=0, iterations=0)[0].confidences[0]
    above = float(np.nextafter(np.float32(seen), np.float32(2)))
    exits = [
        runner.run_cascade(artifact, plan(limit), [images[0]], warmup=0, iterations=0)[0].exit
        for limit in (seen, above)
    ]
    assert exits == [0, 1]


@every_deployment
def test_a_budgeted_deployment_is_one_program(deployed: Deployed, deployments: Path, root: str) -> None:
    logits = deployed.expected(deployments)["stage_0.1"]
    result = runner_for(deployed, root).run_cascade(
        deployed.path(deployments), CascadePlan(("finish_0",), (), ()), [logits[0]], warmup=0, iterations=1
    )[0]
    assert result.exit == 0 and result.confidences == ()
    np.testing.assert_array_equal(result.labels, deployed.expected(deployments)["finish_0.0"][0])


def test_what_ran_is_told_by_entry(deployments: Path, root: str) -> None:
    """By the delegate, and by kernels of the runtime: both, where both computed."""
    runner = runner_for(EXECUTORCH, root)
    first, last = runner.watch(EXECUTORCH.path(deployments), ["stage_0", "finish_0"])
    assert (first.entry, first.delegate_calls, first.kinds) == ("stage_0", 1, ("amax", "mean", "softmax"))
    assert last == EntryEvents("finish_0", 1, {"argmax.out": 1, "_to_dim_order_copy.out": 1})
    (alone,) = runner.watch(deployments / "portable.pte", ["stage_0"])
    assert alone.delegate_calls == 0 and alone.kernels["convolution.out"] == 3


def test_what_can_not_be_watched_is_told(deployments: Path, root: str) -> None:
    with pytest.raises(VerificationError, match="LiteRT tells no delegate events"):
        runner_for(LITERT, root).watch(LITERT.path(deployments), ["stage_0"])
    with pytest.raises(VerificationError, match="entry nope can't be loaded"):
        runner_for(EXECUTORCH, root).watch(EXECUTORCH.path(deployments), ["nope"])
    with pytest.raises(InputError, match="give at least one entry"):
        runner_for(EXECUTORCH, root).watch(EXECUTORCH.path(deployments), [])


def test_different_quantisation_at_a_boundary_is_an_error(deployments: Path, root: str) -> None:
    """stage_1 takes features, of another scale and shape than stage_0's logits: never a silent cast."""
    images = LITERT_INT8.expected(deployments)["images"]
    swapped = CascadePlan(("stage_0", "stage_1"), (0.5,), ("stage_1",))
    with pytest.raises(VerificationError, match=r"stage_0 hands on int8.*scale .* but stage_1 takes int8"):
        runner_for(LITERT_INT8, root).run_cascade(
            LITERT_INT8.path(deployments), swapped, [images[0]], warmup=0, iterations=1
        )


@every_deployment
def test_wrong_calls_are_told(deployed: Deployed, deployments: Path, root: str) -> None:
    runner, artifact = runner_for(deployed, root), deployed.path(deployments)
    with pytest.raises(VerificationError, match=r"no entry nope; it has: finish_0, stage_0, stage_1"):
        runner.run(artifact, [Call("nope", ())], warmup=0, iterations=1)
    with pytest.raises(VerificationError, match=r"takes 1 inputs, the job gives 0"):
        runner.run(artifact, [Call("stage_0", ())], warmup=0, iterations=1)
    small = np.zeros((1, 3, 31, 32), np.float32)
    with pytest.raises(
        VerificationError, match=r"input 0 of entry stage_0 is .*\[1,3,32,32\].*gives float32\[1,3,31,32\]"
    ):
        runner.run(artifact, [Call("stage_0", (small,))], warmup=0, iterations=1)


@pytest.mark.parametrize("deployed", [EXECUTORCH, LITERT], ids=["executorch", "litert"])
@pytest.mark.parametrize("damage", ["empty", "text", "cut"])
def test_a_damaged_file_is_an_error_not_a_crash(
    deployed: Deployed, damage: str, deployments: Path, root: str, tmp_path: Path
) -> None:
    content = deployed.path(deployments).read_bytes()
    damaged = tmp_path / deployed.file
    damaged.write_bytes({"empty": b"", "text": b"x" * 1000, "cut": content[: len(content) // 2]}[damage])
    with pytest.raises(VerificationError, match=r"can't be loaded|the runtime crashed"):
        runner_for(deployed, root).run(damaged, deployed.calls(deployments), warmup=0, iterations=1, timeout_s=60)


def test_an_absent_file_is_an_error(root: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.pte does not exist"):
        runner_for(EXECUTORCH, root).run(tmp_path / "gone.pte", [Call("a", ())], warmup=0, iterations=1)


def test_nothing_is_left_behind(deployments: Path, root: str) -> None:
    runner = runner_for(EXECUTORCH, root)
    runner.run(EXECUTORCH.path(deployments), EXECUTORCH.calls(deployments), warmup=0, iterations=1)
    with pytest.raises(VerificationError):
        runner.run(EXECUTORCH.path(deployments), [Call("nope", ())], warmup=0, iterations=1)
    assert list(Path(root, "runs").iterdir()) == []


def test_install_pushes_once(tmp_path: Path) -> None:
    first = install(LocalTransport(), "litert", machine="host", root=str(tmp_path))
    program = next(tmp_path.glob("runners/litert-*/litert_runner"))
    stamp = program.stat().st_mtime_ns
    assert install(LocalTransport(), "litert", machine="host", root=str(tmp_path)) == first
    assert program.stat().st_mtime_ns == stamp


def test_a_run_that_takes_too_long_is_ended(deployments: Path, root: str) -> None:
    runner = runner_for(EXECUTORCH, root)
    with pytest.raises(DeviceError, match=r"took more than 1 s and was stopped"):
        runner.run(
            EXECUTORCH.path(deployments), EXECUTORCH.calls(deployments), warmup=0, iterations=10**8, timeout_s=1.0
        )
    processes = subprocess.run(["ps", "ax", "-o", "args="], capture_output=True, text=True, check=True).stdout
    assert f"{root}/runs" not in processes


def test_progress_counts_calls(deployments: Path, root: str) -> None:
    seen: list[tuple[int, int]] = []
    runner_for(EXECUTORCH, root).run(
        EXECUTORCH.path(deployments),
        EXECUTORCH.calls(deployments),
        warmup=0,
        iterations=1,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (3, 3) and all(total == 3 and done <= total for done, total in seen)


@every_deployment
def test_a_schedule_visits_calls_and_the_golden_model_in_one_process(
    deployed: Deployed, deployments: Path, root: str
) -> None:
    runner, calls = runner_for(deployed, root), deployed.calls(deployments)
    visits = (GOLDEN_VISIT, 1, 0, 0, 1, GOLDEN_VISIT)
    schedule = Schedule(visits, 3, Settle(4, 0.5, most=20), golden=golden_file(deployed.runtime))
    ran = runner.follow(deployed.path(deployments), calls[:2], schedule)
    assert [result.entry for result in ran.results] == [call.entry for call in calls[:2]]
    plain = runner.run(deployed.path(deployments), calls[:2], warmup=0, iterations=1)
    for result, alone in zip(ran.results, plain, strict=True):
        assert result.samples_ns == () and result.first_ns > 0
        for output, expected in zip(result.outputs, alone.outputs, strict=True):
            np.testing.assert_array_equal(output, expected)
    assert len(ran.visits) == len(visits) and ran.windows == ()
    for visit in ran.visits:
        assert len(visit.samples_ns) == 3 and min(visit.samples_ns) > 0
        assert 4 <= len(visit.warmup_ns) <= 20 and (visit.settled or len(visit.warmup_ns) == 20)
    starts = [visit.start_ns for visit in ran.visits]
    assert starts == sorted(starts)


@every_deployment
def test_a_schedule_visits_the_paths_of_a_cascade(deployed: Deployed, deployments: Path, root: str) -> None:
    expected = deployed.expected(deployments)
    schedule = Schedule((1, 0, GOLDEN_VISIT, 0, 1), 30, Settle(4, 0.5, most=20), golden=golden_file(deployed.runtime))
    ran = runner_for(deployed, root).follow_cascade(
        deployed.path(deployments), plan(middle(deployed.confidences(deployments))), expected["images"][0], schedule
    )
    assert [len(visit.samples_ns) for visit in ran.visits] == [30] * 5
    assert ran.results[0].labels.shape == (1, 32, 32)


def test_a_sustained_run_is_reported_in_windows_without_a_gap(deployments: Path, root: str) -> None:
    ran = runner_for(EXECUTORCH, root).follow(
        EXECUTORCH.path(deployments), EXECUTORCH.calls(deployments)[:1], Schedule(sustain=Sustain(0, 1, 100))
    )
    starts = [window.start_ns for window in ran.windows]
    assert len(starts) > 2 and starts[0] < 1e8 and starts == sorted(starts) and starts[-1] < 1e9
    assert all(window.samples_ns for window in ran.windows)


def test_schedules_that_make_no_sense(deployments: Path, root: str) -> None:
    runner, calls = runner_for(EXECUTORCH, root), EXECUTORCH.calls(deployments)[:1]
    for schedule, rule in (
        (Schedule((1,), 1), "visit 1 is beyond the 1 calls or exits"),
        (Schedule((GOLDEN_VISIT,), 1), "a visit to the golden model needs 'golden'"),
        (Schedule(sustain=Sustain(3, 1, 100)), "sustain 3 is beyond"),
    ):
        with pytest.raises(DeviceError, match=rule):
            runner.follow(EXECUTORCH.path(deployments), calls, schedule)
