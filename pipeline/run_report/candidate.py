"""Configurations in a report, and what they are worth on which split."""

from typing import Literal

from pipeline.run_report.row import Row
from pipeline.run_report.timing import PathTiming

Setting = Literal["budgeted", "anytime", "adaptive"]


class Choice(Row, frozen=True, kw_only=True):
    """A configuration: the selected exits in depth order, a head for each, a threshold for each but the last.

    Thresholds are empty for `budgeted` and `anytime`.
    """

    setting: Setting
    exits: tuple[int, ...]
    heads: tuple[str, ...]
    thresholds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.exits or list(self.exits) != sorted(set(self.exits)) or self.exits[0] < 0:
            raise ValueError(f"exits must be ascending indices, at least one; got {list(self.exits)}")
        if len(self.heads) != len(self.exits):
            raise ValueError(f"one head per exit is needed; got {len(self.heads)} for {len(self.exits)} exits")
        wanted = len(self.exits) - 1 if self.setting == "adaptive" else 0
        if len(self.thresholds) != wanted:
            raise ValueError(
                f"{self.setting} with {len(self.exits)} exits takes {wanted} thresholds; got {len(self.thresholds)}"
            )


class Score(Row, frozen=True, kw_only=True):
    """A configuration's figures on one split, by the latency table (sum of parts).

    `exit_rates`: share of images by selected exit, same order as `Choice.exits`, sums to 1. `miou_low`, `miou_high`:
    95 % bootstrap interval over images where one was computed. `class_iou`: by class, None where a class is absent.
    """

    miou: float
    latency_ns: float
    worst_latency_ns: float
    exit_rates: tuple[float, ...]
    miou_low: float | None = None
    miou_high: float | None = None
    class_iou: tuple[float | None, ...] = ()


class Candidate(Row, frozen=True, kw_only=True):
    """A configuration with what the search saw (`search`) and, where computed, what the test split says (`test`)."""

    choice: Choice
    search: Score
    test: Score | None = None
    macs: float | None = None

    def __post_init__(self) -> None:
        for score in (self.search, self.test):
            if score is not None and len(score.exit_rates) != len(self.choice.exits):
                raise ValueError(
                    f"one exit rate per exit is needed; got {len(score.exit_rates)} for {len(self.choice.exits)} exits"
                )


class SizeOffer(Row, frozen=True, kw_only=True):
    """The best configuration at one input size (height, width), on the search split, and the full network's mIoU there.

    `best` is None where nothing at this size meets the objective.
    """

    size: tuple[int, int]
    full_miou: float
    best: Candidate | None
    chosen: bool


class Whole(Row, frozen=True, kw_only=True):
    """An exported configuration timed whole: a path for each selected exit, same order as `Choice.exits`."""

    candidate: Candidate
    paths: tuple[PathTiming, ...]

    def __post_init__(self) -> None:
        taken = tuple(path.exit for path in self.paths)
        if taken != self.candidate.choice.exits:
            raise ValueError(f"paths must leave at exits {list(self.candidate.choice.exits)}; got {list(taken)}")


class ExitScore(Row, frozen=True, kw_only=True):
    """One exit and head alone on the test split. `class_iou`: by class, None where a class is absent."""

    exit: int
    head: str
    miou: float
    class_iou: tuple[float | None, ...]
    macs: float | None = None


class MajorityGuess(Row, frozen=True, kw_only=True):
    """The mIoU on the test split of answering the commonest class everywhere."""

    name: str
    miou: float


class ExitGroup(Row, frozen=True, kw_only=True):
    """The test images that leave at one selected exit: how many, and the mIoU over them alone."""

    exit: int
    images: int
    miou: float | None = None


class FrontFacts(Row, frozen=True, kw_only=True):
    """How complete the front of one setting is. `deadlines_ns`: when an anytime result is read, else empty."""

    setting: Setting
    optimal: bool
    configurations: int
    seconds: float
    deadlines_ns: tuple[float, ...] = ()


class Sensitivity(Row, frozen=True, kw_only=True):
    """Who wins when one parameter of the device model is halved and doubled; None: nothing meets the objective then.

    `source`: a citation, or "assumed".
    """

    parameter: str
    value: float
    unit: str
    source: str
    at_half: Choice | None
    at_double: Choice | None
