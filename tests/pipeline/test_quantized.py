"""Exported parts, chained on the host, say what eager PyTorch says of every exit and head on every image."""

from pathlib import Path

import numpy as np
import pytest

from mobile_export.export_worker import export_in_worker
from pipeline.data import DataAmounts, load_source
from pipeline.evaluation import evaluate
from pipeline.model import build_model, design_model
from pipeline.partition import Partition
from pipeline.policy_name import AGREEMENT
from pipeline.progress import SilentProgress
from pipeline.quantized import quantized_statistics

HEADS = ("fcn-r1", "fcn-r4")


@pytest.mark.usefixtures("own_cache")
def test_a_chain_of_parts_asks_the_witness_that_evaluation_asks(tmp_path: Path) -> None:
    """In fp32, where both must agree: a position in a hundred may lie on a tie."""
    source = load_source("shapes", size=(64, 64), area=0, amounts=DataAmounts(2, 2, 2, 4))
    spec = design_model(
        source.classes.names, source.size, backbone="user_networks:Plain", output_stride=16, exits=3, heads=HEADS
    )
    model, file = build_model(spec, seed=3), tmp_path / "parts.pte"
    artifact = export_in_worker("executorch", Partition(model, AGREEMENT).parts(), file, precision="fp32")
    ignore, progress = source.classes.ignore, SilentProgress()
    chained = quantized_statistics(artifact, file, spec, source.test, ignore, AGREEMENT, progress)
    eager = evaluate(model, source.test, progress, ignore=ignore, policy=AGREEMENT)
    np.testing.assert_allclose(chained.confidence, eager.confidence, atol=0.01)
    np.testing.assert_allclose(chained.union, eager.union, atol=0.01 * 64 * 64)
    assert not eager.confidence[0].any()
    judged = eager.confidence[1:]
    assert np.ptp(judged) > 0.1, "a wrong witness would say something else"
