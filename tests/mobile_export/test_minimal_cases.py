"""The minimal cases of docs/exports/ fail as written and run as cured: a runtime that mended one is to be noticed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).parents[2] / "docs" / "exports"

pytestmark = pytest.mark.slow


def ran(file: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, CASES / file, *words], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("xnnpack_int8.py", "called_twice"),
        ("xnnpack_int8.py", "enlarged_output"),
        ("xnnpack_mixed.py", "behind_padding"),
        ("xnnpack_mixed.py", "output_read"),
    ],
)
def test_a_graph_fails_and_runs_where_it_is_cured(file: str, name: str) -> None:
    assert ran(file, name).returncode != 0
    cured = ran(file, name, "cured")
    assert cured.returncode == 0 and cured.stdout.startswith("runs"), cured.stderr[-2000:]


def test_softmax_behind_a_permute_is_wrong_and_right_in_front_of_it() -> None:
    written, cured = re.findall(r"\w+ (\S+)\n", ran("xnnpack_softmax_after_permute.py").stdout)
    assert float(written) > 0.01 and float(cured) < 1e-5


def test_hardsigmoid_leaves_casts_beside_the_delegate() -> None:
    written, cured = ran("xnnpack_hardsigmoid.py").stdout.strip().splitlines()
    assert "_to_dim_order_copy" in written and "_to_dim_order_copy" not in cured


def test_a_dead_channel_turns_to_noise_unless_its_weights_have_a_least_step() -> None:
    written, cured = re.findall(r"^(?:AsWritten|Cured) (\S+)$", ran("litert_dead_channel.py").stdout, re.MULTILINE)
    assert float(written) > 0.5 and float(cured) < 0.01


def test_vulkan_goes_back_for_a_cast_that_is_not_kept_off_it() -> None:
    written, cured = ran("vulkan_cast_behind_argmax.py").stdout.strip().splitlines()
    assert written.count("executorch_call_delegate") == 2 and cured.count("executorch_call_delegate") == 1
