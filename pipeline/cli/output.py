"""What a command prints: its result on stdout (text, or one JSON object), everything else on stderr."""

import json
import sys
from collections.abc import Iterable, Mapping

import msgspec


def emit(result: msgspec.Struct | Mapping[str, object], lines: Iterable[str], as_json: bool) -> None:
    """Print `result` as one JSON object on stdout when `as_json`, else `lines`."""
    if as_json:
        print(json.dumps(msgspec.to_builtins(result), allow_nan=False))
        return
    for line in lines:
        print(line)


def say(text: str) -> None:
    """One line for the person at the terminal, on stderr."""
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """A warning on stderr that a script can tell apart."""
    say(f"warning: {text}")
