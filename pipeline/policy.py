"""The exit policy's confidence and the finish: the two small computations that follow a head."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from device_profiler.errors import InputError

DEFAULT_POLICY = "mean"


class Confidence(nn.Module):
    """Logits [N, C, h, w] to one confidence an image, [N] in 0..1, from the top-1 softmax probability of its pixels.

    Policies: `mean` (mean over the pixels) and `share:T` (share of the pixels whose probability reaches T, as in MESS,
    arXiv 2106.03527). An image leaves at an exit iff the confidence is at least the exit's threshold.

    Softmax stays along dimension 1: moved to the last dimension, one runtime returns wrong values without a word.

    Raises:
        InputError: `policy` is neither.
    """

    def __init__(self, policy: str = DEFAULT_POLICY) -> None:
        super().__init__()
        self.policy = policy
        self.pixel_threshold = parse_policy(policy)

    def forward(self, logits: Tensor) -> Tensor:
        top = torch.softmax(logits, dim=1).amax(dim=1)
        if self.pixel_threshold is not None:
            top = (top >= self.pixel_threshold).to(torch.float32)
        return top.mean(dim=(1, 2))


def parse_policy(policy: str) -> float | None:
    """The pixel threshold of `share:T`, None for `mean`; InputError for anything else."""
    if policy == "mean":
        return None
    kind, _, value = policy.partition(":")
    try:
        threshold = float(value)
    except ValueError:
        threshold = -1.0
    if kind != "share" or not 0.0 < threshold < 1.0:
        raise InputError(f"unknown exit policy {policy!r}; choose `mean` or `share:T` with 0 < T < 1, e.g. `share:0.9`")
    return threshold


class Finish(nn.Module):
    """Logits [N, C, h, w] to labels int32 [N, H, W] at the input's size: bilinear enlargement, then the best class."""

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        self.size = (int(size[0]), int(size[1]))

    def forward(self, logits: Tensor) -> Tensor:
        return enlarge(logits, self.size).argmax(dim=1).to(torch.int32)


def enlarge(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits at `size` (height, width), bilinear with pixel centres (align_corners=False)."""
    return functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
