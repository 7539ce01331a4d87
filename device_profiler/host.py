"""What this host has, and how much work it takes at the same time."""

import os


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """The host's memory, whoever uses it."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def at_once(bytes_each: int) -> int:
    """How many pieces of work of one core and `bytes_each` of memory run at the same time here; one at least."""
    return room(cores(), memory_bytes(), bytes_each)


def room(cores: int, memory: int, bytes_each: int) -> int:
    """`at_once` of a host with so many cores and bytes of memory."""
    return max(1, min(cores, memory // bytes_each))
