"""Which output feeds which input across entry points: read from the entries' names, which are the contract.

Cascades: `stage_<n>` takes the features of `stage_<n-1>`, `finish_<n>` takes the logits of `stage_<n>`; the last
stage gives labels itself. Entries for another input size carry it at their end: `stage_<n>_at_<width>x<height>`.
Parts: `block_<k>` takes the features of `block_<k-1>`, `head_<k>_<name>` takes those of `block_<k>`.
`finish_<k>` among parts serves several heads: enlarging and argmax don't depend on the scale, so it takes any.
"""

import re
from collections.abc import Sequence

import msgspec


class Handover(msgspec.Struct, frozen=True):
    """Output `output` of entry `producer` is handed on, as stored, to input `input` of entry `consumer`."""

    producer: str
    output: int
    consumer: str
    input: int = 0


def handovers(entries: Sequence[str]) -> tuple[Handover, ...]:
    """The hand-overs among `entries`, in their order."""
    known = set(entries)
    found = [handover for name in entries if (handover := _into(name)) and handover.producer in known]
    return tuple(found)


def at_size(entry: str, size: tuple[int, int]) -> str:
    """Name of an entry at another input size (height, width) of the same file, whose weights it shares."""
    return f"{entry}_at_{size[1]}x{size[0]}"


def _into(consumer: str) -> Handover | None:
    if match := re.fullmatch(r"(stage|block|finish)_(\d+)((?:_at_\d+x\d+)?)", consumer):
        kind, number, size = match[1], int(match[2]), match[3]
        if kind == "finish":
            return Handover(f"stage_{number}{size}", 1, consumer)
        return Handover(f"{kind}_{number - 1}{size}", 0, consumer) if number else None
    if match := re.fullmatch(r"head_(\d+)_.+", consumer):
        return Handover(f"block_{match[1]}", 0, consumer)
    return None
