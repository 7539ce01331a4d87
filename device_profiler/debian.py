"""Debian packages without installing them: apt downloads into the cache, dpkg-deb unpacks there, nothing is installed.

Every (suite, architecture) has an apt state of its own in the cache folder; the mirror is the one that the host's apt
already uses, signatures are checked against Debian's keyring. Works for root and for an ordinary user.
"""

import fcntl
import logging
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from device_profiler.errors import DeviceError, InputError
from device_profiler.files import cache_folder, sha256_bytes, write_atomic

log = logging.getLogger(__name__)

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR_VARIABLE = "MESS_DEBIAN_MIRROR"
LISTS_MAX_AGE_S = 12 * 3600.0
APT_TIMEOUT_S = 1800.0
_URI_LINE = re.compile(r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) ?(?P<hash>\S*)$", re.MULTILINE)
_WITHOUT_APT = ("a real phone (--device SERIAL or HOST:PORT, with an aarch64 cross g++ installed) and --data "
                "shapes or folder:PATH work without it")


class PackageFile(msgspec.Struct, frozen=True):
    """One .deb as the mirror offers it: file name (with version and architecture), size in bytes, hash."""

    file: str
    size: int
    hash: str


class _Record(msgspec.Struct, frozen=True):
    """What a request was resolved to: kept, so that a later call needs neither apt nor the network."""

    folder: str
    files: tuple[PackageFile, ...]


