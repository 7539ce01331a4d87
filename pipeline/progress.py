"""Progress of long work: what a stage reports to, and the terminal that shows it.

A stage of one step can't say how far it is: its time left is what it took here before (`stage_durations`).
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from pipeline.stage_durations import expected_seconds, remember

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


def seconds_left(total: int, done: int, elapsed: float, expected: float | None) -> float | None:
    """What is left of a stage: by its pace, or (one step, nothing to pace by) by what it took before; None: unknown."""
    if total > 1:
        return elapsed / done * (total - done) if done else None
    if expected is None or done >= total:
        return None
    return max(0.0, expected - elapsed)


class LineProgress:
    """Single lines on stderr, a few a minute: for pipes, logs and CI."""

    def __init__(self, every_s: float = LINE_EVERY_S) -> None:
        self._start = time.monotonic()
        self._every_s = every_s

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        """Print now and then while the task runs, with the time left, and how long it took if that was long."""
        begun, done, last = time.monotonic(), 0, ""
        expected = expected_seconds(title) if total == 1 else None
        over = threading.Event()

        def advance(steps: int = 1, note: str = "") -> None:
            nonlocal done, last
            done, last = done + steps, note

        def tell() -> None:
            while not over.wait(self._every_s):
                elapsed = time.monotonic() - begun
                count = f"{done}/{total}" if total > 1 else f"{elapsed:.0f} s"
                left = words_of(seconds_left(total, done, elapsed, expected))
                self.note(", ".join(part for part in (f"{title}: {count}", left, last) if part))

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        try:
            yield advance
        finally:
            over.set()
            teller.join()
        taken = time.monotonic() - begun
        if total == 1:
            remember(title, taken)
        if taken >= self._every_s:
            self.note(f"{title}: done in {taken:.0f} s")

    def note(self, text: str) -> None:
        """Print the line with the time since the start."""
        print(f"[{time.monotonic() - self._start:6.1f} s] {text}", file=sys.stderr, flush=True)


def words_of(left: float | None) -> str:
    """Time left in words; empty where it is unknown."""
    if left is None:
        return ""
    return f"about {left:.0f} s left" if left >= 1 else "done any moment"


class TerminalProgress:
    """rich bars with the time left."""

    def __init__(self) -> None:
        from rich.console import Console

        from pipeline.bars import make_bars

        self._console = Console(stderr=True, highlight=False)
        self._bars = make_bars(self._console)
        self._open = 0

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        """A bar while the block runs; its time is noted when it ends."""
        begun = time.monotonic()
        expected = expected_seconds(title) if total == 1 else None
        if not self._open:
            self._bars.start()
        self._open += 1
        identity = self._bars.add_task(title, total=total, remark="", expected=expected)

        def advance(steps: int = 1, note: str = "") -> None:
            self._bars.update(identity, advance=steps, remark=note)

        try:
            yield advance
            taken = time.monotonic() - begun
            if total == 1:
                remember(title, taken)
            self.note(f"{title} ({taken:.1f} s)")
        finally:
            self._bars.remove_task(identity)
            self._open -= 1
            if not self._open:
                self._bars.stop()

    def note(self, text: str) -> None:
        """Print the line above the bars."""
        self._console.print(text, soft_wrap=True, markup=False)


def terminal_progress() -> Progress:
    """Bars where stderr is a terminal, else lines."""
    return TerminalProgress() if sys.stderr.isatty() else LineProgress()
