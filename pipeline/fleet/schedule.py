"""Which targets of a fleet may be worked on at the same time."""

from collections.abc import Collection, Sequence

from device_profiler.targets import Target

MEMORY_EACH = 4 * 2**30
"""Bytes of the host's memory that one deployment may need."""


def startable(
    targets: Sequence[Target], running: Collection[str], ended: Collection[str], *, phones_multiply: bool
) -> Target | None:
    """The next target of the fleet that may start now, None where all that are left have to wait; `running` and
    `ended` by name.

    One phone, one target at a time, unless `phones_multiply`: every target then has an emulated phone of its own. What
    targets of one runtime and precision share (exported parts, int8 statistics, whole networks) is made by the first
    of them; the others start when it has ended, and find it.
    """
    busy = set() if phones_multiply else {target.device for target in targets if target.name in running}
    for target in targets:
        if target.name in running or target.name in ended or target.device in busy:
            continue
        first = next(one for one in targets if kind(one) == kind(target))
        if first is target or first.name in ended:
            return target
    return None


def kind(target: Target) -> tuple[str, str]:
    """What decides the exported files, whatever the phone."""
    return target.runtime, target.precision
