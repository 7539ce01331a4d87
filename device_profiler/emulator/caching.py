"""Folders of the cache that are built once: whole or absent, safe under concurrent builders."""

import fcntl
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def built_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """`folder`, made by `build` (which fills an empty folder) unless it is there already."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return folder
        for stale in folder.parent.glob(".partial-*"):  # left by a process that was killed: we hold the lock
            shutil.rmtree(stale)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
        build(partial)
        partial.chmod(0o755)
        partial.rename(folder)
    return folder
