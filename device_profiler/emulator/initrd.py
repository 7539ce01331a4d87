"""A folder as the kernel's initial root: a gzipped cpio archive in the "newc" format, written without cpio or root."""

import gzip
import os
import stat
from pathlib import Path
from typing import BinaryIO

_CONSOLE = (5, 1)


def write_initrd(root: Path, destination: Path) -> None:
    """Write the tree `root` to `destination`; everything in it belongs to root there, and /dev/console exists."""
    with gzip.open(destination, "wb", compresslevel=1) as raw:
        archive: BinaryIO = raw  # type: ignore[assignment]
        number = 1
        for path in sorted(root.rglob("*")):
            _write_path(archive, path, path.relative_to(root).as_posix(), number)
            number += 1
        _write_entry(archive, "dev/console", stat.S_IFCHR | 0o600, b"", number, _CONSOLE)
        _write_entry(archive, "TRAILER!!!", 0, b"", 0)


def _write_path(archive: BinaryIO, path: Path, name: str, number: int) -> None:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        _write_entry(archive, name, mode, os.fsencode(path.readlink()), number)
    elif stat.S_ISREG(mode):
        _write_entry(archive, name, mode, path.read_bytes(), number)
    elif stat.S_ISDIR(mode):
        _write_entry(archive, name, mode, b"", number)


def _write_entry(archive: BinaryIO, name: str, mode: int, content: bytes, number: int,
                 device: tuple[int, int] = (0, 0)) -> None:
    encoded = name.encode() + b"\0"
    # inode, mode, uid, gid, links, mtime, size, device of the file (2), device it is (2), length of the name, checksum
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    archive.write(_padded(header + encoded) + _padded(content))


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
