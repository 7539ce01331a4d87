"""Cutting one list of images into splits so that frames of one sequence that lie close together stay on one side."""

import re
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise

from device_profiler.errors import InputError
from pipeline.data.source import SplitName

BLOCKS = 8

TRAIN_ONLY: tuple[SplitName, ...] = ("train", "test", "train", "search", "train", "test", "certify", "train")
TRAIN_BESIDE_TEST: tuple[SplitName, ...] = (
    "train",
    "train",
    "train",
    "search",
    "train",
    "train",
    "certify",
    "train",
)
VALIDATION: tuple[SplitName, ...] = ("search", "certify") * 4

RULE = (
    f"images sorted by name; each sequence (names equal up to their last number) cut into {BLOCKS} contiguous blocks, "
    "the blocks dealt in turn to"
)


def sequence_of(stem: str) -> str:
    """The part of a file's stem that its sequence shares: all before the last number."""
    match = re.fullmatch(r"(.*?)\d+\D*", stem)
    return match[1] if match else stem


def _order(stem: str) -> tuple[str, int, str]:
    match = re.fullmatch(r"(.*?)(\d+)(\D*)", stem)
    return (match[1], int(match[2]), match[3]) if match else (stem, 0, "")


def contiguous_blocks(stems: Sequence[str]) -> list[list[str]]:
    """Blocks of neighbouring frames: `BLOCKS` a sequence, one where a sequence is shorter than that."""
    blocks: list[list[str]] = []
    for _, frames in groupby(sorted(stems, key=_order), key=sequence_of):
        members = list(frames)
        count = BLOCKS if len(members) >= BLOCKS else 1
        edges = [round(position * len(members) / count) for position in range(count + 1)]
        blocks += [members[start:end] for start, end in pairwise(edges)]
    return blocks


def cut(stems: Sequence[str], turns: Sequence[SplitName], where: str) -> Mapping[SplitName, list[str]]:
    """Deal the blocks of `stems` to the splits named by `turns`, again and again.

    Where there are fewer blocks than turns, every image is a block of its own.

    Raises:
        InputError: too few images for every split to get one; `where` names their folder.
    """
    blocks = contiguous_blocks(stems)
    if len(blocks) < len(turns):
        blocks = [[stem] for stem in sorted(stems, key=_order)]
    parts: dict[SplitName, list[str]] = {name: [] for name in turns}
    for position, block in enumerate(blocks):
        parts[turns[position % len(turns)]] += block
    empty = [name for name, members in parts.items() if not members]
    if empty:
        raise InputError(
            f"{where} holds {len(stems)} images, too few to cut {', '.join(parts)} from: it takes {BLOCKS}"
        )
    return parts
