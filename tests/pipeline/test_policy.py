import numpy as np
import pytest
import torch

from device_profiler.errors import InputError
from pipeline import policy_name
from pipeline.policy import MEASURES, REDUCTIONS, Confidence, Finish, enhance_edges
from pipeline.policy_name import AGREEMENT, parse_policy

ALL_POLICIES = [
    "mean",
    "median",
    "margin",
    "entropy",
    "share:0.6",
    "quantile:0.1",
    "patch:0.05",
    "margin-median",
    "entropy-quantile:0.1",
    "margin-share:0.3",
    "mean+edges",
    "share:0.6+edges:1",
]


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(3, 5, 4, 6, generator=torch.Generator().manual_seed(0)) * 3


def _top_probability(logits: torch.Tensor) -> np.ndarray:
    exponents = np.exp(logits.numpy().astype(np.float64))
    return (exponents / exponents.sum(axis=1, keepdims=True)).max(axis=1)


def test_every_measure_and_reduction_that_a_name_may_hold_is_computed() -> None:
    assert (tuple(MEASURES), tuple(REDUCTIONS)) == (policy_name.MEASURES, policy_name.REDUCTIONS)


def test_mean_policy_is_the_mean_top_probability(logits: torch.Tensor) -> None:
    np.testing.assert_allclose(Confidence("mean")(logits), _top_probability(logits).mean(axis=(1, 2)), rtol=1e-5)


def test_share_policy_is_the_share_of_sure_pixels(logits: torch.Tensor) -> None:
    expected = (_top_probability(logits) >= 0.6).mean(axis=(1, 2))
    assert expected.min() > 0 and expected.max() < 1
    np.testing.assert_allclose(Confidence("share:0.6")(logits), expected, rtol=1e-6)


def _pixels(logits: torch.Tensor, policy: str) -> np.ndarray:
    """What the reductions below reduce, by NumPy: [N, h * w]."""
    exponents = np.exp(logits.numpy().astype(np.float64))
    probability = exponents / exponents.sum(axis=1, keepdims=True)
    ordered = np.sort(probability, axis=1)
    if policy.startswith("margin"):
        return (ordered[:, -1] - ordered[:, -2]).reshape(len(logits), -1)
    if policy.startswith("entropy"):
        entropy = -(probability * np.log(probability)).sum(axis=1)
        return (1 - entropy / np.log(probability.shape[1])).reshape(len(logits), -1)
    return ordered[:, -1].reshape(len(logits), -1)


@pytest.mark.parametrize("policy", ["margin", "entropy"])
def test_policies_over_the_whole_distribution(logits: torch.Tensor, policy: str) -> None:
    np.testing.assert_allclose(Confidence(policy)(logits), _pixels(logits, policy).mean(axis=1), rtol=1e-4)


@pytest.mark.parametrize(
    ("policy", "share"),
    [
        *(("median", 0.5), ("quantile:0.1", 0.1), ("quantile:0.9", 0.9)),
        *(("margin-median", 0.5), ("entropy-quantile:0.1", 0.1)),
    ],
)
def test_quantiles_are_values_that_a_share_of_the_pixels_lies_below(
    logits: torch.Tensor, policy: str, share: float
) -> None:
    pixels = np.sort(_pixels(logits, policy), axis=1)
    expected = pixels[:, int(share * pixels.shape[1])]
    np.testing.assert_allclose(Confidence(policy)(logits), expected, rtol=1e-4)
    assert ((pixels < expected[:, None]).mean(axis=1) <= share).all()


def test_agreement_compares_on_the_finer_grid_and_nothing_agrees_without_a_witness(logits: torch.Tensor) -> None:
    policy = Confidence(AGREEMENT)
    assert torch.equal(policy(logits), torch.zeros(3))
    assert torch.equal(policy(logits, logits), torch.ones(3))
    finer = torch.randn(3, 5, 8, 12, generator=torch.Generator().manual_seed(1))
    enlarged = torch.nn.functional.interpolate(logits, (8, 12), mode="bilinear", align_corners=False)
    expected = (enlarged.argmax(1) == finer.argmax(1)).float().mean(dim=(1, 2))
    np.testing.assert_allclose(policy(logits, finer), expected, atol=1e-6)
    assert expected.min() > 0 and expected.max() < 1


