"""The report's figures follow from each other: speed-ups, paths, fronts and what a winner is compared with."""

import json
import re
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from report_factory import changed, make_report
from report_reader import words

from pipeline.run_report import RunReport, Timing, TimingSource
from pipeline.run_report.charts import FRONT_POINTS, all_charts, pareto_chart
from pipeline.run_report.decision import decide
from pipeline.run_report.figures import expected, full_path, speed_up, thinned
from pipeline.run_report.tables import front_rows


def test_headline_gives_the_gain_over_the_strongest_single_exit(report: RunReport, page: str) -> None:
    gain = expected(report.strongest_single).ns / expected(report.chosen).ns
    whole = expected(report.reference).ns / expected(report.chosen).ns
    assert f"{gain:.2f}× faster than the strongest single-exit network" in words(page)
    assert gain != pytest.approx(whole, abs=0.01)
    assert f"{whole:.2f}×" in words(page)


def test_expected_latency_weighs_paths_by_test_images(report: RunReport) -> None:
    test = report.chosen.candidate.test
    assert test is not None
    by_hand = sum(rate * path.whole.ns for rate, path in zip(test.exit_rates, report.chosen.paths, strict=True))
    assert expected(report.chosen).ns == pytest.approx(by_hand)


def test_a_single_exit_winner_is_compared_with_the_full_network_alone() -> None:
    report = make_report("emulated", "budgeted")
    decision = decide(report)
    assert decision.alone
    assert "faster than the full network" in decision.headline
    assert [row.name for row in decision.compared] == ["Chosen", "Full network"]
    assert "routing" not in all_charts(report)


def test_intervals_of_a_speed_up_come_from_both_latencies() -> None:
    source = TimingSource(provenance="measured", requested_unit="cpu", actual_unit="cpu")
    fast = Timing(ns=10, low_ns=9, high_ns=11, samples=9, source=source)
    slow = Timing(ns=20, low_ns=18, high_ns=22, samples=9, source=source)
    gain = speed_up(fast, slow)
    assert gain is not None
    assert (gain.value, gain.low, gain.high) == (2, 18 / 11, 22 / 9)


def test_full_path_is_the_sum_that_the_report_gives(report: RunReport) -> None:
    steps = full_path(report)
    assert steps[-1].end_ns == pytest.approx(report.chosen.paths[-1].parts_ns)
    assert [step.part.kind for step in steps].count("head") == len(report.chosen.candidate.choice.exits)
    assert all(a.end_ns == b.start_ns for a, b in pairwise(steps))


def test_a_front_lists_each_network_once(report: RunReport) -> None:
    rows = [row.candidate.choice for row in front_rows(report)]
    keys = [(c.exits, c.heads, c.thresholds, c.setting == "anytime") for c in rows]
    assert len(keys) == len(set(keys))


def test_pareto_chart_shows_each_network_once(report: RunReport) -> None:
    chart = pareto_chart(report)
    text = json.dumps(chart)
    kinds = re.findall(r'"kind": "([^"]+)"', text)
    assert kinds.count("chosen") == kinds.count("strongest single exit") == kinds.count("full network") == 1


def test_a_long_front_is_thinned_and_keeps_its_ends(report: RunReport) -> None:
    many = [report.chosen.candidate] * 5 + [
        msgspec.structs.replace(
            report.chosen.candidate, search=msgspec.structs.replace(report.chosen.candidate.search, latency_ns=ns)
        )
        for ns in np.linspace(1e6, 9e6, 2000).tolist()
    ]
    kept = thinned(many, FRONT_POINTS)
    assert len(kept) == FRONT_POINTS
    assert (kept[0].search.latency_ns, kept[-1].search.latency_ns) == (1e6, 9e6)
    assert any(row.chosen for row in front_rows(changed(report, front=tuple(many))))
