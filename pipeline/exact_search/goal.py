"""What the enumerations optimise, and the best that they have found so far, shared between threads."""

import math
import threading
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.exact_search.configuration import LATENCY_TOLERANCE, TIE_MIOU


@dataclass(frozen=True)
class Goal:
    """Most accurate within `max_cost`, or (`cheapest`) cheapest that reaches `min_miou`; always within `max_worst`."""

    cheapest: bool
    max_cost: float = math.inf
    max_worst: float = math.inf
    min_miou: float = -1.0


@dataclass(frozen=True)
class Found:
    """One configuration inside the search space: candidates, threshold intervals, and its worth."""

    miou: float
    cost: float
    chosen: tuple[int, ...]
    levels: tuple[int, ...]
    key: tuple[int, tuple[int, ...], tuple[str, ...]]  # configuration.tie_key

    def beats(self, other: "Found", *, cheapest: bool) -> bool:
        """Whether this one comes first under the goal and the tie rules."""
        gain = self.miou - other.miou if abs(self.miou - other.miou) > TIE_MIOU else 0.0
        saving = other.cost - self.cost if abs(other.cost - self.cost) > LATENCY_TOLERANCE else 0.0
        for difference in (saving, gain) if cheapest else (gain, saving):
            if difference != 0.0:
                return difference > 0
        return self.key < other.key


class Collector(Protocol):
    """What a search over many configurations finds for; safe to offer to from several threads."""

    @property
    def goal(self) -> Goal:
        """What is asked for."""

    @property
    def best(self) -> Found | None:
        """The best found so far."""

    @property
    def of_every_choice(self) -> bool:
        """Whether the best thresholds of every choice of exits and heads are wanted, not the best of all alone."""

    def bounds(self) -> tuple[float, float]:
        """(highest cost, lowest mIoU) that a configuration must meet to be worth finding; they only get tighter."""

    def offer(self, found: Found) -> None:
        """Keep `found` where it is wanted."""


@dataclass
class Incumbent:
    """The best found so far under a goal."""

    goal: Goal
    best: Found | None = None
    of_every_choice: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def offer(self, found: Found) -> None:
        """Keep `found` where it beats the best so far."""
        with self._lock:
            if self.best is None or found.beats(self.best, cheapest=self.goal.cheapest):
                self.best = found

    def bounds(self) -> tuple[float, float]:
        """(highest cost, lowest mIoU) that a configuration must meet to be worth finding."""
        best = self.best
        if best is None:
            return self.goal.max_cost, self.goal.min_miou
        if self.goal.cheapest:
            return min(self.goal.max_cost, best.cost), self.goal.min_miou
        return self.goal.max_cost, max(self.goal.min_miou, best.miou)
