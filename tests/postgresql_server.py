"""A real PostgreSQL server of the tests' own: the installed one's programs, else Debian's unpacked into the cache."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from device_profiler import debian

ORDINARY_USER = "nobody"
START_TIMEOUT_S = 60.0


class NoServerError(Exception):
    """No PostgreSQL server can be started here; says why."""


@dataclass(frozen=True)
class Programs:
    """Where initdb and postgres are, and the environment that they run in."""

    folder: Path
    environment: Mapping[str, str]


@dataclass
class Server:
    """A server in `folder` that listens on `host`:`port`."""

    programs: Programs
    folder: Path
    owner: str | None
    host: str
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """Without a database: "postgresql://USER@HOST:PORT"."""
        return f"postgresql://mess@{self.host}:{self.port}"

    def start(self) -> None:
        """Raises NoServerError where it does not start."""
        log = self.folder / "log"
        with log.open("wb") as stream:
            self.process = _start(self.programs, self.owner, self.folder, (self.host, self.port), stream.fileno())
        _wait(self.process, log)

    def stop(self) -> None:
        """PostgreSQL's fast shutdown: clients are cut off."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=30)


@contextmanager
def server(host: str = "127.0.0.1") -> Iterator[Server]:
    """A server without databases of its own that takes everybody who reaches `host`; it ends with the block.

    Raises:
        NoServerError: there is none here and none can be fetched.
    """
    folder = Path(tempfile.mkdtemp(prefix="mess-postgresql-"))
    made: Server | None = None
    try:
        programs = _programs(folder)
        owner = _give_away(folder)
        _run(programs, owner, "initdb", "-D", f"{folder}/data", "-U", "mess", "-A", "trust", "-E", "UTF8", "-N",
             "--locale=C")
        with (folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet trust\n")
        made = Server(programs, folder, owner, host, _free_port(host))
        made.start()
        yield made
    finally:
        if made:
            made.stop()
        shutil.rmtree(folder)


@contextmanager
def running_server() -> Iterator[str]:
    """URL of a `server` on loopback. Raises: as `server`."""
    with server() as running:
        yield running.url


def _programs(folder: Path) -> Programs:
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    if installed:
        return Programs(installed[-1].parent, {})
    if not debian.available():
        raise NoServerError("no PostgreSQL server is installed, and Debian's can't be fetched here")
    tree = debian.fetch(["postgresql"])
    if os.geteuid() == 0:  # the server must not run as root, and an ordinary user can't look into root's cache
        tree = Path(shutil.copytree(tree, folder / "programs", symlinks=True))
    [found, *_] = sorted(tree.glob("usr/lib/postgresql/*/bin/postgres"))
    libraries = [str(path) for path in sorted(tree.glob("usr/lib/*-linux-gnu")) + sorted(tree.glob("lib/*-linux-gnu"))]
    return Programs(found.parent, {"LD_LIBRARY_PATH": os.pathsep.join(libraries)})


def _give_away(folder: Path) -> str | None:
    """PostgreSQL refuses to run as root: the ordinary user who runs it then owns the folder."""
    if os.geteuid() != 0:
        return None
    try:
        user = pwd.getpwnam(ORDINARY_USER)
    except KeyError as error:
        raise NoServerError(f"PostgreSQL does not run as root, and there is no user {ORDINARY_USER}") from error
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ORDINARY_USER


def _run(programs: Programs, owner: str | None, name: str, *arguments: str) -> None:
    done = subprocess.run([programs.folder / name, *arguments], env=_environment(programs), user=owner,
                          extra_groups=[] if owner else None, cwd="/", capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise NoServerError(f"{name} failed: {done.stderr.strip()[-300:]}")


def _start(
    programs: Programs, owner: str | None, folder: Path, where: tuple[str, int], log: int
) -> subprocess.Popen[bytes]:
    settings = {"listen_addresses": where[0], "port": where[1], "unix_socket_directories": "", "fsync": "off",
                "shared_buffers": "16MB", "max_connections": 30, "jit": "off", "timezone": "Asia/Kolkata"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return subprocess.Popen([programs.folder / "postgres", "-D", folder / "data", *options], cwd="/", user=owner,
                            extra_groups=[] if owner else None, env=_environment(programs), stdout=log, stderr=log)


def _environment(programs: Programs) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C", **programs.environment}


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if b"ready to accept connections" in log.read_bytes():
            return
        time.sleep(0.05)
    raise NoServerError(f"the PostgreSQL server did not start: {log.read_text()[-300:]}")


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
