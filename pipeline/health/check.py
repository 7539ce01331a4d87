"""A finding of `doctor`, and the two ways to come to one."""

from collections.abc import Callable
from typing import Literal

import msgspec

from device_profiler.errors import PipelineError

State = Literal["works", "missing", "note"]


class Check(msgspec.Struct, frozen=True):
    """One finding. `remedy`: the command or step that mends it; empty where there is nothing to mend.

    works: as it should be. missing: something does not work without it. note: good to know; needed for some work only.
    """

    area: str
    name: str
    state: State
    detail: str
    remedy: str = ""


def attempt(area: str, name: str, step: Callable[[], str], remedy: str) -> Check:
    """`step` tells what it found; an error that is the user's to mend becomes a finding with this remedy."""
    try:
        return Check(area, name, "works", step())
    except PipelineError as error:
        return Check(area, name, "missing", str(error), remedy)


def enough(area: str, name: str, detail: str, *, ok: bool, remedy: str) -> Check:
    """Whether there is enough of something."""
    return Check(area, name, "works", detail) if ok else Check(area, name, "missing", detail, remedy)
