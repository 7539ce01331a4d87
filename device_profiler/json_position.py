"""Where in a JSON text a value stands: line and column for errors about what is well-formed but wrong."""

import json
import re
from collections.abc import Sequence

_SPACE = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode


def position(text: str, path: Sequence[str | int]) -> tuple[int, int]:
    """Line and column (both from 1) of the value at `path`, in JSON that is well-formed.

    A path that ends nowhere gives the deepest value that is there.
    """
    at = _skip(text, 0)
    for step in path:
        found = _element(text, at, step) if isinstance(step, int) else _member(text, at, step)
        if found is None:
            break
        at = found
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def steps(path: str) -> tuple[str, ...]:
    """`$.a.b`, as msgspec names a place in its errors, as steps; list indices (`[...]`) are unknown there and left."""
    return tuple(step for step in path.removeprefix("$").replace("[...]", "").split(".") if step)


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _member(text: str, at: int, name: str) -> int | None:
    """Where the value of `name` begins in the object at `at`."""
    if text[at] != "{":
        return None
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, at = _decode(text, at)
        at = _skip(text, _skip(text, at) + 1)  # over the colon
        if key == name:
            return at
        at = _next(text, at)
    return None


def _element(text: str, at: int, index: int) -> int | None:
    """Where element `index` begins in the array at `at`."""
    if text[at] != "[":
        return None
    at = _skip(text, at + 1)
    while text[at] != "]":
        if index == 0:
            return at
        index, at = index - 1, _next(text, at)
    return None


def _next(text: str, at: int) -> int:
    """Where the next member or element begins, or the closing bracket."""
    _, end = _decode(text, at)
    end = _skip(text, end)
    return _skip(text, end + 1) if text[end] == "," else end
