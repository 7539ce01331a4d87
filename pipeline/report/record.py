"""What a report holds: the content of report.json (schema 1).

Units: latencies in nanoseconds, mIoU, IoU, rates, confidences and agreements in [0, 1]. Exits are 0-based indices into
`RunReport.exits`. Struct fields without a value are null on disk; nothing is NaN. Pictures are base64 in JSON.
"""

from typing import Literal

import msgspec

from device_profiler.measurement import DeviceIdentity, Measurement, Provenance
from device_profiler.targets import Target
from mobile_export.manifest import Certificate

SCHEMA = 1

Setting = Literal["budgeted", "anytime", "adaptive"]
PartKind = Literal["block", "head", "boundary", "finish"]
ConstraintKind = Literal["max_latency", "max_worst_latency", "min_miou", "max_drop"]
ExampleSource = Literal["shipped file", "fp32 network"]


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A frozen row of report.json; a field that the schema lacks is an error."""


class TimingSource(_Record, frozen=True, kw_only=True):
    """Where latencies come from: how they were obtained, the unit asked for and the unit whose time it is."""

    provenance: Provenance
    requested_unit: str
    actual_unit: str


class Timing(_Record, frozen=True, kw_only=True):
    """One latency with its 95 % interval (low = high on a virtual clock) and the number of runs behind it."""

    ns: float
    low_ns: float
    high_ns: float
    samples: int
    source: TimingSource
    note: str = ""


def timing_of(measurement: Measurement) -> Timing:
    """The report's view of a measurement: its median, interval, number of samples and provenance.

    A predicted time is the requested unit's; the unit that computed the outputs stands in the measurement's note.
    """
    predicted = measurement.provenance == "predicted"
    return Timing(
        ns=measurement.median_ns,
        low_ns=measurement.low_ns,
        high_ns=measurement.high_ns,
        samples=len(measurement.samples_ns),
        source=TimingSource(
            provenance=measurement.provenance,
            requested_unit=measurement.requested_unit,
            actual_unit=measurement.requested_unit if predicted else measurement.actual_unit,
        ),
        note=measurement.note,
    )


class Choice(_Record, frozen=True, kw_only=True):
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


class Score(_Record, frozen=True, kw_only=True):
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


class Candidate(_Record, frozen=True, kw_only=True):
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


class PathTiming(_Record, frozen=True, kw_only=True):
    """One way through a deployment, from the image to the label map, that leaves at `exit`.

    `whole`: timed as one run. `parts_ns`: blocks + heads + boundaries + finish on the way, by the latency table.
    """

    exit: int
    whole: Timing
    parts_ns: float


class Whole(_Record, frozen=True, kw_only=True):
    """An exported configuration timed whole: a path for each selected exit, same order as `Choice.exits`."""

    candidate: Candidate
    paths: tuple[PathTiming, ...]

    def __post_init__(self) -> None:
        taken = tuple(path.exit for path in self.paths)
        if taken != self.candidate.choice.exits:
            raise ValueError(f"paths must leave at exits {list(self.candidate.choice.exits)}; got {list(taken)}")


class Constraint(_Record, frozen=True, kw_only=True):
    """A bound of the objective: nanoseconds for the latencies, [0, 1] for `min_miou` and `max_drop`."""

    kind: ConstraintKind
    bound: float


class SearchFacts(_Record, frozen=True, kw_only=True):
    """What the search went through. `optimal` is claimed only when proven; `bound` is the best value still possible."""

    configurations: int
    seconds: float
    optimal: bool
    bound: float | None = None


class DataFacts(_Record, frozen=True, kw_only=True):
    """The data source as given on the command line, images by split, and class names. `note`: how splits were cut."""

    source: str
    images: dict[str, int]
    classes: tuple[str, ...]
    note: str = ""


class FrontFacts(_Record, frozen=True, kw_only=True):
    """How complete the front of one setting is. `deadlines_ns`: when an anytime result is read, else empty."""

    setting: Setting
    optimal: bool
    configurations: int
    seconds: float
    deadlines_ns: tuple[float, ...] = ()


class PartTiming(_Record, frozen=True, kw_only=True):
    """Latency of one part. `exit` and `head` say which: a boundary is the cost after every selected exit but the last.

    A boundary that does not depend on the exit has `exit` None. `reused`: taken from the store, not run this time.
    """

    kind: PartKind
    timing: Timing
    exit: int | None = None
    head: str = ""
    macs: float | None = None
    reused: bool = False


class ExitScore(_Record, frozen=True, kw_only=True):
    """One exit and head alone on the test split. `class_iou`: by class, None where a class is absent."""

    exit: int
    head: str
    miou: float
    class_iou: tuple[float | None, ...]
    macs: float | None = None


class MajorityGuess(_Record, frozen=True, kw_only=True):
    """The mIoU on the test split of answering the commonest class everywhere."""

    name: str
    miou: float


class ExitGroup(_Record, frozen=True, kw_only=True):
    """The test images that leave at one selected exit: how many, and the mIoU over them alone."""

    exit: int
    images: int
    miou: float | None = None


class ExampleStep(_Record, frozen=True, kw_only=True):
    """What one visited exit said about an example.

    `mask`: label map, PNG of class indices (`encode_labels`). `agreement`: share of labelled pixels that equal the
    truth. `threshold`: None at the last selected exit, where every image leaves. `confidence_map`: top-1 softmax
    probability by pixel of the logits, PNG (`encode_confidence`), empty where none was kept; `map_by`: whose logits
    these are (a program that hands out labels only has none, so the fp32 network's stand in).
    """

    exit: int
    confidence: float | None
    threshold: float | None
    mask: bytes
    agreement: float
    confidence_map: bytes = b""
    map_by: ExampleSource = "shipped file"


class Example(_Record, frozen=True, kw_only=True):
    """A test image: photo (JPEG, `encode_photo`), truth (`encode_labels`) and the exits it visited.

    It leaves at the last step. `others`: what the candidate exits that it did not visit would have said, each by its
    best head of the fp32 network.
    """

    name: str
    photo: bytes
    truth: bytes
    steps: tuple[ExampleStep, ...]
    others: tuple[ExampleStep, ...] = ()

    def __post_init__(self) -> None:
        if not self.steps:
            raise ValueError(f"example {self.name!r} visits no exit")


class ParityCheck(_Record, frozen=True, kw_only=True):
    """One figure of a parity check with the bound it was held against.

    `place`: "host" (vendor runtime against eager PyTorch) or "phone" (the phone's outputs against the host's).
    `limit` is a maximum where `at_most`, else a minimum.
    """

    place: str
    entry: str
    figure: str
    value: float
    limit: float
    at_most: bool = True
    samples: int

    @property
    def passed(self) -> bool:
        """Whether the figure keeps its bound."""
        return self.value <= self.limit if self.at_most else self.value >= self.limit


class ShippedFacts(_Record, frozen=True, kw_only=True):
    """The shipped file itself, run on every image of the test split.

    `flipped`: images that left at another exit than the statistics say. `confidence_error`: largest difference between
    its confidences and the statistics'.
    """

    miou: float
    images: int
    flipped: int
    confidence_error: float


class TensorFacts(_Record, frozen=True, kw_only=True):
    """A tensor at an entry point's edge. real = `scale` * (stored - `zero_point`) where it is quantised, else None."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


class EntryFacts(_Record, frozen=True, kw_only=True):
    """An entry point of the artifact. `host_side`: kinds of operators declared off the delegate."""

    name: str
    operators: int
    delegated: int
    macs: int
    host_side: tuple[str, ...] = ()
    tensors: tuple[TensorFacts, ...] = ()


class PrecisionScore(_Record, frozen=True, kw_only=True):
    """One exit and head alone on the test split, before and after quantisation."""

    exit: int
    head: str
    fp32: float
    quantised: float


class QuantisationFacts(_Record, frozen=True, kw_only=True):
    """What quantisation costs: mIoU of every exit and head before and after, and how many images calibrated it."""

    precision: str
    calibration_images: int
    scores: tuple[PrecisionScore, ...]


class ArtifactFacts(_Record, frozen=True, kw_only=True):
    """A file of the deployment. `delegated_share`: operators on the delegate as a share of all, in [0, 1]."""

    name: str
    sha256: str
    size_bytes: int
    delegated_share: float | None = None


class Sensitivity(_Record, frozen=True, kw_only=True):
    """Who wins when one parameter of the device model is halved and doubled. `source`: a citation, or "assumed"."""

    parameter: str
    value: float
    unit: str
    source: str
    at_half: Choice
    at_double: Choice


class Reused(_Record, frozen=True, kw_only=True):
    """Something a stage did not have to do again."""

    stage: str
    what: str


class StageTime(_Record, frozen=True, kw_only=True):
    """Wall time of a stage on the host. `beside`: the stage that it ran at the same time as, if any."""

    stage: str
    seconds: float
    beside: str = ""


class Repeat(_Record, frozen=True, kw_only=True):
    """What it takes to run this again: the command line, the resolved config.toml, versions, and hashes.

    `also`: what each further command does, and the command. `hashes`: SHA-256 by what it is of.
    """

    command: str
    config: str
    versions: dict[str, str]
    also: dict[str, str] = {}
    hashes: dict[str, str] = {}


class RunReport(_Record, frozen=True, kw_only=True):
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
    """(height, width) in pixels."""
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
    state_before: dict[str, str] = {}
    state_after: dict[str, str] = {}
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

    def _choices(self) -> list[Choice]:
        wholes = (self.chosen, self.reference, self.strongest_single)
        return [c.choice for c in (*(w.candidate for w in wholes), *self.singles, *self.front)]
