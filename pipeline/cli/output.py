"""What a command prints: its result on stdout (text, or one JSON object), everything else on stderr."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TextIO

import msgspec

from pipeline.launched import rank

Result = msgspec.Struct | Mapping[str, object]


@dataclass(frozen=True)
class Emitted:
    """A command's result and its lines for people, handed to a caller in Python instead of being printed."""

    result: Result
    lines: tuple[str, ...]


_RESULTS: ContextVar[TextIO | None] = ContextVar("where results go; None: stdout", default=None)
_TAKER: ContextVar[list[Emitted] | None] = ContextVar("taker of results", default=None)


@contextmanager
def results_alone_on_stdout() -> Iterator[None]:
    """Inside the block, what libraries print (torch.hub tells its downloads) goes to stderr; results go where they
    would have gone."""
    token = _RESULTS.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _RESULTS.reset(token)


@contextmanager
def taken_results() -> Iterator[list[Emitted]]:
    """Inside the block (of this thread or task alone) results are put into the list and nothing is printed."""
    taken: list[Emitted] = []
    token = _TAKER.set(taken)
    try:
        yield taken
    finally:
        _TAKER.reset(token)


def emit(result: Result, lines: Iterable[str], as_json: bool) -> None:
    """Print `result` as one JSON object on stdout when `as_json`, else `lines`; a launcher's first process alone."""
    taker = _TAKER.get()
    if taker is not None:
        taker.append(Emitted(result, tuple(lines)))
        return
    if rank():
        return
    printed = (json.dumps(msgspec.to_builtins(result), allow_nan=False),) if as_json else lines
    for line in printed:
        print(line, file=_RESULTS.get())


def say(text: str) -> None:
    """One line for the person at the terminal, on stderr."""
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """A warning on stderr that a script can tell apart."""
    say(f"warning: {text}")
