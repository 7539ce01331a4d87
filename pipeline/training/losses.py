"""Losses on low-resolution logits: cross entropy, and distillation with and without positive filtering."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.data.source import Split
from pipeline.policy import enlarge
from pipeline.training.schedule import Variant

IGNORED = -100


def class_weights(split: Split, classes: int, ignore: int, power: float) -> Tensor:
    """Weights [C] proportional to frequency^-power, mean 1 over the pixels; 1 where a class never occurs."""
    step = max(1, len(split) // 400)
    counts = np.zeros(256, np.int64)
    for index in range(0, len(split), step):
        counts += np.bincount(np.asarray(split.masks[index]).ravel(), minlength=256)
    counts[ignore] = 0
    frequency = counts[:classes] / max(1, counts[:classes].sum())
    weights = np.where(frequency > 0, np.maximum(frequency, 1e-4) ** -power, 0.0)
    weights /= max(float((weights * frequency).sum()), 1e-12)
    weights[frequency == 0] = 1.0
    return torch.tensor(weights, dtype=torch.float32)


def thin_labels(labels: Tensor, ignore: int, stride: int) -> Tensor:
    """Every `stride`-th label of [B, H, W] in both directions, the ignored ones marked for PyTorch."""
    thinned = labels[:, stride // 2 :: stride, stride // 2 :: stride]
    return thinned.masked_fill(thinned == ignore, IGNORED)


def at_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits [B, C, h, w] enlarged to where the labels [B, H, W] are."""
    return enlarge(logits, (labels.shape[1], labels.shape[2]))


def segmentation_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross entropy of logits [B, C, h, w], enlarged to the labels [B, H, W]; mean over the valid pixels.

    Without a valid pixel nothing is to be learned: 0, with gradients of 0.
    """
    if not (labels != IGNORED).any():
        return logits.sum() * 0.0
    return functional.cross_entropy(at_labels(logits, labels), labels, weight=weights, ignore_index=IGNORED)


class Teacher:
    """The full network's answer on one batch, as distillation uses it.

    L = alpha * CE(y, t) + (1 - alpha) * T^2 * KL(y_N || y), after MESS (arXiv 2106.03527), each term a mean over the
    labelled pixels. Positive filtering lets a term count only where the full network is right: `filtered-ce` the cross
    entropy, `filtered-kl` the divergence, `filtered-both` both; `kd` filters nothing, `none` and `labels` are cross
    entropy alone.
    T, the temperature, divides the logits of the divergence (Hinton et al., arXiv 1503.02531).
    """

    def __init__(
        self,
        logits: Tensor,
        labels: Tensor,
        weights: Tensor,
        alpha: float,
        variant: Variant = "filtered-ce",
        temperature: float = 1.0,
    ) -> None:
        enlarged = at_labels(logits.detach(), labels)
        self.log_probability = (enlarged / temperature if temperature != 1.0 else enlarged).log_softmax(dim=1)
        self.probability = self.log_probability.exp()
        self.labelled = labels != IGNORED
        right = enlarged.argmax(dim=1) == labels
        self.learned = labels.masked_fill(~right, IGNORED) if variant in ("filtered-ce", "filtered-both") else labels
        self.pulled = right & self.labelled if variant in ("filtered-kl", "filtered-both") else self.labelled
        self.count = self.labelled.sum().clamp(min=1)
        self.weight_sum = weights[labels.clamp(min=0)][self.labelled].sum().clamp(min=1e-6)
        self.weights = weights
        self.alpha = 1.0 if variant in ("none", "labels") else alpha
        self.temperature = temperature

    def loss(self, logits: Tensor) -> Tensor:
        """Loss of an exit's logits [B, C, h, w]."""
        enlarged = at_labels(logits, self.learned)
        log_probability = enlarged.log_softmax(dim=1)
        learned = functional.nll_loss(
            log_probability, self.learned, weight=self.weights, ignore_index=IGNORED, reduction="sum"
        )
        if self.alpha == 1.0:
            return learned / self.weight_sum
        return self.alpha * learned / self.weight_sum + (1 - self.alpha) * self._pull(enlarged, log_probability)

    def _pull(self, enlarged: Tensor, log_probability: Tensor) -> Tensor:
        """The divergence from the full network's distribution."""
        if self.temperature != 1.0:
            log_probability = (enlarged / self.temperature).log_softmax(dim=1)
        divergence = (self.probability * (self.log_probability - log_probability)).sum(dim=1)
        return self.temperature**2 * (divergence * self.pulled).sum() / self.count
