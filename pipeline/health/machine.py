"""This machine: processor, memory, room on the disk, what the cache holds, and apt."""

import os
import platform
import shutil
from pathlib import Path

from device_profiler import debian
from device_profiler.errors import InputError
from device_profiler.files import cache_folder
from device_profiler.host import cores, memory_bytes
from device_profiler.toolchain import INSTALL_CROSS_COMPILER
from pipeline.health.check import Check, attempt, enough

AREA = "machine"
LEAST_DISK_GB = 12.0
LEAST_MEMORY_GB = 8.0
"""What the README asks for."""
REAL_PHONE = "attach a phone (--device SERIAL or HOST:PORT)"
WITHOUT_APT = f"without it: {REAL_PHONE}, use --data folder:PATH, and {INSTALL_CROSS_COMPILER}"
_GB = 1e9


def check_machine() -> list[Check]:
    """Everything about this machine, without fetching anything."""
    return [_processor(), check_memory(memory_bytes()), *_disk(), attempt(AREA, "apt", _apt, WITHOUT_APT)]


def _processor() -> Check:
    return Check(AREA, "processor", "works", f"{platform.machine()}, {cores()} cores")


def check_memory(size: int) -> Check:
    """Whether `size` bytes of memory are enough."""
    remedy = "close other programs, or deploy with --preset smoke on a larger machine"
    told = f"{size / _GB:.1f} GB; {LEAST_MEMORY_GB:g} GB are asked for"
    return enough(AREA, "memory", told, ok=size >= LEAST_MEMORY_GB * _GB, remedy=remedy)


def _disk() -> list[Check]:
    cache = cache_folder()
    held = folder_bytes(cache)
    return [
        check_free(cache, shutil.disk_usage(cache).free, held),
        Check(AREA, "cache", "works", f"{held / _GB:.1f} GB in {cache}; it may be removed: it is made again"),
    ]


def check_free(folder: Path, free: int, held: int) -> Check:
    """Whether the disk that holds the cache has room; what the cache holds already (bytes) counts."""
    remedy = f"free some, or put the cache elsewhere: export XDG_CACHE_HOME=FOLDER (it is {folder} now)"
    told = f"{free / _GB:.1f} GB are free for {folder}; a first deployment takes up to {LEAST_DISK_GB:g} GB"
    return enough(AREA, "disk", told, ok=free + held >= LEAST_DISK_GB * _GB, remedy=remedy)


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in a folder; links are not followed, files that vanish meanwhile don't count."""
    total = 0
    for root, _folders, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118
            except FileNotFoundError:
                continue
    return total


def _apt() -> str:
    if not debian.available():
        raise InputError("there is no apt and dpkg on this machine: no emulated phone and no sample data")
    return f"{debian.host_suite()} {debian.host_architecture()}"