@dataclass(frozen=True)
class _Apt:
    """One private apt state: a suite, an architecture and the folder that holds lists, archives and unpacked trees."""

    suite: str
    architecture: str
    folder: Path

    @property
    def archives(self) -> Path:
        return self.folder / "archives"

    def run(self, *arguments: str, tool: str = "apt-get") -> str:
        """Output of apt-get or apt-cache with this state; the host only says how to reach its mirror."""
        environment = os.environ | {"APT_CONFIG": str(self.folder / "apt.conf"), "LC_ALL": "C"}
        try:
            done = subprocess.run([tool, *arguments], cwd=self.archives, env=environment, capture_output=True,
                                  text=True, timeout=APT_TIMEOUT_S, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired as error:
            raise DeviceError(f"apt-get {arguments[0]} took more than {APT_TIMEOUT_S:.0f} s; check the network and try "
                              f"again: what was downloaded is kept in {self.folder}") from error
        if done.returncode != 0:
            raise DeviceError(self._failure(arguments[0], done.stderr))
        return done.stdout

    def _failure(self, verb: str, stderr: str) -> str:
        lines = [line[3:] for line in stderr.splitlines() if line.startswith("E: ")] or stderr.strip().splitlines()[-1:]
        return (f"apt-get {verb} failed for Debian {self.suite} {self.architecture}: {'; '.join(lines)[:400]}; check "
                f"the network, the disk and the mirror that apt uses, then try again")


def available() -> bool:
    """Whether this machine can fetch Debian packages (apt, dpkg-deb, Debian's keyring and a Debian mirror)."""
    return _missing() is None


def host_suite() -> str:
    """Codename of the Debian release that this machine runs, such as bookworm."""
    return _release("VERSION_CODENAME") or "sid"


def _release(key: str) -> str | None:
    """A field of /etc/os-release; None where the system has no such file."""
    try:
        return platform.freedesktop_os_release().get(key)
    except OSError:
        return None


def host_architecture() -> str:
    """Debian's name of this machine's architecture, such as amd64."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def fetch(names: Sequence[str], *, suite: str | None = None, architecture: str | None = None,
          dependencies: bool = True) -> Path:
    """Folder that holds the unpacked files of the packages `names`, as they would lie under /.

    With `dependencies` the whole closure of hard dependencies is unpacked into the one folder (nothing counts as
    installed), else only the packages themselves. `suite` and `architecture` default to the host's. The folder is
    complete or absent, safe under concurrent callers, and must not be written to. The first answer to a request is
    kept: the same request later needs no network and gives the same versions.

    Raises:
        InputError: this machine has no apt, or is not Debian.
        DeviceError: an unknown package, or the download or the unpacking failed.
    """
    suite, architecture = suite or host_suite(), architecture or host_architecture()
    folder = cache_folder("debian", f"{suite}-{architecture}")
    request = sha256_bytes(msgspec.json.encode((sorted(names), dependencies)))[:20]
    record_path = folder / "requests" / f"{request}.json"
    if known := _known(record_path, folder):
        return known
    if missing := _missing():
        raise InputError(f"can't fetch {', '.join(names)}: {missing}; {_WITHOUT_APT}")
    with _locked(folder):
        if known := _known(record_path, folder):
            return known
        record = _fetch_once_more(folder, suite, architecture, names, dependencies)
        write_atomic(record_path, msgspec.json.encode(record))
        return folder / "unpacked" / record.folder


def _fetch_once_more(folder: Path, suite: str, architecture: str, names: Sequence[str], dependencies: bool) -> _Record:
    """Fetch; where that fails with lists that are not fresh, once more with fresh ones: a mirror moves on."""
    began = time.time()
    try:
        return _fetch_now(_prepare(folder, suite, architecture), names, dependencies)
    except DeviceError:
        stamp = folder / "updated"
        if not stamp.exists() or stamp.stat().st_mtime >= began:
            raise
        stamp.unlink()
        return _fetch_now(_prepare(folder, suite, architecture), names, dependencies)


def _fetch_now(apt: _Apt, names: Sequence[str], dependencies: bool) -> _Record:
    files = _resolve(apt, names, dependencies)
    return _Record(_unpacked(apt, names, files, dependencies).name, files)


def direct_dependencies(name: str, *, suite: str, architecture: str) -> tuple[str, ...]:
    """Names of the packages that `name` depends on by itself (of alternatives the first). Raises like `fetch`."""
    if missing := _missing():
        raise InputError(f"can't look up {name}: {missing}; {_WITHOUT_APT}")
    folder = cache_folder("debian", f"{suite}-{architecture}")
    with _locked(folder):
        output = _prepare(folder, suite, architecture).run("show", "--no-all-versions", name, tool="apt-cache")
    found = re.search(r"^Depends: (.*)$", output, re.MULTILINE)
    return tuple(item.split()[0] for item in found[1].split(", ")) if found else ()


def _known(record_path: Path, folder: Path) -> Path | None:
    try:
        record = msgspec.json.decode(record_path.read_bytes(), type=_Record)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    tree = folder / "unpacked" / record.folder
    return tree if tree.is_dir() else None


def _missing() -> str | None:
    """Why packages can't be fetched here, or None."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return "this machine has no apt-get and dpkg-deb"
    if not KEYRING.exists():
        return f"Debian's keyring {KEYRING} is missing (package debian-archive-keyring)"
    if _mirror() is None:
        return f"apt's sources name no Debian mirror (set {MIRROR_VARIABLE} to the URL of one)"
    return None


def _mirror() -> str | None:
    """URL of the Debian mirror that the host's apt uses."""
    if chosen := os.environ.get(MIRROR_VARIABLE):
        return chosen
    if _release("ID") != "debian":
        return None
    done = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"],
                          capture_output=True, text=True, timeout=60)
    for line in done.stdout.splitlines():
        uri, release, component = ([*line.split(), "", "", ""])[:3]
        if component == "main" and not re.search("[-/]", release):  # leaves out security, updates and backports
            return uri
    return None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the state's lock; it is released even if this process dies."""
    with (folder / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another download into %s", folder)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _prepare(folder: Path, suite: str, architecture: str) -> _Apt:
    """The private apt state with package lists no older than LISTS_MAX_AGE_S."""
    for name in ("archives/partial", "lists/partial", "unpacked", "requests", "empty"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "status", "")
    write_atomic(folder / "sources.list", f"deb [signed-by={KEYRING} arch={architecture}] {_mirror()} {suite} main\n")
    write_atomic(folder / "apt.conf", _configuration(folder, architecture))
    apt = _Apt(suite, architecture, folder)
    stamp = folder / "updated"
    if not stamp.exists() or time.time() - stamp.stat().st_mtime > LISTS_MAX_AGE_S:
        log.info("reading the package list of Debian %s %s", suite, architecture)
        apt.run("update", "--error-on=any")
        write_atomic(stamp, "")
    return apt


def _configuration(folder: Path, architecture: str) -> str:
    """apt.conf of the private state. Hooks of the host's configuration never run; its proxies and time limits stay.

    A mirror may lag behind (its signature's term over); signatures and hashes are checked all the same.
    """
    empty = folder / "empty"
    host = subprocess.run(["apt-config", "dump", "Acquire::http", "Acquire::https", "Acquire::ftp"],
                          capture_output=True, text=True, timeout=60).stdout
    own = {
        "Dir::Etc::main": "/dev/null", "Dir::Etc::parts": empty, "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": empty, "Dir::Etc::preferences": "/dev/null", "Dir::Etc::preferencesparts": empty,
        "Dir::Etc::trusted": "/dev/null", "Dir::Etc::trustedparts": empty, "Dir::Etc::netrc": "/etc/apt/auth.conf",
        "Dir::State": folder, "Dir::State::lists": folder / "lists", "Dir::State::status": folder / "status",
        "Dir::Cache": folder, "Dir::Cache::archives": f"{folder / 'archives'}/", "Dir::Log": folder,
        "APT::Architecture": architecture, "APT::Install-Recommends": "false", "APT::Get::Assume-Yes": "true",
        "APT::Sandbox::User": "root", "Acquire::Languages": "none", "Acquire::Retries": "3",
        "Acquire::Check-Valid-Until": "false",
        "Acquire::GzipIndexes": "true", "Dir::Cache::pkgcache": "", "Dir::Cache::srcpkgcache": "",
    }
    return host + f'APT::Architectures {{ "{architecture}"; }};\n' + "".join(f'{k} "{v}";\n' for k, v in own.items())


def _resolve(apt: _Apt, names: Sequence[str], dependencies: bool) -> tuple[PackageFile, ...]:
    """The .deb files that a request comes to, sorted by name."""
    output = apt.run(*_download(dependencies), "--print-uris", *names)
    files = (PackageFile(_local_name(m["file"]), int(m["size"]), m["hash"]) for m in _URI_LINE.finditer(output))
    return tuple(sorted(files, key=lambda file: file.file))


def _download(dependencies: bool) -> tuple[str, ...]:
    return ("install", "--download-only", "-qq") if dependencies else ("download", "-qq")


def _local_name(file: str) -> str:
    return file.rsplit("/", 1)[-1]


def _unpacked(apt: _Apt, names: Sequence[str], files: Sequence[PackageFile], dependencies: bool) -> Path:
    """Download and unpack `files`, unless a tree of exactly these versions is there."""
    key = sha256_bytes(msgspec.json.encode(files))[:16]
    tree = apt.folder / "unpacked" / f"{names[0]}-{key}"
    if tree.is_dir():
        return tree
    log.info("fetching %s and what it needs (%d packages, %.1f MB) from Debian %s %s", names[0], len(files),
             sum(file.size for file in files) / 1e6, apt.suite, apt.architecture)
    apt.run(*_download(dependencies), *names)
    for stale in tree.parent.glob(".partial-*"):  # left by a process that was killed: we hold the lock
        shutil.rmtree(stale)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=tree.parent))
    for file in files:
        _unpack(apt.archives / file.file, partial)
    partial.chmod(0o755)
    partial.rename(tree)
    for file in files:
        (apt.archives / file.file).unlink(missing_ok=True)
    return tree


def _unpack(archive: Path, folder: Path) -> None:
    done = subprocess.run(["dpkg-deb", "-x", archive, folder], capture_output=True, text=True, timeout=APT_TIMEOUT_S)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DeviceError(f"{archive.name} can't be unpacked into {folder}: {reason}; check the disk, then try again")
