"""What the report says of its own worth: every doubt is named, and nothing is claimed that was not shown."""

import msgspec
import pytest
from report_factory import changed, make_report
from report_reader import words

from device_profiler.measurement import Verdict, VerdictKind
from pipeline.run_report import Constraint, ParityCheck, RunReport, TimingSource, Whole
from pipeline.run_report.assurance import Assurance, assurances
from pipeline.run_report.decision import decide
from pipeline.run_report.page import page as html


def by_title(report: RunReport, part: str) -> Assurance:
    found = [line for line in assurances(report) if part in line.title]
    assert len(found) == 1, [line.title for line in assurances(report)]
    return found[0]


def retimed(network: Whole, **fields: object) -> Whole:
    """The same network with other timings of its paths as a whole."""
    replace = msgspec.structs.replace
    paths = tuple(replace(path, whole=replace(path.whole, **fields)) for path in network.paths)
    return replace(network, paths=paths)


def test_figures_of_different_provenance_are_never_divided(report: RunReport) -> None:
    measured = TimingSource(provenance="measured", requested_unit="npu", actual_unit="npu")
    mixed = changed(report, strongest_single=retimed(report.strongest_single, source=measured))
    decision = decide(mixed)
    assert decision.strongest.speed_up is None
    assert "faster" not in decision.headline
    assert by_title(mixed, "Not every speed-up").level == "bad"


def test_a_slower_winner_is_not_called_faster(report: RunReport) -> None:
    spoilt = changed(report, chosen=retimed(report.chosen, ns=9e7, low_ns=9e7, high_ns=9e7))
    assert "faster" not in decide(spoilt).headline
    assert by_title(spoilt, "differs from its parts").level == "mind"


def test_another_unit_than_asked_for_is_a_problem(report: RunReport) -> None:
    source = TimingSource(provenance="emulated", requested_unit="npu", actual_unit="cpu")
    fallen = changed(report, chosen=retimed(report.chosen, source=source))
    line = by_title(fallen, "Another unit answered")
    assert line.level == "bad"
    assert "NPU" in line.text and "CPU" in line.text


@pytest.mark.parametrize(("kind", "level"), [("PROVEN", "good"), ("PLAUSIBLE", "mind"), ("REFUTED", "bad")])
def test_whether_the_accelerator_ran_is_told_with_its_reasons(
    report: RunReport, kind: VerdictKind, level: str
) -> None:
    verdict = Verdict(kind, "npu", ("the counter of inferences grew by 9", "the control took 3 times longer"))
    line = by_title(changed(report, chosen=retimed(report.chosen, verdict=verdict)), "accelerator ran")
    assert (line.level, line.title) == (level, f"That the accelerator ran is {kind} (npu)")
    assert line.text == "the counter of inferences grew by 9; the control took 3 times longer."


def test_a_bound_that_breaks_on_test_images_is_said(report: RunReport) -> None:
    tight = changed(report, constraints=(Constraint(kind="min_miou", bound=report.chosen.candidate.search.miou),))
    test = report.chosen.candidate.test
    assert test is not None and test.miou < report.chosen.candidate.search.miou
    line = by_title(tight, "new images")
    assert line.level == "mind"
    assert line.title.startswith("Does not hold")


def test_failed_parity_is_a_problem(report: RunReport) -> None:
    failed = ParityCheck(
        place="phone", entry="stage_1", figure="equal labels", value=0.5, limit=0.9, at_most=False, samples=2
    )
    assert by_title(changed(report, parity=(*report.parity, failed)), "Parity failed").level == "bad"
    assert by_title(changed(report, parity=()), "not checked").level == "bad"


def test_optimal_is_claimed_only_when_proven() -> None:
    assert by_title(make_report(optimal=False), "may exist").level == "mind"
    assert "optimum is not proven" in words(html(make_report(optimal=False)))


def test_sensitivity_counts_the_moves_that_change_the_winner(report: RunReport) -> None:
    assert "1 of 6 moves" in by_title(report, "Depends on the device model").text
