"""Which targets of a fleet may be worked on at the same time."""

import os
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


def at_once(cores: int, memory: int) -> int:
    """How many deployments run at the same time on a host with so many cores and bytes of memory; one at least."""
    return max(1, min(cores, memory // MEMORY_EACH))


def host_at_once() -> int:
    """`at_once` for this host."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return at_once(cores, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
