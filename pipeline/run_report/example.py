"""Example images in a report: what each visited exit said about them."""

from typing import Literal

from pipeline.run_report.row import Row

ExampleSource = Literal["shipped file", "fp32 network"]


class ExampleStep(Row, frozen=True, kw_only=True):
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


class Example(Row, frozen=True, kw_only=True):
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
