"""Which emulated phones run: one folder each in the cache, whose state file its supervisor owns."""

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from device_profiler.files import cache_folder, write_atomic

STATE_FILE = "phone.json"
SPEC_FILE = "spec.json"
LOG_FILE = "phone.log"
YOUNG_S = 600.0


class PhoneSpec(msgspec.Struct, frozen=True):
    """What a supervisor runs. `command` may hold {listen} (an inherited listening socket's number) or {port}.

    `owns_socket`: the supervisor listens and hands its socket on; else the command listens on {port} itself.
    `creator_pid`: who asked; a folder without a state file is stale once that process is gone. `keep`: the phone
    outlives its creator.
    """

    profile: str
    form: str
    command: tuple[str, ...]
    owns_socket: bool
    creator_pid: int
    keep: bool


class EmulatedPhone(msgspec.Struct, frozen=True):
    """A running emulated phone. `pid` and `started` (kernel ticks since boot) name its supervisor beyond doubt.

    `shared`: it was added to stay, for whoever comes; else it belongs to the process that started it.
    """

    address: str
    form: str
    profile: str
    folder: str
    pid: int
    started: int
    shared: bool = True


def phones_folder() -> Path:
    """Folder that holds one folder a phone."""
    return cache_folder("phones")


def new_folder(profile: str) -> Path:
    """An empty folder for a phone about to start."""
    return Path(tempfile.mkdtemp(prefix=f"{profile}-", dir=phones_folder()))


def write_state(phone: EmulatedPhone) -> None:
    """Register `phone`."""
    write_atomic(Path(phone.folder) / STATE_FILE, msgspec.json.encode(phone))


def read_state(folder: Path) -> EmulatedPhone | None:
    """The phone registered in `folder`, if its supervisor lives."""
    try:
        phone = msgspec.json.decode((folder / STATE_FILE).read_bytes(), type=EmulatedPhone)
    except (OSError, msgspec.DecodeError):
        return None
    return phone if start_time(phone.pid) == phone.started else None


def list_phones() -> list[EmulatedPhone]:
    """Running emulated phones by address; what dead ones left behind is removed."""
    found = []
    for folder in sorted(path for path in phones_folder().iterdir() if path.is_dir()):
        if phone := read_state(folder):
            found.append(phone)
        elif _abandoned(folder):
            remove_folder(folder)
    return sorted(found, key=lambda phone: phone.address)


def _abandoned(folder: Path) -> bool:
    """Whether nobody is about to make a phone of `folder`."""
    if (folder / STATE_FILE).exists():
        return read_state(folder) is None
    try:
        spec = msgspec.json.decode((folder / SPEC_FILE).read_bytes(), type=PhoneSpec)
    except (OSError, msgspec.DecodeError):
        return not _is_young(folder)
    return start_time(spec.creator_pid) is None


def _is_young(folder: Path) -> bool:
    """Made within the last ten minutes: its creator may still be writing the specification."""
    try:
        return time.time() - folder.stat().st_mtime < YOUNG_S
    except FileNotFoundError:
        return False


def start_time(pid: int) -> int | None:
    """When process `pid` started, in kernel ticks since boot; None where there is none, or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def remove_folder(folder: Path) -> None:
    """Remove a phone's folder, whatever permissions its files were given from inside the phone."""

    def unlock(function: Callable[[str], object], path: str, _: object) -> None:
        parent = Path(path).parent
        for item in (parent, Path(path)):
            if item.is_dir() and not item.is_symlink():
                item.chmod(stat.S_IRWXU)
        if Path(path).is_dir() and not Path(path).is_symlink():
            shutil.rmtree(path)
        elif os.path.lexists(path):
            Path(path).unlink()

    shutil.rmtree(folder, onerror=unlock)
