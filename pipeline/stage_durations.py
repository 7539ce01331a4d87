"""How long a stage took here before: the time left of stages that can't count their steps."""

import re
from pathlib import Path
from statistics import median

import msgspec

from device_profiler.files import cache_folder, write_atomic

KEPT = 5
SHORTEST_S = 2.0
"""A stage that ends sooner had nothing to do: it says nothing of how long the next one takes."""


def expected_seconds(title: str) -> float | None:
    """The median of the last times; None where there was none yet."""
    taken = _read(title)
    return median(taken) if taken else None


def remember(title: str, seconds: float) -> None:
    """Note how long the stage took."""
    if seconds < SHORTEST_S:
        return
    write_atomic(_path(title), msgspec.json.encode([*_read(title), round(seconds, 1)][-KEPT:]))


def _read(title: str) -> list[float]:
    try:
        return msgspec.json.decode(_path(title).read_bytes(), type=list[float])
    except (FileNotFoundError, msgspec.DecodeError):
        return []


def _path(title: str) -> Path:
    """One file a stage; what follows a colon (a configuration) is not part of its name."""
    name = re.sub(r"[^a-z0-9]+", "-", title.partition(":")[0].lower()).strip("-")
    return cache_folder("durations") / f"{name}.json"
