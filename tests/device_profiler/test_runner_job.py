"""The job file as text, and what a job refuses before anything is pushed."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiler.errors import InputError
from device_profiler.runner.job import Repetitions, write_calls, write_cascade
from device_profiler.workload import Call, CascadePlan

GOLDEN = Path(__file__).parents[1] / "golden"
ONCE = Repetitions(warmup=1, iterations=2, limit_s=90.5)
PLAN = CascadePlan(("s0", "s1"), (0.75,), ("f0",))


def test_calls_as_text(tmp_path: Path) -> None:
    image = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    write_calls(
        tmp_path, "m.pte", [Call("a", (image, np.array([[1, 2]], np.int8))), Call("b", (image,)), Call("c", ())], ONCE
    )
    assert (tmp_path / "job").read_text() == (GOLDEN / "runner_calls.job").read_text()
    content = (tmp_path / "inputs").read_bytes()
    assert content[:24] == image.tobytes() and content[64:66] == b"\1\2"


def test_cascade_as_text(tmp_path: Path) -> None:
    images = [np.zeros((1, 3, 2, 2), np.float32), np.ones((1, 3, 2, 2), np.float32), np.zeros((1, 3, 2, 2), np.float32)]
    write_cascade(tmp_path, "m.tflite", PLAN, images, ONCE)
    assert (tmp_path / "job").read_text() == (GOLDEN / "runner_cascade.job").read_text()
    assert (tmp_path / "inputs").stat().st_size == 64 + 48, "equal images are stored once"


@given(st.floats(width=32, allow_nan=False))
def test_thresholds_come_back_as_the_same_float32(threshold: float) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        plan = CascadePlan(("s0", "s1"), (threshold,), ("f0",))
        write_cascade(Path(folder), "m", plan, [np.zeros(1, np.float32)], ONCE)
        line = next(line for line in Path(folder, "job").read_text().splitlines() if line.startswith("stage s0"))
    assert np.float32(line.split()[2]) == np.float32(threshold)


@pytest.mark.parametrize(
    ("plan", "rule"),
    [
        (CascadePlan(("a", "b"), (), ("c",)), "2 stages take 1 thresholds, not 0"),
        (CascadePlan(("a", "b"), (0.5,), ("c", "d")), "2 stages take 1 finish entries"),
        (CascadePlan(("a", "b"), (float("nan"),), ("c",)), "thresholds must be numbers"),
        (CascadePlan(("a b",), (), ()), "has a space"),
        (CascadePlan(("",), (), ()), "is empty"),
    ],
)
def test_plans_that_make_no_sense(plan: CascadePlan, rule: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rule):
        write_cascade(tmp_path, "m", plan, [np.zeros(1, np.float32)], ONCE)


def test_nothing_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one call"):
        write_calls(tmp_path, "m", [], ONCE)
    with pytest.raises(InputError, match="at least one image"):
        write_cascade(tmp_path, "m", PLAN, [], ONCE)
    with pytest.raises(InputError, match="warmup and iterations"):
        Repetitions(warmup=-1, iterations=1)
