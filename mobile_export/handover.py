"""Which output feeds which input across entry points: read from the entries' names, which are the contract.

Cascades: `stage_<n>` takes the features of `stage_<n-1>`, `finish_<n>` takes the logits of `stage_<n>`; the last
stage gives labels itself.
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


def _into(consumer: str) -> Handover | None:
    if (n := _number("stage", consumer)) or (n := _number("block", consumer)):
        return Handover(f"{consumer.split('_')[0]}_{n - 1}", 0, consumer)
    if (n := _number("finish", consumer)) is not None:
        return Handover(f"stage_{n}", 1, consumer)
    if match := re.fullmatch(r"head_(\d+)_.+", consumer):
        return Handover(f"block_{match[1]}", 0, consumer)
    return None


def _number(kind: str, name: str) -> int | None:
    match = re.fullmatch(rf"{kind}_(\d+)", name)
    return int(match[1]) if match else None
