"""QNN in Qualcomm's emulation of the NPU: each trap fails without its cure. When one stops failing, its cure can go."""

from pathlib import Path

import numpy as np
import pytest
from tiny_network import cascade_programs, cascade_samples, images, inputs_of

from device_profiler.targets import Precision
from mobile_export import canonical_qnn, executorch_qnn, qnn_sdk
from mobile_export.worker import WorkerProcess

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (qnn_sdk.folder() / qnn_sdk.LICENCE).is_file(), reason="Qualcomm's libraries absent"),
]


def _open(cured: bool, folder: str):  # type: ignore[no-untyped-def]
    """In a worker: export the tiny cascade with or without the cures, run its first stage, compare."""
    if not cured:
        executorch_qnn.QNN_REWRITES = canonical_qnn.REWRITES
        executorch_qnn.LEAST_WEIGHT_STEP = 2.0**-40

    def logits_error(precision: object) -> float:
        from mobile_export.runtimes import load

        programs = cascade_programs()[0]
        path = Path(folder, f"{precision}-{cured}.pte")
        kind: Precision = "fp16" if precision == "fp16" else "int8"
        calibration = inputs_of(cascade_samples(programs, images(8, seed=100)))
        executorch_qnn.export_sm8550(programs, path, precision=kind, calibration=calibration)
        runtime = load(path, "executorch-qnn-sm8550", 1)
        pairs = cascade_samples(programs, images(3, seed=7))["stage_0"]
        found = [runtime.run("stage_0", inputs)[1] for inputs, _ in pairs]
        return float(np.mean([np.abs(f - outputs[1]).mean() for f, (_, outputs) in zip(found, pairs, strict=True)]))

    return logits_error


@pytest.mark.parametrize(("precision", "allowed"), [("fp16", 0.05), ("int8", 0.3)])
def test_logits_are_right_with_the_cures_and_wrong_without(precision: str, allowed: float, tmp_path: Path) -> None:
    errors = []
    for cured in (True, False):
        with WorkerProcess(_open, cured, str(tmp_path)) as worker:
            errors.append(float(str(worker.request(precision, "exporting", 600))))
    assert errors[0] < allowed
    assert errors[1] > 3 * errors[0]
