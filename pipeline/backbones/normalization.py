"""The first thing a backbone does: pixels in 0..255 to the range that it was trained on."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """Pixels [N, 3, H, W] in 0..255 to (pixel - offset) / scale, by channel or alike for all."""

    offset: Tensor
    factor: Tensor

    def __init__(self, offset: float | Sequence[float], scale: float | Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("offset", _by_channel(offset), persistent=False)
        self.register_buffer("factor", 1.0 / _by_channel(scale), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.offset) * self.factor


def _by_channel(values: float | Sequence[float]) -> Tensor:
    """[1, 3, 1, 1]."""
    three = [values] * 3 if isinstance(values, (int, float)) else list(values)
    return torch.tensor(three, dtype=torch.float64).reshape(1, 3, 1, 1).to(torch.float32)
