"""How many of torch's threads a step of training is worth."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL_STEP = 50_000
"""Pixels of a batch up to which a second thread costs more than it brings (benchmarks/training/threads.py)."""


@contextmanager
def threads_for(pixels: int) -> Iterator[None]:
    """torch's own number of threads, but one for a step of so few pixels; what it was stands again afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if pixels <= SMALL_STEP else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
