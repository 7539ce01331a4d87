"""The report of a real run in a real browser: deployed on the emulated phone, opened from disk."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page
from report_browser import Watch, opened

from pipeline.run_report import RunReport, read_report
from tests.deployments import Ran


@pytest.fixture(params=["cpu", "npu"])
def run(request: pytest.FixtureRequest) -> Path:
    ran: Ran = request.getfixturevalue(request.param)
    return ran.run


@pytest.fixture
def report(run: Path) -> RunReport:
    return read_report(run / "report.json")


@pytest.fixture
def seen(run: Path, context: BrowserContext) -> tuple[Page, Watch]:
    return opened(context, (run / "report.html").as_uri())


def test_it_opens_without_a_complaint_and_asks_for_nothing(seen: tuple[Page, Watch]) -> None:
    page, watch = seen
    page.wait_for_load_state("networkidle")
    assert watch.complaints == []
    assert [url for url in watch.requests if not url.startswith(("file://", "data:"))] == []


def test_every_chart_is_drawn(seen: tuple[Page, Watch]) -> None:
    page, _ = seen
    marks = page.evaluate(
        """[...document.querySelectorAll('[data-chart]')]
        .map(chart => [chart.dataset.chart, chart.querySelectorAll('svg path').length])"""
    )
    assert {"pareto", "path", "exits"} <= {name for name, _ in marks}
    assert all(count > 2 for _, count in marks), marks


def test_the_slider_changes_the_chosen_point(seen: tuple[Page, Watch]) -> None:
    page, _ = seen
    slider = page.locator("#explorer [name=latencyRange]")
    slider.focus()
    picked = []
    for key in ("Home", "End"):
        page.keyboard.press(key)
        page.keyboard.press("ArrowRight")
        picked.append((page.locator("#explorer").get_attribute("data-picked"), page.locator("#picked").inner_text()))
    assert picked[0][0] != picked[1][0]
    assert picked[0][1] != picked[1][1]


def test_every_picture_of_the_gallery_loads(seen: tuple[Page, Watch], report: RunReport) -> None:
    page, _ = seen
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    widths = page.evaluate("[...document.images].map(image => image.complete ? image.naturalWidth : 0)")
    assert len(widths) == sum(1 + 3 * len(e.steps) + len(e.others) for e in report.examples) > 0
    assert all(widths)
    assert page.locator(".photo").count() == len(report.examples)


def test_a_phone_s_width_holds_it(seen: tuple[Page, Watch]) -> None:
    page, _ = seen
    page.set_viewport_size({"width": 360, "height": 740})
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    page.wait_for_function(
        "[...document.querySelectorAll('.chart svg')].every(s => s.getBoundingClientRect().right <= innerWidth)"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_page_picks_from_front_json(seen: tuple[Page, Watch], run: Path) -> None:
    page, _ = seen
    shown = page.evaluate("Report.ready.then(packed => packed.explorer)")
    fronts: list[dict[str, Any]] = json.loads((run / "front.json").read_bytes())
    assert {front["setting"] for front in fronts} == set(shown["fronts"]) == {"budgeted", "anytime", "adaptive"}
    for front in fronts:
        points = shown["fronts"][front["setting"]]["points"]
        found = [point["configuration"]["exits"] for point in front["points"]]
        assert [point[0] for point in points] == found
        assert [point[3] for point in points] == pytest.approx([p["miou"] for p in front["points"]], abs=1e-7)
        assert [point[4] for point in points] == pytest.approx([p["latency_ns"] for p in front["points"]], abs=1)


def test_it_holds_what_a_second_run_has_to_show(report: RunReport, run: Path) -> None:
    manifest = json.loads((run / "deployment" / "manifest.json").read_bytes())
    assert report.repeat.hashes["shipped file"] == manifest["artifact"]["sha256"] == report.artifacts[0].sha256
    assert {"statistics.npz", "latency.json", "front.json", "config.toml"} <= set(report.repeat.hashes)
    shipped, said = report.shipped, report.chosen.candidate.test
    assert shipped is not None and said is not None
    assert shipped.miou == pytest.approx(said.miou, abs=0.02)
    assert [entry.name for entry in report.entries] == [entry["name"] for entry in manifest["artifact"]["entries"]]
    assert all(step.confidence_map for example in report.examples for step in example.steps)


def test_only_what_is_quantised_tells_what_quantisation_cost(report: RunReport) -> None:
    if report.target.precision == "fp32":
        assert report.quantisation is None
    else:
        assert report.quantisation is not None
        assert [(s.exit, s.head) for s in report.quantisation.scores] == [(s.exit, s.head) for s in report.exit_scores]
        assert [s.quantised for s in report.quantisation.scores] == [s.miou for s in report.exit_scores]
