"""What a report holds: the content of report.json (schema 1).

Units: latencies in nanoseconds, mIoU, IoU, rates, confidences and agreements in [0, 1]. Exits are 0-based indices into
`RunReport.exits`. Struct fields without a value are null on disk; nothing is NaN. Pictures are base64 in JSON.
"""

from typing import Literal

import msgspec

from device_profiler.measurement import DeviceIdentity
from device_profiler.targets import Target
from mobile_export.manifest import Certificate
from pipeline.run_report.candidate import (
    Candidate,
    Choice,
    ExitGroup,
    ExitScore,
    FrontFacts,
    MajorityGuess,
    Sensitivity,
    Setting,
    SizeOffer,
    Whole,
)
from pipeline.run_report.example import Example
from pipeline.run_report.proof import ArtifactFacts, EntryFacts, ParityCheck, QuantisationFacts, ShippedFacts
from pipeline.run_report.row import Row
from pipeline.run_report.timing import PartTiming, TimingSource

SCHEMA = 1

ConstraintKind = Literal["max_latency", "max_worst_latency", "min_miou", "max_drop"]


class Constraint(Row, frozen=True, kw_only=True):
    """A bound of the objective: nanoseconds for the latencies, [0, 1] for `min_miou` and `max_drop`."""

    kind: ConstraintKind
    bound: float


class SearchFacts(Row, frozen=True, kw_only=True):
    """What the search went through. `optimal` is claimed only when proven; `bound` is the best value still possible."""

    configurations: int
    seconds: float
    optimal: bool
    bound: float | None = None


class DataFacts(Row, frozen=True, kw_only=True):
    """The data source as given on the command line, images by split, and class names. `note`: how splits were cut."""

    source: str
    images: dict[str, int]
    classes: tuple[str, ...]
    note: str = ""


class Reused(Row, frozen=True, kw_only=True):
    """Something a stage did not have to do again."""

    stage: str
    what: str


class StageTime(Row, frozen=True, kw_only=True):
    """Wall time of a stage on the host. `beside`: the stage that it ran at the same time as, if any."""

    stage: str
    seconds: float
    beside: str = ""


class Repeat(Row, frozen=True, kw_only=True):
    """What it takes to run this again: the command line, the resolved config.toml, versions, and hashes.

    `also`: what each further command does, and the command. `hashes`: SHA-256 by what it is of.
    """

    command: str
    config: str
    versions: dict[str, str]
    also: dict[str, str] = msgspec.field(default_factory=dict)
    hashes: dict[str, str] = msgspec.field(default_factory=dict)


class RunReport(Row, frozen=True, kw_only=True):
    """Everything the page shows. Split-dependent figures name their split; every latency names its provenance.

    `table`: source of every sum of parts (all `Score` latencies). `form`: how the phone is there ("namespace", "VM",
    "PRoot", "USB", "network"). `chosen`, `reference` (full network) and `strongest_single` (strongest single-exit
    network of the space, head chosen by the same search) are timed whole; `singles`: every exit and head alone;
    `front`: the Pareto sets, one for each of `fronts`, each candidate under the setting that it was found in.
    `near_threshold`: test images whose confidence lies within the parity error of their threshold. `winner_by_macs`:
    the choice were cost counted in multiply-adds. `warnings` stand at the top of the page.
    """

    schema: int = SCHEMA
    run: str
    created: str
    target: Target
    device: DeviceIdentity
    form: str
    backbone: str
    input_size: tuple[int, int]
    """Of the network, (height, width) in pixels."""
    frame_size: tuple[int, int] | None = None
    """Of the camera's frame, where the graph resizes it."""
    sizes: tuple[SizeOffer, ...] = ()
    """Every input size that was offered, where there was more than one."""
    policy: str
    data: DataFacts
    exits: tuple[str, ...]
    setting: Setting
    constraints: tuple[Constraint, ...]
    search: SearchFacts
    table: TimingSource
    chosen: Whole
    reference: Whole
    strongest_single: Whole
    singles: tuple[Candidate, ...]
    front: tuple[Candidate, ...]
    fronts: tuple[FrontFacts, ...] = ()
    parts: tuple[PartTiming, ...]
    exit_scores: tuple[ExitScore, ...]
    majority: MajorityGuess
    groups: tuple[ExitGroup, ...]
    near_threshold: int | None = None
    shipped: ShippedFacts | None = None
    certificate: Certificate | None = None
    examples: tuple[Example, ...]
    parity: tuple[ParityCheck, ...]
    artifacts: tuple[ArtifactFacts, ...]
    entries: tuple[EntryFacts, ...] = ()
    quantisation: QuantisationFacts | None = None
    sensitivity: tuple[Sensitivity, ...] = ()
    winner_by_macs: Choice | None = None
    state_before: dict[str, str] = msgspec.field(default_factory=dict)
    state_after: dict[str, str] = msgspec.field(default_factory=dict)
    reused: tuple[Reused, ...] = ()
    stages: tuple[StageTime, ...]
    repeat: Repeat
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        deepest = max(exit for choice in self._choices() for exit in choice.exits)
        if deepest >= len(self.exits):
            raise ValueError(f"exit index {deepest} is out of range for {len(self.exits)} exits")
        for score in self.exit_scores:
            if len(score.class_iou) != len(self.data.classes):
                raise ValueError(
                    f"class_iou of {self.exits[score.exit]} must have one value "
                    f"per class ({len(self.data.classes)}); got {len(score.class_iou)}"
                )

    @property
    def deadlines_ns(self) -> tuple[float, ...]:
        """When the chosen configuration's answer is read; empty unless it is an anytime one."""
        found = (front.deadlines_ns for front in self.fronts if front.setting == self.setting == "anytime")
        return next(found, ())

    def _choices(self) -> list[Choice]:
        wholes = (self.chosen, self.reference, self.strongest_single)
        return [c.choice for c in (*(w.candidate for w in wholes), *self.singles, *self.front)]