def test_only_policies_that_count_positions_allow_for_flips() -> None:
    flips = {policy: parse_policy(policy).flips for policy in (*ALL_POLICIES, AGREEMENT)}
    counting = {"share:0.6", "margin-share:0.3", "share:0.6+edges:1", AGREEMENT}
    assert {policy for policy, number in flips.items() if number} == counting


def test_the_patch_policy_finds_the_one_hard_region() -> None:
    sure = torch.zeros(1, 3, 16, 16)
    sure[:, 0] = 8.0
    hard = sure.clone()
    hard[:, :, 4:8, 8:12] = 0.0
    mean, patch = Confidence("mean"), Confidence("patch:0.01")
    assert mean(sure) - mean(hard) < 0.06
    assert patch(sure) - patch(hard) > 0.6


@pytest.mark.parametrize("spacing", [1, 2, 4])
def test_edges_take_the_median_of_their_neighbourhood_and_nothing_else_changes(spacing: int) -> None:
    generator = torch.Generator().manual_seed(2)
    pixels = torch.rand(1, 6, 8, generator=generator)
    logits = torch.zeros(1, 2, 6, 8)
    logits[:, 1, :, 4:] = 1.0
    enhanced = enhance_edges(pixels, logits, spacing)
    padded = np.pad(pixels[0].numpy(), spacing, mode="edge")
    for y in range(6):
        for x in range(8):
            window = padded[y : y + 2 * spacing + 1 : spacing, x : x + 2 * spacing + 1 : spacing]
            expected = np.median(window) if x in (3, 4) else pixels[0, y, x]
            assert enhanced[0, y, x] == pytest.approx(float(expected))


def test_edge_enhancement_makes_a_sharp_answer_surer_than_its_borders(logits: torch.Tensor) -> None:
    maps = torch.full((1, 3, 12, 12), -4.0)
    maps[:, 0, :, :6], maps[:, 1, :, 6:] = 4.0, 4.0
    maps[:, :, :, 5:7] *= 0.05
    plain, enhanced = Confidence("mean")(maps), Confidence("mean+edges")(maps)
    assert enhanced > plain + 0.05
    uniform = torch.zeros(1, 3, 12, 12)
    assert torch.equal(Confidence("mean")(uniform), Confidence("mean+edges")(uniform))


@pytest.mark.parametrize("policy", ALL_POLICIES)
def test_confidences_lie_in_0_to_1_and_rise_with_certainty(logits: torch.Tensor, policy: str) -> None:
    unsure, sure = (Confidence(policy)(logits * factor) for factor in (0.2, 20.0))
    assert ((unsure >= 0) & (sure <= 1.0 + 1e-6)).all() and (sure > unsure).all()


@pytest.mark.parametrize(
    "policy",
    [
        *("most", "share", "share:", "share:1.5", "share:x", "mean:0.5", "edges", "+edges"),
        *("share-margin:0.5", "margin-", "margin-0.5", "peak-mean"),
        *("agreement:0.5", "agreement+edges", "margin-agreement"),
        *("mean+edgy", "mean+edges2", "mean+edges:", "mean+edges:0", "mean+edges:5"),
    ],
)
def test_unknown_policies_are_refused(policy: str) -> None:
    with pytest.raises(InputError, match=r"choose `mean`, .*`share:T`"):
        Confidence(policy)


def test_finish_enlarges_before_it_decides(logits: torch.Tensor) -> None:
    labels = Finish((32, 48))(logits)
    enlarged = torch.nn.functional.interpolate(logits, (32, 48), mode="bilinear", align_corners=False)
    assert labels.dtype == torch.int32 and labels.shape == (3, 32, 48)
    assert torch.equal(labels.long(), enlarged.argmax(1))


@pytest.mark.parametrize("module", [*map(Confidence, ALL_POLICIES), Finish((64, 96))], ids=[*ALL_POLICIES, "finish"])
def test_all_export_without_control_flow(module: torch.nn.Module, logits: torch.Tensor) -> None:
    program = torch.export.export(module.eval(), (logits,), strict=False)
    torch.testing.assert_close(program.module()(logits), module(logits))
