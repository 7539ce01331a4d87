"""Debian's chromium for tests of pages: opened from disk with the network shut, watched for what it asks and says."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

from device_profiler import debian
from device_profiler.errors import PipelineError

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
    # PulseAudio's library finds its other half by an absolute path, a folder deeper.
    found = [path for pattern in ("*/lib*.so*", "*/*/lib*.so*") for path in (tree / "usr/lib").glob(pattern)]
    libraries = sorted({str(path.parent) for path in found})
    fonts.write_text(f"<fontconfig><dir>{tree}/usr/share/fonts</dir><cachedir>{fonts.parent}</cachedir></fontconfig>")
    environment = {"LD_LIBRARY_PATH": ":".join(libraries), "FONTCONFIG_FILE": str(fonts)}
    return tree / "usr/lib/chromium/chromium", environment


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Debian's chromium, installed or unpacked; `folder` takes its font configuration. Skips the test without one."""
    installed = next((path for name in NAMES if (path := shutil.which(name))), None)
    extra: dict[str, str] = {}
    try:
        program = Path(installed) if installed else None
        if program is None:
            program, extra = unpacked_chromium(folder / "fonts.conf")
    except PipelineError as error:
        pytest.skip(f"no chromium on PATH, and none can be fetched: {error}")
    flags = [*QUIET, "--no-sandbox"] if os.geteuid() == 0 else list(QUIET)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=flags, env={**os.environ, **extra})
        yield opened
        opened.close()


def drawn(page: Page, scheme: str = "light") -> None:
    """Wait until every chart is there in a colour scheme."""
    page.wait_for_function(
        "scheme => [...document.querySelectorAll('[data-chart]')].every(c => c.dataset.drawn === scheme)", arg=scheme
    )


def opened(context: BrowserContext, address: str, scheme: str = "light") -> tuple[Page, Watch]:
    """A page with every chart drawn, and what it asked for on the way."""
    page, watch = context.new_page(), Watch()
    watch.on(page)
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(address)
    drawn(page, scheme)
    return page, watch
