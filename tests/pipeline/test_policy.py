import numpy as np
import pytest
import torch

from device_profiler.errors import InputError
from pipeline.policy import Confidence, Finish


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(3, 5, 4, 6, generator=torch.Generator().manual_seed(0)) * 3


def _top_probability(logits: torch.Tensor) -> np.ndarray:
    exponents = np.exp(logits.numpy().astype(np.float64))
    return (exponents / exponents.sum(axis=1, keepdims=True)).max(axis=1)


def test_mean_policy_is_the_mean_top_probability(logits: torch.Tensor) -> None:
    np.testing.assert_allclose(Confidence("mean")(logits), _top_probability(logits).mean(axis=(1, 2)), rtol=1e-5)


def test_share_policy_is_the_share_of_sure_pixels(logits: torch.Tensor) -> None:
    expected = (_top_probability(logits) >= 0.6).mean(axis=(1, 2))
    assert expected.min() > 0 and expected.max() < 1
    np.testing.assert_allclose(Confidence("share:0.6")(logits), expected, rtol=1e-6)


@pytest.mark.parametrize("policy", ["median", "share", "share:", "share:1.5", "share:x", "mean:0.5"])
def test_unknown_policies_are_refused(policy: str) -> None:
    with pytest.raises(InputError, match="choose `mean` or `share:T`"):
        Confidence(policy)


def test_finish_enlarges_before_it_decides(logits: torch.Tensor) -> None:
    labels = Finish((32, 48))(logits)
    enlarged = torch.nn.functional.interpolate(logits, (32, 48), mode="bilinear", align_corners=False)
    assert labels.dtype == torch.int32 and labels.shape == (3, 32, 48)
    assert torch.equal(labels.long(), enlarged.argmax(1))


@pytest.mark.parametrize("module", [Confidence("mean"), Confidence("share:0.9"), Finish((64, 96))])
def test_both_export_without_control_flow(module: torch.nn.Module, logits: torch.Tensor) -> None:
    program = torch.export.export(module.eval(), (logits,), strict=False)
    torch.testing.assert_close(program.module()(logits), module(logits))
