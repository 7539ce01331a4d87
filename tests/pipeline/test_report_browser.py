"""The page in a real browser, opened from disk with the network shut: Debian's chromium driven by playwright."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext
from report_browser import drawn, opened
from report_factory import MAP_SIDE, pictures

from pipeline.run_report import RunReport, render
from pipeline.run_report.figures import full_path
from pipeline.run_report.wording import configuration


@pytest.fixture(scope="module")
def address(report: RunReport, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    render(report, path)
    return path.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_opens_offline_without_a_complaint(context: BrowserContext, address: str, scheme: str) -> None:
    page, watch = opened(context, address, scheme)
    page.wait_for_load_state("networkidle")
    assert watch.complaints == []
    assert [url for url in watch.requests if not url.startswith(("file://", "data:"))] == []
    assert watch.requests[0] == address


def test_every_chart_has_its_marks(context: BrowserContext, address: str, report: RunReport) -> None:
    page, _ = opened(context, address)

    def marks(chart: str, role: str) -> int:
        return page.locator(f'[data-chart="{chart}"] svg [aria-roledescription="{role}"]').count()

    assert marks("pareto", "point") >= len(report.singles)
    assert marks("path", "bar") == len(full_path(report))
    assert marks("exits", "point") == len(report.exit_scores)
    assert marks("routing", "bar") == len(report.chosen.candidate.choice.exits)


def test_every_picture_loads(context: BrowserContext, address: str, report: RunReport) -> None:
    page, _ = opened(context, address)
    widths = page.evaluate("[...document.images].map(image => image.complete ? image.naturalWidth : 0)")
    assert len(widths) == sum(pictures(example) for example in report.examples)
    assert set(widths) == {report.input_size[1], MAP_SIDE}
    photos = page.evaluate(
        """Promise.all([...document.querySelectorAll('.photo')].map(async place => {
            const photo = new Image();
            photo.src = getComputedStyle(place).backgroundImage.slice(5, -2);
            await photo.decode();
            return photo.naturalWidth;
        }))"""
    )
    assert photos == [report.input_size[1]] * len(report.examples)


def test_hovering_shows_the_configuration(context: BrowserContext, address: str, report: RunReport) -> None:
    page, _ = opened(context, address)
    star = page.locator('[data-chart="pareto"] svg [aria-roledescription="point"]').last
    star.scroll_into_view_if_needed()
    star.hover()
    tooltip = page.locator("#tip.visible")
    tooltip.wait_for()
    text = tooltip.inner_text()
    assert configuration(report.chosen.candidate.choice, report.exits) in text
    assert "(predicted)" in text


@pytest.mark.parametrize("width", [360, 768])
def test_narrow_screens_never_scroll_sideways(context: BrowserContext, address: str, width: int) -> None:
    page, _ = opened(context, address)
    page.set_viewport_size({"width": width, "height": 740})
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    page.wait_for_function(
        "[...document.querySelectorAll('.chart svg')].every(s => s.getBoundingClientRect().right <= innerWidth)"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    clipped = page.evaluate(
        """[...document.querySelectorAll('h1, h2, h3, p, .tile, .card, figure, li, dd, summary')]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5 && !e.closest('.scroll'))
        .map(e => e.outerHTML.slice(0, 120))"""
    )
    assert clipped == []


def test_a_tap_on_a_phone_shows_the_whole_tooltip(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, offline=True)
    page, _ = opened(context, address)
    star = page.locator('[data-chart="pareto"] svg [aria-roledescription="point"]').last
    star.scroll_into_view_if_needed()
    star.hover()
    box = page.locator("#tip.visible").bounding_box()
    assert box is not None
    assert box["x"] >= 0 and box["x"] + box["width"] <= 360
    assert box["y"] >= 0 and box["y"] + box["height"] <= 740
    context.close()


def test_colour_scheme_is_followed_while_the_page_is_open(context: BrowserContext, address: str) -> None:
    page, watch = opened(context, address)
    bright = page.evaluate("getComputedStyle(document.body).backgroundColor")
    star = '[data-chart="pareto"] svg [aria-roledescription="point"] >> nth=-1'
    light_star = page.locator(star).get_attribute("fill")
    page.emulate_media(color_scheme="dark")
    drawn(page, "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != bright
    assert page.locator(star).get_attribute("fill") not in (light_star, None)
    assert page.locator("[data-chart] svg").count() == page.locator("[data-chart]").count()
    assert watch.complaints == []


def test_keyboard_reaches_the_decision_the_tables_and_the_details(context: BrowserContext, address: str) -> None:
    page, _ = opened(context, address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the decision"
    page.keyboard.press("Enter")
    page.wait_for_url("**/*#decision")
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('details').open")
    regions = page.evaluate("[...document.querySelectorAll('.scroll')].map(r => [r.tabIndex, r.ariaLabel])")
    assert regions and all(index == 0 and label for index, label in regions)


def test_without_javascript_the_figures_are_still_there(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(address)
    assert "faster than the strongest single-exit network" in page.locator("h1").inner_text()
    assert page.get_by_text("The chart needs JavaScript").count() == page.locator("[data-chart]").count()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_that_shuts_people_out(browser: Browser, address: str, scheme: str) -> None:
    """Names, roles, contrast and structure by axe-core's rules for WCAG; the page's own policy would forbid axe."""
    context = browser.new_context(bypass_csp=True, offline=True)
    page, _ = opened(context, address, scheme)
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    found = Axe().run(page).response["violations"]
    assert [(rule["id"], rule["nodes"][0]["html"][:160]) for rule in found] == []
    context.close()
