"""Runs side by side: what each chose and what it gains, and where they differ. Figures rank only where they may."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.run_report import wording
from pipeline.run_report.assurance import Assurance, assurances
from pipeline.run_report.charts import Specification, pareto_chart, pareto_series, quality_ends
from pipeline.run_report.decision import Decision, decide
from pipeline.run_report.figures import expected
from pipeline.run_report.palette import CHOSEN, FRONTS, REFERENCE, SINGLE, STRONGEST, Series
from pipeline.run_report.record import RunReport

NOT_SET = "–"


@dataclass(frozen=True)
class ComparedRun:
    """One column. `against_first`: how its latency stands to the first run's, in words; empty for the first."""

    report: RunReport
    decision: Decision
    chart: str
    against_first: str
    concerns: tuple[Assurance, ...]


@dataclass(frozen=True)
class Difference:
    """Something that is not the same in all runs: an option, a version or a hash."""

    kind: str
    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class ClassRow:
    """IoU of one class by run on the test split; None where it is absent or the run has no such class."""

    name: str
    ious: tuple[float | None, ...]


def compared_runs(reports: Sequence[RunReport]) -> list[ComparedRun]:
    """A column for each run, in the order given."""
    return [
        ComparedRun(
            report,
            decide(report),
            _chart_name(n),
            _against(reports[0], report) if n else "",
            tuple(line for line in assurances(report) if line.level != "good"),
        )
        for n, report in enumerate(reports)
    ]


def _against(first: RunReport, other: RunReport) -> str:
    """A ratio of latencies, but never of two that were obtained in different ways."""
    one, two = expected(first.chosen), expected(other.chosen)
    if one.source.provenance != two.source.provenance:
        return f"not comparable: {two.source.provenance} against {one.source.provenance}"
    ratio = one.ns / two.ns
    return f"{wording.ratio(ratio)} the speed of {first.run}"


def comparison_charts(reports: Sequence[RunReport]) -> dict[str, Specification]:
    """Every run's Pareto chart, all with one mIoU axis; latency axes stay their own."""
    ends = quality_ends(reports)
    return {_chart_name(n): pareto_chart(report, ends) for n, report in enumerate(reports)}


def _chart_name(place: int) -> str:
    return f"pareto-{place}"


def series_of(reports: Sequence[RunReport]) -> list[Series]:
    """The series of all charts, each once, back to front."""
    drawn = {series for report in reports for series, _ in pareto_series(report)}
    return [series for series in (SINGLE, *FRONTS.values(), REFERENCE, STRONGEST, CHOSEN) if series in drawn]


def compared_classes(reports: Sequence[RunReport]) -> list[ClassRow]:
    """IoU by class of every run's chosen configuration."""
    names = dict.fromkeys(name for report in reports for name in report.data.classes)
    by_run = [_class_ious(report) for report in reports]
    return [ClassRow(name, tuple(ious.get(name) for ious in by_run)) for name in names]


def _class_ious(report: RunReport) -> dict[str, float | None]:
    test = report.chosen.candidate.test
    return dict(zip(report.data.classes, test.class_iou, strict=False)) if test else {}


def differences(reports: Sequence[RunReport]) -> list[Difference]:
    """Options, versions and hashes that are not the same in all runs."""
    kinds = {
        "option": [_options(report) for report in reports],
        "version": [report.repeat.versions for report in reports],
        "hash": [report.repeat.hashes for report in reports],
    }
    return [row for kind, by_run in kinds.items() for row in _differing(kind, by_run)]


def _options(report: RunReport) -> dict[str, str]:
    try:
        return {name: str(value) for name, value in tomllib.loads(report.repeat.config).items()}
    except tomllib.TOMLDecodeError:
        return {"config.toml": "not readable"}


def _differing(kind: str, by_run: Sequence[dict[str, str]]) -> list[Difference]:
    names = dict.fromkeys(name for values in by_run for name in values)
    rows = [Difference(kind, name, tuple(values.get(name, NOT_SET) for values in by_run)) for name in names]
    return [row for row in rows if len(set(row.values)) > 1]
