"""Networks as users write them, imported by tests as `user_networks:NAME`."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Residual(nn.Module):
    """A block with a sum."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, stride, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.short = nn.Conv2d(channels, width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.conv(x)) + self.short(x))


class Plain(nn.Module):
    """Features of a residual network whose stem is written with functions and a weight of its own."""

    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((1, 8, 1, 1), 2.0))
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.stages = nn.ModuleList(
            [Residual(8, 16, 2), Residual(16, 24, 2), Residual(24, 32, 2), Residual(32, 40, 2), Residual(40, 40, 1)]
        )

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x)) * self.gain
        for stage in self.stages:
            x = stage(x)
        return x


class Decides(nn.Module):
    """Control flow on values."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.inner = nn.Sequential(nn.Conv2d(4, 4, 1), Undecided())

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.first(x))


class Undecided(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        return x if x.sum() > 0 else -x


class Shared(nn.Module):
    """One convolution called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.again(functional.relu(self.again(self.first(x))))


def no_module() -> str:
    return "not a module"
