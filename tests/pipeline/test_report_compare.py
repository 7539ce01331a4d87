"""Runs side by side: figures rank only where they may, and what differs is shown."""

import json
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import BrowserContext
from report_browser import opened
from report_factory import make_report

from device_profiler.errors import InputError
from pipeline.__main__ import run
from pipeline.run_report import RunReport, read_report, render_comparison, write_report
from pipeline.run_report.comparison import compared_runs, comparison_charts, differences
from pipeline.run_report.figures import expected


@pytest.fixture(scope="module")
def npu() -> RunReport:
    return make_report("predicted")


@pytest.fixture(scope="module")
def cpu() -> RunReport:
    return make_report("emulated", "budgeted", run="pixel7-cpu")


@pytest.fixture
def runs(npu: RunReport, cpu: RunReport, tmp_path: Path) -> tuple[Path, Path]:
    folders = tmp_path / "runs" / "npu", tmp_path / "runs" / "cpu"
    for folder, report in zip(folders, (npu, cpu), strict=True):
        write_report(report, folder / "report.json")
    return folders


def test_figures_of_different_provenance_do_not_rank(npu: RunReport, cpu: RunReport) -> None:
    first, second = compared_runs([npu, cpu])
    assert first.against_first == ""
    assert second.against_first == "not comparable: emulated against predicted"


def test_two_runs_of_one_kind_rank(npu: RunReport) -> None:
    slower = make_report("predicted", "budgeted", run="budgeted")
    second = compared_runs([npu, slower])[1]
    ratio = expected(npu.chosen).ns / expected(slower.chosen).ns
    assert second.against_first == f"{ratio:.2f}× the speed of {npu.run}"


def test_what_differs_is_shown_and_what_agrees_is_not(npu: RunReport, cpu: RunReport) -> None:
    rows = {row.name: row.values for row in differences([npu, cpu])}
    assert rows["target"] == ("pixel7-npu", "pixel7-cpu")
    assert "seed" not in rows and "torch" not in rows
    other = msgspec.structs.replace(cpu.repeat, versions={**cpu.repeat.versions, "torch": "2.15.0"})
    newer = msgspec.structs.replace(cpu, repeat=other)
    assert {row.name: row.values for row in differences([npu, newer])}["torch"] == ("2.14.1", "2.15.0")
    assert differences([npu, npu]) == []


def test_charts_side_by_side_have_one_quality_axis(npu: RunReport, cpu: RunReport) -> None:
    charts = comparison_charts([npu, cpu])
    domains = {text for chart in charts.values() for text in _quality_domains(chart)}
    assert len(charts) == 2 and len(domains) == 1


def _quality_domains(chart: dict[str, object]) -> set[str]:
    layers = chart["layer"]
    assert isinstance(layers, list)
    scales = [layer["encoding"]["y"].get("scale") for layer in layers if "y" in layer["encoding"]]
    return {json.dumps(scale["domain"]) for scale in scales if scale and "domain" in scale}


def test_the_command_writes_one_page_for_all_runs(
    runs: tuple[Path, Path], context: BrowserContext, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", "--compare", *map(str, runs), "--json"]) == 0
    place = Path(json.loads(capsys.readouterr().out)["report"])
    assert place == runs[0].parent / "comparison.html"
    page, watch = opened(context, place.as_uri())
    assert page.locator("h1").inner_text() == "pixel7-npu and pixel7-cpu side by side"
    for name in ("pareto-0", "pareto-1"):
        assert page.locator(f'[data-chart="{name}"] svg [aria-roledescription="point"]').count() > 10
    page.set_viewport_size({"width": 360, "height": 740})
    page.wait_for_function(
        "[...document.querySelectorAll('.chart svg')].every(s => s.getBoundingClientRect().right <= innerWidth)"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert watch.complaints == []
    assert [url for url in watch.requests if not url.startswith(("file://", "data:"))] == []


def test_names_of_runs_cannot_become_markup(npu: RunReport, tmp_path: Path) -> None:
    evil = msgspec.structs.replace(npu, run="<script>alert(1)</script>")
    render_comparison([npu, evil], tmp_path / "page.html")
    assert "<script>alert" not in (tmp_path / "page.html").read_text()


def test_one_run_is_nothing_to_compare(runs: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="names one run: name two or more, as in --compare runs/A runs/B"):
        run(["report", "--compare", str(runs[0])])


def test_a_run_named_twice_is_refused(runs: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="twice: name each run once"):
        run(["report", "--compare", str(runs[0]), f"{runs[0]}/../npu"])


def test_run_and_compare_do_not_go_together(runs: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="don't go together: name every run after --compare"):
        run(["report", "--run", str(runs[0]), "--compare", *map(str, runs)])


def test_output_names_the_page_of_one_run(runs: tuple[Path, Path], tmp_path: Path) -> None:
    place = tmp_path / "elsewhere" / "page.html"
    assert run(["report", "--run", str(runs[0]), "--output", str(place)]) == 0
    assert read_report(runs[0] / "report.json").run in place.read_text()
    assert not (runs[0] / "report.html").exists()
