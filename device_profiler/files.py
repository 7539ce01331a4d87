"""Files that are whole or absent: atomic writes, content hashes, and the project's cache folder."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

APPLICATION = "mess-deploy"


def cache_folder(*parts: str) -> Path:
    """The project's cache (XDG_CACHE_HOME is honoured), or a folder inside it, made if absent."""
    folder = Path(platformdirs.user_cache_dir(APPLICATION), *parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def atomic_path(destination: Path) -> Iterator[Path]:
    """A temporary path beside `destination` that takes its name when the block ends without an error.

    The temporary file is removed when the block raises: no half file ever carries the final name.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=destination.parent, prefix=f".{destination.name}.", suffix=destination.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(destination: Path, content: bytes | str) -> None:
    """Write `content` so that `destination` holds all of it or is left as it was."""
    with atomic_path(destination) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def sha256_bytes(*contents: bytes) -> str:
    """SHA-256 of the concatenated contents, in hex."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return digest.hexdigest()


def sha256_path(path: Path) -> str:
    """SHA-256 of a file, or of a folder's sorted files (each name, then its content), in hex."""
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        digest.update(bytes.fromhex(sha256_path(file)))
    return digest.hexdigest()
