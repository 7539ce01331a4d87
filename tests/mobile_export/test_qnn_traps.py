"""What ExecuTorch's Qualcomm backend gets wrong, with the cure; in a process alone, for it loads Qualcomm's code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mobile_export import qnn_sdk

ROOT = Path(__file__).parents[2]
ORDERED = """
import sys
from pathlib import Path

import numpy as np
from tiny_network import cascade_programs, cascade_samples, images

from mobile_export import executorch_qnn, qnn_sdk
from mobile_export.runtimes import ExecutorchRuntime

order, cured, place = sys.argv[1:]
qnn_sdk.load()
from executorch.backends.qualcomm._passes import layout_transform

# The backend goes over a tensor's users as they lie in a set, by address: here in the graph's order, or against it.
layout_transform.set = lambda users: list(users)[::-1] if order == "last" else list(users)
if cured == "no":
    executorch_qnn.QNN_REWRITES = executorch_qnn.QNN_REWRITES[:-1]
programs, _ = cascade_programs()
((inputs, expected),) = cascade_samples(programs, images(1, seed=7))["stage_0"]
artifact = executorch_qnn.export_sm8550(programs[:1], Path(place), precision="fp16")
logits = ExecutorchRuntime(Path(artifact.path), 1).run("stage_0", inputs)[1]
print("agree", float((logits.argmax(1) == expected[1].argmax(1)).mean()))
"""


def agreement(order: str, cured: str, place: Path) -> float:
    """Share of pixels with eager's label where users are visited in this order."""
    words = [sys.executable, "-c", ORDERED, order, cured, str(place / "stage.pte")]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=400, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return float(done.stdout.split("agree")[-1])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not (qnn_sdk.folder() / qnn_sdk.LICENCE).is_file(), reason="Qualcomm's libraries absent")
def test_an_output_that_the_graph_goes_on_with_keeps_its_layout(tmp_path: Path) -> None:
    assert all(agreement(order, "yes", tmp_path) > 0.99 for order in ("first", "last"))
    assert min(agreement(order, "no", tmp_path) for order in ("first", "last")) < 0.5
