"""A farm of real processes: hosts differ in their cache folder, and so in their phones, leases and standings."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from device_profiler.files import cache_folder
from tests.deployments import DOWNLOADS

ROOT = Path(__file__).parents[2]
PATHS = (ROOT, ROOT / "tests" / "pipeline")
NETWORK = ("--preset", "tiny.toml", "--size", "64x64")
"""A network so small that its parts are measured in seconds."""
PRESET = """
base = "smoke"
backbone = "user_networks:Plain"
exits = 1
heads = ["fcn-r4"]
amounts = { train = 8, search = 8, certify = 8, test = 8 }
"""
READY_S = 60.0


@dataclass
class Server:
    """A scheduler or a host that runs; what it says on stderr is in `log`."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def says(self, text: str, *, times: int = 1, within_s: float = READY_S) -> str:
        """Wait until it has said `text` so often; all it said."""
        deadline = time.monotonic() + within_s
        while (said := self.log.read_text()).count(text) < times:
            ended = self.process.poll()
            assert ended is None, f"it ended ({ended}) and had said: {said}"
            assert time.monotonic() < deadline, f"no {text!r} within {within_s} s, but: {said}"
            time.sleep(0.05)
        return said

    def ended(self, within_s: float = READY_S) -> tuple[int, str]:
        """Exit code and all it said."""
        return self.process.wait(timeout=within_s), self.log.read_text()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process alone."""
        self.process.send_signal(number)


@dataclass
class Site:
    """Everything that one test starts, below one folder. `spaces`: network namespaces of hosts that have their own.

    `paths`: where hosts look for modules first.
    """

    folder: Path
    servers: list[Server] = field(default_factory=list)
    phones: list[tuple[str, str]] = field(default_factory=list)
    spaces: dict[str, str] = field(default_factory=dict)
    paths: tuple[Path, ...] = ()

    def __enter__(self) -> Self:
        (self.folder / "tiny.toml").write_text(PRESET)
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            if server.process.poll() is None:
                server.signal(signal.SIGCONT)
                server.process.kill()
                server.process.wait()
        for host, phone in self.phones:
            self.pipeline(host, "devices", "remove", phone)

    def environment(self, host: str) -> dict[str, str]:
        """Of a host: a cache of its own that shares what is downloaded and built."""
        cache = self.folder / host / "mess-deploy"
        if not cache.is_dir():
            cache.mkdir(parents=True)
            for name in DOWNLOADS:
                (cache / name).symlink_to(cache_folder(name))
        modules = os.pathsep.join(map(str, (*self.paths, *PATHS)))
        return {**os.environ, "XDG_CACHE_HOME": str(cache.parent), "XDG_CONFIG_HOME": str(self.folder / "config"),
                "PYTHONPATH": modules, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

    def pipeline(self, host: str, *words: str) -> "subprocess.CompletedProcess[str]":
        """A command on a host, to its end."""
        return subprocess.run(self.command(host, *words), cwd=self.folder, env=self.environment(host), text=True,
                              capture_output=True, timeout=1000)

    def begin(self, host: str, *words: str, name: str = "", program: str = "") -> Server:
        """A command on a host that goes on beside the test; `program`: Python that runs instead of the command line."""
        log = self.folder / f"{name or words[1]}-{len(self.servers)}.log"
        command = [sys.executable, "-c", program, *words] if program else self.command(host, *words)
        with log.open("wb") as stream, log.with_suffix(".out").open("wb") as out:
            process = subprocess.Popen(command, cwd=self.folder, env=self.environment(host), stdout=out, stderr=stream)
        self.servers.append(Server(process, log))
        return self.servers[-1]

    def command(self, host: str, *words: str) -> list[str]:
        """`python -m pipeline` with these words, as a process of `host`."""
        inside = ["ip", "netns", "exec", self.spaces[host]] if host in self.spaces else []
        return [*inside, sys.executable, "-m", "pipeline", *words]

    def scheduler(self, *words: str, listen: str = "127.0.0.1:0") -> tuple[Server, str]:
        """A scheduler, and its address."""
        server = self.begin("office", "farm", "scheduler", "--listen", listen, *words)
        return server, server.says("scheduler at ").split("scheduler at ")[1].split()[0]

    def worker(self, host: str, scheduler: str, *words: str) -> Server:
        """A host's worker that has joined, or is about to end."""
        return self.begin(host, "farm", "worker", "--scheduler", scheduler, "--name", host, *words)

    def add_phones(self, host: str, count: int = 1, profile: str = "pixel7") -> list[str]:
        """Emulated phones of a host; their addresses."""
        done = self.pipeline(host, "devices", "add", "--emulated", profile, "--count", str(count), "--json")
        assert done.returncode == 0, done.stderr
        added = [device["address"] for device in json.loads(done.stdout)["devices"]]
        self.phones += [(host, address) for address in added]
        return added

    def remove_phone(self, host: str, phone: str) -> None:
        """Pull it."""
        self.phones.remove((host, phone))
        assert self.pipeline(host, "devices", "remove", phone).returncode == 0

    def status(self, scheduler: str, *words: str) -> dict[str, Any]:
        """What `farm status --json` tells."""
        done = self.pipeline("office", "farm", "status", "--scheduler", scheduler, "--json", *words)
        assert done.returncode == 0, done.stderr
        state: dict[str, Any] = json.loads(done.stdout)
        return state

    def wait_for(
        self, scheduler: str, told: Callable[[dict[str, Any]], bool], what: str, within_s: float = READY_S
    ) -> dict[str, Any]:
        """The first status of which `told(status)` is true."""
        deadline = time.monotonic() + within_s
        while not told(state := self.status(scheduler)):
            assert time.monotonic() < deadline, f"not {what} within {within_s} s: {state}"
        return state
