"""Seeds by name: what is drawn for a step or a head depends on these alone."""

import torch
from torch import nn

from device_profiler.files import sha256_bytes
from pipeline.head_space import ORIGINAL
from pipeline.model import MultiExitModel


def seed_of(*parts: int | str) -> int:
    """A seed of 60 bits out of several numbers and names."""
    return int(sha256_bytes(repr(parts).encode())[:15], 16)


def start_heads_anew(model: MultiExitModel, seed: int, *, but_reference: bool = False) -> None:
    """Give every head initial values that depend on the seed, its exit and its name alone.

    With `but_reference` the full network's head keeps its own. A head that a network came with always does.
    """
    with torch.random.fork_rng(devices=[]):
        for index, names in enumerate(model.spec.heads):
            for position, name in enumerate(names):
                kept = name == ORIGINAL or (but_reference and (index, position) == model.spec.reference)
                if not kept:
                    torch.manual_seed(seed_of(seed, index, name))
                    _reset(model.head(index, name))


def _reset(head: nn.Module) -> None:
    for module in head.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
