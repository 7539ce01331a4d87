"""How much work a module is, and where exits lie equidistant in it."""

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from device_profiler.errors import InputError

Size = tuple[int, int]
"""Height and width in pixels."""

GRID = 32
"""Both sides of an input are multiples of this: the least that every offered output stride divides."""


def count_macs(module: nn.Module, shape: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """Multiply-adds of `module` on one input of `shape`, and the shape that comes out; nothing is computed.

    PyTorch's counter counts a multiply-add as two operations.
    """
    meta = copy.deepcopy(module).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        output = meta(torch.zeros(tuple(shape), device="meta"))
    return counter.get_total_flops() // 2, tuple(output.shape)


def check_size(size: Size) -> None:
    """Raise InputError unless both sides are positive multiples of 32, which static padding needs."""
    if min(size) < GRID or any(side % GRID for side in size):
        near = tuple(max(GRID, round(side / GRID) * GRID) for side in size)
        given, better = (f"{height}x{width}" for height, width in (size, near))
        raise InputError(f"input size {given} (height x width) must be multiples of 32; the nearest is {better}")


def place_exits(macs: Sequence[int], count: int) -> tuple[int, ...]:
    """Units whose outputs lie nearest to 1/count, 2/count ... of the backbone's work; the last unit is the last exit.

    Equidistant in multiply-adds as in MESS (arXiv 2106.03527).

    Raises:
        InputError: more exits than units.
    """
    if not 1 <= count <= len(macs):
        raise InputError(f"{count} exits asked for; this backbone offers 1 to {len(macs)}")
    total, done, shares = sum(macs), 0, []
    for work in macs:
        done += work
        shares.append(done / total)
    exits: list[int] = []
    for position in range(1, count + 1):
        first = exits[-1] + 1 if exits else 0
        last = len(macs) - (count - position)
        exits.append(min(range(first, last), key=lambda unit: abs(shares[unit] - position / count)))
    return tuple(exits)
