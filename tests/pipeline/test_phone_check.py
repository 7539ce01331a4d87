"""What may differ between a phone and this machine: a few positions of a confidence that counts them, no more."""

import numpy as np
import pytest

from device_profiler.errors import VerificationError
from mobile_export.artifact import EntryPoint, Port, Quantization
from mobile_export.tensors import TensorSpec
from pipeline.phone_check import compare_outputs
from pipeline.policy_name import AGREEMENT, parse_policy

POSITIONS = 16


def entry(dtype: str, quantization: Quantization | None) -> EntryPoint:
    logits, confidence = TensorSpec("logits", (1, 3, 4, 4), dtype), TensorSpec("confidence", (1,), dtype)
    return EntryPoint("stage_0", (), (Port(logits, None, "NCHW"), Port(confidence, quantization)), ())


@pytest.mark.parametrize(
    ("moved", "policy", "passes"), [(3, AGREEMENT, True), (4, AGREEMENT, False), (1, "mean", False)]
)
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_confidence_that_counts_positions_may_miss_a_few(dtype: str, moved: int, policy: str, passes: bool) -> None:
    quantization = Quantization(1 / 256, -128) if dtype == "int8" else None
    logits = np.ones((1, 3, 4, 4), dtype)
    phone, host = (
        [logits, np.array([value * 256 - 128 if quantization else value], dtype)]
        for value in (0.5 + moved / POSITIONS, 0.5)
    )
    compared = entry(dtype, quantization), phone, host, parse_policy(policy).flips
    if passes:
        assert all(row.value <= row.limit for row in compare_outputs(*compared))
        return
    with pytest.raises(VerificationError, match=r"stage_0\.confidence"):
        compare_outputs(*compared)
