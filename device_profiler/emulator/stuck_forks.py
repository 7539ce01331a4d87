"""Ends children of adbd that hang between fork and exec: adbd waits for them, and answers nobody meanwhile.

Emulating a fork of a program with threads is not safe in qemu 7.2 (see interpreter.c for the cause that is known). The
command whose child is ended fails; the phone goes on.
"""

import contextlib
import os
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

STUCK_FORK_S = 20.0
"""From fork to exec it takes milliseconds, a second on a machine that is very busy."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """A line of /proc/PID/stat. `started`: seconds since boot."""

    pid: int
    parent: int
    name: str
    started: float


def processes() -> dict[int, Process]:
    """Every process that can be seen from here, by its id."""
    found: dict[int, Process] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, rest = path.read_text().rpartition(")")
            pid, name = head.split(" (", 1)
            fields = rest.split()
            found[int(pid)] = Process(int(pid), int(fields[1]), name, int(fields[19]) / _TICKS_PER_S)
    return found


def descendants(ancestor: int, all_processes: dict[int, Process]) -> list[int]:
    """Ids of all processes that `ancestor` started, directly or not."""
    found = {ancestor}
    while more := {one.pid for one in all_processes.values() if one.parent in found} - found:
        found |= more
    return sorted(found - {ancestor})


def end_stuck_forks(all_processes: dict[int, Process], own: Collection[int], name: str = "adbd") -> None:
    """Kill each of the processes `own` that still has the name of its parent, `name`, STUCK_FORK_S after the fork."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    for one in (all_processes[pid] for pid in own):
        parent = all_processes.get(one.parent)
        if parent and one.name == parent.name == name and now - one.started > STUCK_FORK_S:
            print(f"a child of {name} hung for {STUCK_FORK_S:.0f} s between fork and exec: ended", flush=True)
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
