"""The emulated phone as others see it: Debian's adb and adbutils, neither of which the product uses."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_profiler import debian
from device_profiler.emulator.registry import EmulatedPhone

adbutils = pytest.importorskip("adbutils")
SIZE = 20_000_000


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class AdbServer:
    """An adb of its own: own port, own home, so that nobody's server is disturbed."""

    def __init__(self, command: list[str], home: Path, libraries: str = "") -> None:
        self.port = _free_port()
        self.command = [*command, "-P", str(self.port)]
        self._environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LD_LIBRARY_PATH": libraries}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self.command, *arguments], capture_output=True, text=True, timeout=120,
                              env=self._environment)


@pytest.fixture
def debian_adb(tmp_path: Path) -> Iterator[AdbServer]:
    """Debian's adb, unpacked."""
    tree = debian.fetch(["adb"])
    places = [*tree.glob("usr/lib/*-linux-gnu"), *tree.glob("usr/lib/*-linux-gnu/android")]
    private = tmp_path / "libraries"
    private.mkdir()
    for library in (item for place in places for item in place.glob("*.so.*")):
        if not library.name.startswith(("libc.so", "libm.so", "ld-linux", "libpthread", "libdl", "librt", "libresolv")):
            (private / library.name).symlink_to(library)
    server = AdbServer([str(next(tree.rglob("platform-tools/adb")))], tmp_path, str(private))
    yield server
    server.run("kill-server")


@pytest.fixture
def google_adb(tmp_path: Path) -> Iterator[AdbServer]:
    """The adb that adbutils carries."""
    server = AdbServer([adbutils.adb_path()], tmp_path)
    assert server.run("start-server").returncode == 0
    yield server
    server.run("kill-server")


@pytest.fixture
def big_file(tmp_path: Path) -> Path:
    path = tmp_path / "big"
    path.write_bytes(os.urandom(SIZE))
    return path


def test_debians_adb(phone: EmulatedPhone, debian_adb: AdbServer, big_file: Path, tmp_path: Path) -> None:
    assert "connected to" in debian_adb.run("connect", phone.address).stdout
    listed = debian_adb.run("devices").stdout.splitlines()[1:]
    assert [line.split() for line in listed if line] == [[phone.address, "device"]], "listed once"
    target = ("-s", phone.address)
    assert debian_adb.run(*target, "shell", "uname", "-m").stdout == "aarch64\n"
    assert debian_adb.run(*target, "shell", "exit 7").returncode == 7
    assert debian_adb.run(*target, "push", str(big_file), "/data/local/tmp/debian").returncode == 0
    back = tmp_path / "back"
    assert debian_adb.run(*target, "pull", "/data/local/tmp/debian", str(back)).returncode == 0
    assert back.read_bytes() == big_file.read_bytes()
    debian_adb.run(*target, "shell", "rm /data/local/tmp/debian")


def test_adbutils(phone: EmulatedPhone, google_adb: AdbServer, big_file: Path, tmp_path: Path) -> None:
    client = adbutils.AdbClient(host="127.0.0.1", port=google_adb.port)
    assert "connected" in client.connect(phone.address, timeout=30.0)
    device = client.device(serial=phone.address)
    assert device.shell("uname -m", timeout=30.0) == "aarch64"
    assert device.shell2("(exit 7)", timeout=30.0).returncode == 7
    assert device.shell2("exit 8", timeout=30.0, v2=True).returncode == 8
    assert device.prop.model == "Pixel 7"
    device.sync.push(str(big_file), "/data/local/tmp/adbutils")
    back = tmp_path / "back"
    device.sync.pull("/data/local/tmp/adbutils", str(back))
    assert back.read_bytes() == big_file.read_bytes()
    device.shell("rm /data/local/tmp/adbutils", timeout=30.0)


def test_ports_are_forwarded(phone: EmulatedPhone, google_adb: AdbServer) -> None:
    google_adb.run("connect", phone.address)
    port = int(google_adb.run("-s", phone.address, "forward", "tcp:0", "tcp:7001").stdout)
    serve = "echo from the phone | nc -l -p 7001"
    service = subprocess.Popen([*google_adb.command, "-s", phone.address, "shell", serve])
    try:
        assert _read_from(port) == b"from the phone\n"
    finally:
        service.kill()
        service.wait()


def _read_from(port: int) -> bytes:
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        with socket.create_connection(("127.0.0.1", port), timeout=10.0) as connection:
            if data := connection.recv(100):
                return data
        time.sleep(0.2)
    return b""


def test_clients_and_the_product_at_once(phone: EmulatedPhone, google_adb: AdbServer) -> None:
    from device_profiler.transport import connect

    google_adb.run("connect", phone.address)
    with connect(phone.address) as transport:
        for number in range(5):
            assert google_adb.run("-s", phone.address, "shell", f"exit {number}").returncode == number
            assert transport.shell(f"exit {number}").exit_code == number
