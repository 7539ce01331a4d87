"""The host's loop and the worker's session: exits by threshold, refusals in one line, no harm from a bad file."""

import math
from pathlib import Path

import numpy as np
import pytest
from tiny_conversion import Converted
from tiny_network import images

from device_profiler.errors import InputError, VerificationError
from device_profiler.workload import Array, CascadePlan
from mobile_export import session
from mobile_export.artifact import Artifact, Quantization
from mobile_export.boundary import to_stored
from mobile_export.glue.python import cascade
from mobile_export.glue.python.cascade import Pace
from mobile_export.session import HostSession, real_confidence, run_cascade
from mobile_export.worker import PATIENCE


class Scripted:
    """A runtime of three stages whose confidences are given; logits carry the stage's number."""

    entries = ("s0", "s1", "s2", "f0", "f1")

    def __init__(self, *stored: int) -> None:
        self.stored = stored
        self.calls: list[str] = []

    def run(self, entry: str, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        self.calls.append(entry)
        number = int(entry[1])
        if entry.startswith("f"):
            return (inputs[0] + 100,)
        logits = np.full(1, number)
        if number == 2:
            return (logits + 100,)
        return np.full(1, 10 + number), logits, np.array([self.stored[number]], np.int8)

    def output_quantization(self, entry: str) -> tuple[Quantization | None, ...]:
        return None, None, Quantization(1 / 255, -128)


PLAN = CascadePlan(("s0", "s1", "s2"), (0.5, 0.75), ("f0", "f1"))


@pytest.mark.parametrize(
    ("stored", "exit_taken", "calls"),
    [
        ((0, 0), 0, ["s0", "f0"]),
        ((-1, 127), 1, ["s0", "s1", "f1"]),
        ((-128, 60), 2, ["s0", "s1", "s2"]),
    ],
)
def test_an_image_leaves_at_the_first_confident_exit(
    stored: tuple[int, int], exit_taken: int, calls: list[str]
) -> None:
    runtime = Scripted(*stored)
    result = run_cascade(runtime, PLAN, np.zeros(1))

    assert (result.exit, runtime.calls) == (exit_taken, calls)
    assert result.labels == 100 + exit_taken
    assert len(result.confidences) == min(exit_taken + 1, 2)


def test_a_confidence_equal_to_its_threshold_leaves() -> None:
    threshold = real_confidence(np.array([5], np.int8), Quantization(1 / 255, -128))
    assert run_cascade(Scripted(5, 0), CascadePlan(PLAN.stages, (threshold, 2.0), PLAN.finish), np.zeros(1)).exit == 0
    assert run_cascade(Scripted(4, 0), CascadePlan(PLAN.stages, (threshold, 2.0), PLAN.finish), np.zeros(1)).exit == 2


ANYTIME = CascadePlan(PLAN.stages, (math.inf, math.inf), PLAN.finish)


@pytest.mark.parametrize("plan", [PLAN, ANYTIME])
def test_a_deadline_ends_before_a_stage_that_would_be_late(plan: CascadePlan) -> None:
    runtime, pace = Scripted(-128, -128), Pace()
    assert run_cascade(runtime, plan, np.zeros(1), pace).exit == 2
    runtime.calls.clear()
    late = run_cascade(runtime, plan, np.zeros(1), pace, deadline_ns=0.0)
    assert (late.exit, late.labels, runtime.calls) == (0, 100, ["s0", "f0"])


def test_no_confidence_ends_an_anytime_cascade() -> None:
    assert run_cascade(Scripted(127, 127), ANYTIME, np.zeros(1)).exit == 2


def test_a_pace_tries_what_never_ran_and_later_what_was_once_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter((0, 1_000))  # one run of 1000 ns, told by a scripted clock
    monkeypatch.setattr(cascade.time, "perf_counter_ns", lambda: next(ticks))
    pace = Pace()
    assert pace.allows(("s1", "f1"), 0.0)
    pace.run(Scripted(0, 0), "f1", (np.zeros(1),))
    assert pace.allows(("s1", "f1"), 1000.0)
    refused = 0
    while not pace.allows(("s1", "f1"), 900.0):
        refused += 1
    assert 1 <= refused <= 20


def test_a_session_runs_entries_one_after_another(artifact: Artifact, converted: Converted) -> None:
    image = images(1, seed=7)
    with HostSession(Path(artifact.path), "litert") as session:
        assert session.entries == ("finish_0", "stage_0", "stage_1")
        stored = to_stored(artifact.entry("stage_0").inputs[0], image)
        features, logits, _ = session.run("stage_0", (stored,))
        again = session.run("stage_0", (stored,))
        (labels,) = session.run("finish_0", (logits,))
        whole = session.run_cascade(CascadePlan(converted.plan.stages, (0.0,), converted.plan.finish), stored)

    assert features.dtype == logits.dtype == np.int8
    assert np.array_equal(features, again[0])
    assert labels.shape == (1, 64, 64)
    assert np.array_equal(whole.labels, labels)
    assert whole.host_ns > 0


def test_refusals_name_the_entry(artifact: Artifact) -> None:
    with HostSession(Path(artifact.path), "litert") as session:
        with pytest.raises(InputError, match="no entry 'stage_7': it has finish_0"):
            session.run("stage_7", (np.zeros(1),))
        with pytest.raises(InputError, match="no entry 'stage_9'"):
            session.run_cascade(CascadePlan(("stage_9",), (), ()), np.zeros(1))
        with pytest.raises(VerificationError, match=r"entry 'stage_0' of cascade\.tflite: ValueError"):
            session.run("stage_0", (np.zeros((1, 64, 64, 3), np.float32),))
        with pytest.raises(VerificationError, match="takes 1 inputs, but 2 were given"):
            session.run("stage_0", (np.zeros(1), np.zeros(1)))


def test_loading_has_a_limit_of_its_own_that_patience_and_size_extend(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_SLOWEST_BYTES_S", 1e18)
    monkeypatch.setattr(session, "LOAD_S", 0.001)
    with pytest.raises(VerificationError, match=r"loading cascade\.tflite gave no answer within 0 s"):
        HostSession(Path(artifact.path), "litert")
    monkeypatch.setattr(session, "_SLOWEST_BYTES_S", Path(artifact.path).stat().st_size / 100)
    HostSession(Path(artifact.path), "litert").close()
    monkeypatch.setattr(session, "_SLOWEST_BYTES_S", 1e18)
    monkeypatch.setenv(PATIENCE, "100000")
    HostSession(Path(artifact.path), "litert").close()


def test_a_file_that_is_no_artifact_is_one_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"not a flatbuffer")
    with pytest.raises(VerificationError, match=r"loading broken\.tflite"):
        HostSession(broken, "litert")
    with pytest.raises(InputError, match="no artifact at"):
        HostSession(tmp_path / "absent.tflite", "litert")
    with pytest.raises(InputError, match="unknown runtime 'onnx'"):
        HostSession(broken, "onnx")
