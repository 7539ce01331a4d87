"""What a report proves by: parity, the shipped file's own answers, its entry points, the cost of quantisation."""

from pipeline.run_report.row import Row


class ParityCheck(Row, frozen=True, kw_only=True):
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


class ShippedFacts(Row, frozen=True, kw_only=True):
    """The shipped file itself, run on every image of the test split.

    `flipped`: images that left at another exit than the statistics say. `confidence_error`: largest difference between
    its confidences and the statistics'.
    """

    miou: float
    images: int
    flipped: int
    confidence_error: float


class TensorFacts(Row, frozen=True, kw_only=True):
    """A tensor at an entry point's edge. real = `scale` * (stored - `zero_point`) where it is quantised, else None."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


class EntryFacts(Row, frozen=True, kw_only=True):
    """An entry point of the artifact. `host_side`: kinds of operators declared off the delegate."""

    name: str
    operators: int
    delegated: int
    macs: int
    host_side: tuple[str, ...] = ()
    tensors: tuple[TensorFacts, ...] = ()


class PrecisionScore(Row, frozen=True, kw_only=True):
    """One exit and head alone on the test split, before and after quantisation."""

    exit: int
    head: str
    fp32: float
    quantised: float


class QuantisationFacts(Row, frozen=True, kw_only=True):
    """What quantisation costs: mIoU of every exit and head before and after, and how many images calibrated it.

    `mixed`: which layers stayed in floating point and why, a line each; empty where none were sought.
    """

    precision: str
    calibration_images: int
    scores: tuple[PrecisionScore, ...]
    mixed: tuple[str, ...] = ()


class ArtifactFacts(Row, frozen=True, kw_only=True):
    """A file of the deployment. `delegated_share`: operators on the delegate as a share of all, in [0, 1]."""

    name: str
    sha256: str
    size_bytes: int
    delegated_share: float | None = None
