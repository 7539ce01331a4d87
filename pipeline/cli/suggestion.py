"""'Did you mean' for names that are not known."""

import difflib
from collections.abc import Sequence


def suggest(name: str, known: Sequence[str]) -> str:
    """The tail of an error about `name`: the nearest known name, then all of them."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"; did you mean {near[0]!r}? Known: {', '.join(known)}" if near else ""
