"""Progress of long work: what a stage reports to, and the terminal that shows it."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

LINE_EVERY_S = 15.0

Advance = Callable[[int, str], None]
"""`advance(steps, note)`: so many more steps are done; the note (a loss, a name) stands beside the bar."""


class Progress(Protocol):
    """What stages report to."""

    def task(self, title: str, total: int) -> AbstractContextManager[Advance]:
        """A context around `total` steps of work."""

    def note(self, text: str) -> None:
        """One line for the person at the terminal."""


def _ignore(steps: int, note: str) -> None:
    """Steps that nobody watches."""


class SilentProgress:
    """Shows nothing: for callers that are not at a terminal."""

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        """A context that ignores its steps."""
        yield _ignore

    def note(self, text: str) -> None:
        """Ignore the line."""


class LineProgress:
    """Single lines on stderr, a few a minute: for pipes, logs and CI."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        """Print when the task has run for a while, then now and then, with the time left."""
        begun = shown = time.monotonic()
        done = 0

        def advance(steps: int = 1, note: str = "") -> None:
            nonlocal done, shown
            done += steps
            now = time.monotonic()
            if now - shown >= LINE_EVERY_S:
                shown = now
                left = (now - begun) / max(done, 1) * (total - done)
                self.note(f"{title}: {done}/{total}, about {left:.0f} s left {note}".rstrip())

        yield advance

    def note(self, text: str) -> None:
        """Print the line with the time since the start."""
        print(f"[{time.monotonic() - self._start:6.1f} s] {text}", file=sys.stderr, flush=True)


class TerminalProgress:
    """rich bars with the time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description:<34}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[remark]}"),
        )
        self._console = Console(stderr=True, highlight=False)
        self._bars = Bars(*columns, console=self._console, transient=True)
        self._open = 0

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        """A bar while the block runs; its time is noted when it ends."""
        begun = time.monotonic()
        if not self._open:
            self._bars.start()
        self._open += 1
        identity = self._bars.add_task(title, total=total, remark="")

        def advance(steps: int = 1, note: str = "") -> None:
            self._bars.update(identity, advance=steps, remark=note)

        try:
            yield advance
            self.note(f"{title} [dim]({time.monotonic() - begun:.1f} s)[/dim]")
        finally:
            self._bars.remove_task(identity)
            self._open -= 1
            if not self._open:
                self._bars.stop()

    def note(self, text: str) -> None:
        """Print the line above the bars."""
        self._console.print(text, soft_wrap=True)


def terminal_progress() -> Progress:
    """Bars where stderr is a terminal, else lines."""
    return TerminalProgress() if sys.stderr.isatty() else LineProgress()
