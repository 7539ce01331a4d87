"""The page in a real browser, opened from disk with the network shut: Debian's chromium driven by playwright."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright
from report_factory import MAP_SIDE, make_report, pictures

from device_profiler import debian
from device_profiler.errors import PipelineError
from pipeline.report import RunReport, render
from pipeline.report.figures import full_path
from pipeline.report.wording import configuration

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


@dataclass
class Watch:
    """What a page asked for and complained of."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def on(self, page: Page) -> None:
        page.on("request", self._asked)
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _asked(self, request: Request) -> None:
        self.requests.append(request.url)


def unpacked_chromium(fonts: Path) -> tuple[Path, dict[str, str]]:
    """Chromium out of Debian's packages, and the environment in which it finds its libraries and a font."""
    tree = debian.fetch(["chromium", "fonts-dejavu-core"])
    libraries = sorted({str(path.parent) for path in (tree / "usr/lib").glob("*/lib*.so*")})
    fonts.write_text(f"<fontconfig><dir>{tree}/usr/share/fonts</dir><cachedir>{fonts.parent}</cachedir></fontconfig>")
    environment = {"LD_LIBRARY_PATH": ":".join(libraries), "FONTCONFIG_FILE": str(fonts)}
    return tree / "usr/lib/chromium/chromium", environment


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    installed = next((path for name in NAMES if (path := shutil.which(name))), None)
    extra: dict[str, str] = {}
    try:
        program = Path(installed) if installed else None
        if program is None:
            program, extra = unpacked_chromium(tmp_path_factory.mktemp("fonts") / "fonts.conf")
    except PipelineError as error:
        pytest.skip(f"no chromium on PATH, and none can be fetched: {error}")
    flags = [*QUIET, "--no-sandbox"] if os.geteuid() == 0 else list(QUIET)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=flags, env={**os.environ, **extra})
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report() -> RunReport:
    return make_report()


@pytest.fixture(scope="module")
def address(report: RunReport, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    render(report, path)
    return path.as_uri()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    yield opened
    opened.close()


def drawn(page: Page, scheme: str = "light") -> None:
    """Wait until every chart is there in a colour scheme."""
    page.wait_for_function(
        "scheme => [...document.querySelectorAll('[data-chart]')].every(c => c.dataset.drawn === scheme)", arg=scheme
    )


def opened(context: BrowserContext, address: str, scheme: str = "light") -> tuple[Page, Watch]:
    page, watch = context.new_page(), Watch()
    watch.on(page)
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(address)
    drawn(page, scheme)
    return page, watch


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
    assert page.url.endswith("#decision")
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
