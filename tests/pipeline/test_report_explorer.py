"""Asking the fronts for something else: the page picks what the points of the front say, by slider, key and number."""

from argparse import Namespace

import pytest
from playwright.sync_api import BrowserContext, Locator, Page
from report_browser import drawn, opened
from report_factory import make_report

from pipeline.cli import deploy
from pipeline.cli.parser import parse, verb_parser
from pipeline.durations import parse_duration
from pipeline.run_report import Candidate, RunReport, render
from pipeline.run_report.explorer import explorer
from pipeline.run_report.wording import configuration, duration, percent


@pytest.fixture(scope="module")
def report() -> RunReport:
    return make_report("emulated")


@pytest.fixture(scope="module")
def address(report: RunReport, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    render(report, path)
    return path.as_uri()


@pytest.fixture
def page(context: BrowserContext, address: str) -> Page:
    return opened(context, address)[0]


def of(report: RunReport, setting: str) -> list[Candidate]:
    return [candidate for candidate in report.front if candidate.choice.setting == setting]


def within(report: RunReport, setting: str, latency_ns: float) -> Candidate:
    """The most accurate within a latency, by the plain definition."""
    fitting = [c for c in of(report, setting) if c.search.latency_ns <= latency_ns]
    return max(fitting, key=lambda c: c.search.miou)


def losing(report: RunReport, setting: str, drop: float) -> Candidate:
    """The cheapest that loses at most `drop` of mIoU, by the plain definition."""
    floor = report.reference.candidate.search.miou - drop
    return min((c for c in of(report, setting) if c.search.miou >= floor), key=lambda c: c.search.latency_ns)


def picked(page: Page) -> str:
    return str(page.locator("#explorer").get_attribute("data-picked"))


def field(page: Page, name: str) -> Locator:
    return page.locator(f"#explorer [name={name}]")


def ring(page: Page) -> tuple[float, float]:
    """Where the chart shows the picked point."""
    box = page.locator('[data-chart="pareto"] svg .mark-symbol path[fill="transparent"]').bounding_box()
    assert box is not None
    return box["x"], box["y"]


def test_it_starts_at_the_run_s_own_question(page: Page, report: RunReport) -> None:
    bound = report.constraints[0].bound
    assert picked(page) == configuration(losing(report, "adaptive", bound).choice, report.exits)
    assert field(page, "drop").input_value() == f"{100 * bound:g}"


def test_moving_the_slider_moves_the_chosen_point(page: Page, report: RunReport) -> None:
    front = of(report, "adaptive")
    seen, places = set(), set()
    for candidate in (front[0], front[len(front) // 2], front[-1]):
        field(page, "latencyRange").fill(f"{candidate.search.latency_ns / 1e6 + 0.1:.1f}")
        asked = float(field(page, "latency").input_value()) * 1e6
        wanted = within(report, "adaptive", asked)
        assert picked(page) == configuration(wanted.choice, report.exits)
        text = page.locator("#picked").inner_text()
        assert percent(wanted.search.miou) in text
        assert f"{duration(wanted.search.latency_ns)} (emulated, CPU)" in text
        assert f"{duration(wanted.search.worst_latency_ns)} (emulated, CPU)" in text
        assert ", ".join(str(threshold) for threshold in wanted.choice.thresholds) in text
        seen.add(picked(page))
        places.add(ring(page))
    assert len(seen) == len(places) == 3


def test_arrow_keys_move_it_too(page: Page, report: RunReport) -> None:
    slider = field(page, "latencyRange")
    slider.focus()
    page.keyboard.press("Home")
    before = picked(page)
    for _ in range(60):
        page.keyboard.press("ArrowRight")
    assert picked(page) != before
    asked = float(field(page, "latency").input_value()) * 1e6
    assert picked(page) == configuration(within(report, "adaptive", asked).choice, report.exits)
    assert "milliseconds" in str(slider.get_attribute("aria-valuetext"))


def test_a_typed_loss_of_accuracy_is_taken_exactly(page: Page, report: RunReport) -> None:
    field(page, "drop").fill("3.25")
    assert picked(page) == configuration(losing(report, "adaptive", 0.0325).choice, report.exits)
    assert page.locator("#explorer [name=ask][value=drop]").is_checked()


def typed(page: Page) -> Namespace:
    """The page's command as `deploy` reads it."""
    words = page.locator("#typed").inner_text().replace("\n", " ").split()
    assert words[:4] == ["python", "-m", "pipeline", "deploy"]
    options = [word for pair in zip(words[4::2], words[5::2], strict=True) for word in pair if "--seed" not in pair]
    return parse(verb_parser("deploy", deploy), options)


def test_another_setting_has_a_front_of_its_own(page: Page, report: RunReport) -> None:
    page.locator("#explorer [name=setting][value=budgeted]").check()
    field(page, "drop").fill("1")
    assert picked(page) == configuration(losing(report, "budgeted", 0.01).choice, report.exits)


def test_an_anytime_point_says_when_each_answer_is_there(page: Page, report: RunReport) -> None:
    page.locator("#explorer [name=setting][value=anytime]").check()
    slowest = of(report, "anytime")[-1]
    field(page, "latency").fill(str(slowest.search.latency_ns / 1e6 + 1))
    text = page.locator("#picked").inner_text()
    for exit in slowest.choice.exits:
        assert f"answer of {report.exits[exit]}" in text
    assert f"after {duration(slowest.search.worst_latency_ns)}" in text
    deadlines = next(front.deadlines_ns for front in report.fronts if front.setting == "anytime")
    arguments = typed(page)
    assert (arguments.setting, [parse_duration(one) for one in arguments.deadline]) == ("anytime", list(deadlines))


def test_what_is_too_fast_to_be_true_names_the_fastest(page: Page, report: RunReport) -> None:
    field(page, "latency").fill("0.001")
    assert picked(page) == ""
    assert duration(of(report, "adaptive")[0].search.latency_ns) in page.locator("#picked").inner_text()


def test_the_command_of_a_picked_point_is_one_that_deploy_takes(page: Page, report: RunReport) -> None:
    field(page, "latency").fill("5.5")
    arguments = typed(page)
    assert (arguments.max_latency, arguments.setting, arguments.max_drop) == ("5.5ms", "adaptive", None)


def test_the_picked_point_outlives_a_change_of_colours(page: Page) -> None:
    field(page, "latency").fill("6")
    before, place = picked(page), ring(page)
    page.emulate_media(color_scheme="dark")
    drawn(page, "dark")
    assert picked(page) == before
    assert ring(page) == pytest.approx(place, abs=1)


def test_points_stand_in_the_page_as_they_stand_on_the_front(report: RunReport) -> None:
    explored = explorer(report)
    for setting, front in explored.fronts.items():
        found = of(report, setting)
        assert [point.latency_ns for point in front.points] == [round(c.search.latency_ns) for c in found]
        assert [point.miou for point in front.points] == pytest.approx([c.search.miou for c in found], abs=1e-7)
        assert [tuple(explored.heads[h] for h in p.heads) for p in front.points] == [c.choice.heads for c in found]


@pytest.mark.parametrize("kind", ["max_latency", "min_miou"])
def test_every_kind_of_objective_has_its_place_on_the_sliders(report: RunReport, kind: str) -> None:
    from msgspec.structs import replace

    from pipeline.run_report import Constraint

    full = report.reference.candidate.search.miou
    bound = 5e6 if kind == "max_latency" else full - 0.02
    asked = explorer(replace(report, constraints=(Constraint(kind=kind, bound=bound),)))  # type: ignore[arg-type]
    assert (asked.ask, asked.bound) == (("latency", 5e6) if kind == "max_latency" else ("drop", pytest.approx(0.02)))
