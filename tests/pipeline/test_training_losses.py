import numpy as np
import pytest
import torch
from torch.nn import functional

from pipeline.data.source import Split
from pipeline.training.losses import IGNORED, Teacher, class_weights, segmentation_loss, thin_labels
from pipeline.training.schedule import Variant


@pytest.fixture
def labels() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 3, (2, 8, 8), generator=generator)
    labels[0, 0, :4] = IGNORED
    return labels


def _logits(seed: int) -> torch.Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_positive_filtering_counts_cross_entropy_where_the_teacher_is_right(labels: torch.Tensor) -> None:
    teacher_logits, logits = _logits(0) * 2, _logits(1)
    right = (teacher_logits.argmax(1) == labels) & (labels != IGNORED)
    pixel_loss = functional.cross_entropy(logits, labels.clamp(min=0), reduction="none")
    expected = pixel_loss[right].sum() / (labels != IGNORED).sum()
    only_filtered = Teacher(teacher_logits, labels, torch.ones(3), alpha=1.0).loss(logits)
    torch.testing.assert_close(only_filtered, expected)


def test_the_distillation_term_is_the_divergence_from_the_teacher(labels: torch.Tensor) -> None:
    teacher_logits, logits = _logits(0), _logits(1)
    divergence = functional.kl_div(
        logits.log_softmax(1), teacher_logits.log_softmax(1), log_target=True, reduction="none"
    ).sum(1)
    expected = divergence[labels != IGNORED].mean()
    teacher = Teacher(teacher_logits, labels, torch.ones(3), alpha=0.0)
    torch.testing.assert_close(teacher.loss(logits), expected)
    torch.testing.assert_close(teacher.loss(teacher_logits), torch.tensor(0.0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("variant", ["none", "kd", "filtered-ce", "filtered-kl", "filtered-both"])
def test_each_variant_filters_the_terms_that_it_names(labels: torch.Tensor, variant: Variant) -> None:
    teacher_logits, logits, temperature = _logits(0) * 2, _logits(1), 2.0
    labelled = labels != IGNORED
    right = (teacher_logits.argmax(1) == labels) & labelled
    learned = functional.cross_entropy(logits, labels.clamp(min=0), reduction="none")
    soft, answer = (logits / temperature).log_softmax(1), (teacher_logits / temperature).log_softmax(1)
    pulled = temperature**2 * functional.kl_div(soft, answer, log_target=True, reduction="none").sum(1)
    cross_entropy = learned[right if variant in ("filtered-ce", "filtered-both") else labelled].sum() / labelled.sum()
    divergence = pulled[right if variant in ("filtered-kl", "filtered-both") else labelled].sum() / labelled.sum()
    expected = cross_entropy if variant == "none" else 0.3 * cross_entropy + 0.7 * divergence
    teacher = Teacher(teacher_logits, labels, torch.ones(3), 0.3, variant, temperature)
    torch.testing.assert_close(teacher.loss(logits), expected)


def test_ignored_pixels_count_nowhere(labels: torch.Tensor) -> None:
    changed = _logits(1)
    changed[0, :, 0, :4] += 50
    weights = torch.tensor([0.5, 1.0, 2.0])
    teacher = Teacher(_logits(0), labels, weights, alpha=0.5)
    torch.testing.assert_close(teacher.loss(changed), teacher.loss(_logits(1)))
    torch.testing.assert_close(
        segmentation_loss(changed, labels, weights), segmentation_loss(_logits(1), labels, weights)
    )


def test_a_batch_without_any_label_has_a_finite_distillation_loss() -> None:
    empty = torch.full((2, 8, 8), IGNORED)
    assert torch.isfinite(Teacher(_logits(0), empty, torch.ones(3), alpha=0.5).loss(_logits(1)))


def test_a_batch_without_any_label_teaches_nothing_in_stage_1() -> None:
    logits = _logits(1).requires_grad_()
    loss = segmentation_loss(logits, torch.full((2, 8, 8), IGNORED), torch.ones(3))
    loss.backward()
    assert loss == 0 and logits.grad is not None and not logits.grad.any()


def test_thinned_labels_are_every_nth_and_mark_the_ignored() -> None:
    labels = torch.arange(64).reshape(1, 8, 8)
    assert thin_labels(labels, ignore=18, stride=4).tolist() == [[[IGNORED, 22], [50, 54]]]
    assert torch.equal(thin_labels(labels, ignore=99, stride=1), labels)


def test_rare_classes_weigh_more_and_pixels_weigh_one_on_average() -> None:
    mask = np.zeros((1, 10, 10), np.uint8)
    mask[0, 0, :4] = 1
    mask[0, 9] = 255
    split = Split("train", ("a",), np.zeros((1, 10, 10, 3), np.uint8), mask)
    weights = class_weights(split, 3, 255, power=0.5)
    assert weights[1] / weights[0] == pytest.approx((86 / 4) ** 0.5, rel=1e-5)
    assert float(weights[0] * 86 / 90 + weights[1] * 4 / 90) == pytest.approx(1.0, rel=1e-5)
    assert weights[2] == 1
