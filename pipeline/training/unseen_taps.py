"""Weights that no training image reached: taps of dilated convolutions that lay in the padding at every position."""

import torch
from torch import nn

from pipeline.head_space import ORIGINAL
from pipeline.model import MultiExitModel


def quiet_unseen_taps(model: MultiExitModel) -> None:
    """Zero the taps of every head's convolutions that meet nothing but padding at the model's input size.

    No answer at this size depends on them, so training leaves them at their random initial values; on larger images
    they would meet features. A head that a network came with was trained elsewhere and keeps its own.
    """
    for shape, heads in zip(model.feature_shapes, model.heads, strict=True):
        for name, head in heads.named_children():
            if name != ORIGINAL:
                _quiet(head, (shape[2], shape[3]))


def _quiet(head: nn.Module, size: tuple[int, int]) -> None:
    """`size`: height and width of the features, which every convolution of a head keeps."""
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            rows, columns = (_seen(module, axis, length) for axis, length in enumerate(size))
            with torch.no_grad():
                module.weight *= (rows[:, None] & columns).to(module.weight)


def _seen(convolution: nn.Conv2d, axis: int, length: int) -> torch.Tensor:
    """Which taps [kernel] of a convolution that keeps its input's size meet any of `length` positions."""
    taps = torch.arange(convolution.kernel_size[axis]) - convolution.kernel_size[axis] // 2
    return (taps * convolution.dilation[axis]).abs() < length
