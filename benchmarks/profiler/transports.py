"""A 20 MB push and a short command by adb-shell straight to adbd, against the adb server (by adbutils): their ratios.

On an emulated phone, in turn, ROUNDS times; medians. `transfer` is the upload alone, `push` with both SHA-256 and the
renaming, `adbutils_own` what adbutils' sync.push does (unverified). Writes results/transports.json.
Run: python benchmarks/profiler/transports.py
"""

import os
import random
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import adbutils
import msgspec

from device_profiler.emulator.phone import start_phone, stop_phone
from device_profiler.files import write_atomic
from device_profiler.transport import connect
from device_profiler.verified_transfer import VerifiedTransport

RESULTS = Path(__file__).parent / "results" / "transports.json"
SIZE, ROUNDS, LIMIT_S = 20_000_000, 7, 600.0
REMOTE = "/data/local/tmp/pushed"


class Timed(msgspec.Struct, frozen=True):
    """Seconds of one action by each way, a number a round, and the ratio of the medians (direct / server)."""

    action: str
    direct_s: tuple[float, ...]
    server_s: tuple[float, ...]
    ratio: float


class Result(msgspec.Struct, frozen=True):
    """`load`: what else ran on the host (one-minute average, before and after)."""

    bytes: int
    phone: str
    cores: int
    load: tuple[float, float]
    timed: tuple[Timed, ...]


@contextmanager
def own_server() -> Iterator[None]:
    """An adb server of our own: nobody else's is disturbed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        environment = {"HOME": home, "PATH": os.environ["PATH"]}
        command = [adbutils.adb_path(), "-P", str(port)]
        subprocess.run([*command, "start-server"], env=environment, check=True, capture_output=True)
        os.environ["ANDROID_ADB_SERVER_PORT"] = str(port)
        try:
            yield
        finally:
            subprocess.run([*command, "kill-server"], env=environment, check=False, capture_output=True)


def transfer(transport: VerifiedTransport, file: Path) -> None:
    """The upload alone."""
    with transport._bounded("transfer", LIMIT_S):
        transport._send(file, REMOTE, 0o644)


def push(transport: VerifiedTransport, file: Path) -> None:
    """As the product pushes: verified, under a new name."""
    transport.push(file, f"{REMOTE}.{time.monotonic_ns()}", timeout_s=LIMIT_S)


def command(transport: VerifiedTransport, file: Path) -> None:
    """A command that does nothing."""
    transport.shell("true", timeout_s=LIMIT_S)


def adbutils_own(transport: VerifiedTransport, file: Path) -> None:
    """By adbutils' sync.push; the direct way has nothing like it, and transfers."""
    if transport.address.startswith("adb-server:"):
        client = adbutils.AdbClient(port=int(os.environ["ANDROID_ADB_SERVER_PORT"]))
        client.device(transport.address.removeprefix("adb-server:")).sync.push(file, REMOTE)
    else:
        transfer(transport, file)


def seconds(action: Callable[[VerifiedTransport, Path], None], transport: VerifiedTransport, file: Path) -> float:
    transport.shell(f"rm -f {REMOTE}*", timeout_s=LIMIT_S)
    began = time.monotonic()
    action(transport, file)
    return time.monotonic() - began


def main() -> None:
    """Measure and write."""
    phone, before = start_phone("pixel7", keep=False), os.getloadavg()[0]
    try:
        with own_server(), tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "file")
            file.write_bytes(random.Random(0).randbytes(SIZE))
            with connect(phone.address) as direct, connect(f"adb-server:{phone.address}") as server:
                assert isinstance(direct, VerifiedTransport) and isinstance(server, VerifiedTransport)
                timed = []
                for action in (transfer, push, adbutils_own, command):
                    pairs = [(seconds(action, direct, file), seconds(action, server, file)) for _ in range(ROUNDS)]
                    ours, theirs = zip(*pairs, strict=True)
                    timed.append(Timed(action.__name__, ours, theirs, median(ours) / median(theirs)))
                    print(f"{action.__name__}: adb-shell {median(ours):.2f} s, adb server {median(theirs):.2f} s, "
                          f"ratio {timed[-1].ratio:.2f}", flush=True)
        result = Result(SIZE, f"emulated {phone.profile}, {phone.form}", os.cpu_count() or 0,
                        (before, os.getloadavg()[0]), tuple(timed))
        write_atomic(RESULTS, msgspec.json.format(msgspec.json.encode(result), indent=1))
    finally:
        stop_phone(phone.address)


if __name__ == "__main__":
    main()
