"""Fixtures shared by the pipeline's tests."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

    from pipeline.run_report import RunReport


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, so that a test finds nothing of the user's and leaves nothing behind."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(scope="module")
def report() -> "RunReport":
    """What a run reports."""
    from report_factory import make_report

    return make_report()


@pytest.fixture(scope="module")
def page(report: "RunReport", tmp_path_factory: pytest.TempPathFactory) -> str:
    """The HTML of its page, as written."""
    from pipeline.run_report import render

    destination = tmp_path_factory.mktemp("page") / "report.html"
    render(report, destination)
    return destination.read_text()


@pytest.fixture(scope="module")  # longer than a file, its event loop would stand in the way of others' tests
def browser(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Browser]":
    """One chromium for all of a file's tests of pages."""
    from report_browser import chromium

    with chromium(tmp_path_factory.mktemp("fonts")) as opened:
        yield opened


@pytest.fixture
def context(browser: "Browser") -> "Iterator[BrowserContext]":
    """A desktop's window without a network."""
    opened = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    yield opened
    opened.close()
