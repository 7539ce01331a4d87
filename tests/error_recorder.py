"""Notes every error of the product that is raised while it watches: its text, and the place that made it."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from device_profiler.errors import PipelineError
from tests.error_catalogue import PACKAGES, ROOT, plain


@dataclass(frozen=True)
class Raised:
    """One error as made: file and line from the root, message as `plain` writes it, exit code, and the test."""

    at: str
    line: int
    text: str
    exit: int
    test: str


@contextmanager
def recorded(test: str) -> Iterator[list[Raised]]:
    """The errors that are made inside the block, in order."""
    seen: list[Raised] = []
    original = PipelineError.__init__

    def noted(self: PipelineError, *words: object) -> None:
        original(self, *words)
        at, line = _maker()
        if at:
            seen.append(Raised(at, line, plain(str(words[0]) if words else ""), self.exit_code, test))

    PipelineError.__init__ = noted  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        PipelineError.__init__ = original  # type: ignore[method-assign]


def _maker() -> tuple[str, int]:
    """File and line of the code that makes the error; empty where a test makes it."""
    frame = sys._getframe(2)
    path = Path(frame.f_code.co_filename)
    if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in PACKAGES:
        return str(path.relative_to(ROOT)), frame.f_lineno
    return "", 0


def append(record: Path, seen: list[Raised]) -> None:
    """Add what was seen to a record: one JSON object a line."""
    with record.open("a") as file:
        file.writelines(json.dumps(asdict(raised), ensure_ascii=False) + "\n" for raised in seen)
