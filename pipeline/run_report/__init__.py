"""The report of a run: `RunReport` on disk (report.json), and one HTML page made from it that opens offline."""

from pipeline.run_report.candidate import (
    Candidate,
    Choice,
    ExitGroup,
    ExitScore,
    FrontFacts,
    MajorityGuess,
    Score,
    Sensitivity,
    SizeOffer,
    Whole,
)
from pipeline.run_report.example import Example, ExampleStep
from pipeline.run_report.page import render, render_comparison
from pipeline.run_report.pictures import encode_confidence, encode_labels, encode_photo
from pipeline.run_report.proof import (
    ArtifactFacts,
    EntryFacts,
    ParityCheck,
    PrecisionScore,
    QuantisationFacts,
    ShippedFacts,
    TensorFacts,
)
from pipeline.run_report.record import Constraint, DataFacts, Repeat, Reused, RunReport, SearchFacts, StageTime
from pipeline.run_report.storage import HTML_NAME, JSON_NAME, read_report, write_report
from pipeline.run_report.throttling import read_curve
from pipeline.run_report.timing import PartTiming, PathTiming, Timing, TimingSource, timing_of

__all__ = [
    "HTML_NAME",
    "JSON_NAME",
    "ArtifactFacts",
    "Candidate",
    "Choice",
    "Constraint",
    "DataFacts",
    "EntryFacts",
    "Example",
    "ExampleStep",
    "ExitGroup",
    "ExitScore",
    "FrontFacts",
    "MajorityGuess",
    "ParityCheck",
    "PartTiming",
    "PathTiming",
    "PrecisionScore",
    "QuantisationFacts",
    "Repeat",
    "Reused",
    "RunReport",
    "Score",
    "SearchFacts",
    "Sensitivity",
    "ShippedFacts",
    "SizeOffer",
    "StageTime",
    "TensorFacts",
    "Timing",
    "TimingSource",
    "Whole",
    "encode_confidence",
    "encode_labels",
    "encode_photo",
    "read_curve",
    "read_report",
    "render",
    "render_comparison",
    "timing_of",
    "write_report",
]
