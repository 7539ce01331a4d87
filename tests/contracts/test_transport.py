"""What every transport to a phone must do. A further transport is one more subclass with its `connected` fixture."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import adbutils
import pytest

from device_profiler import debian
from device_profiler.emulator.phone import start_phone, stop_phone
from device_profiler.errors import DeviceError, InputError
from device_profiler.transport import DeviceTimeoutError, Transport, connect
from tests.faults.cable_ways import adb_server

FOLDER = "/data/local/tmp/contract"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Address of a real adbd."""
    if not debian.available():
        pytest.skip("the emulated phone is built from Debian packages, which can't be fetched here")
    phone = start_phone("pixel7", keep=False)
    yield phone.address
    stop_phone(phone.address)


@pytest.fixture(scope="module")
def server(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of an adb server of the tests' own, with a home of its own: nobody else's is disturbed."""
    with adb_server(tmp_path_factory.mktemp("home")) as port:
        yield port


class TransportContract:
    """The tests; `connected` is a fixture of the subclass."""

    def test_a_command_gives_its_output_and_exit_code(self, connected: Transport) -> None:
        result = connected.shell("echo out; echo err >&2; exit 7")
        assert (result.exit_code, result.output) == (7, "out\nerr\n")
        assert connected.shell("uname -m").output == "aarch64\n"
        assert connected.shell("printf 'no newline'").output == "no newline"
        assert connected.shell("true # a comment").exit_code == 0
        assert connected.shell("no_such_command_here").exit_code == 127

    def test_long_output_comes_whole(self, connected: Transport) -> None:
        assert connected.shell("seq 1 20000").output.split() == [str(n) for n in range(1, 20001)]

    def test_a_command_that_hangs_ends_in_time_and_the_next_one_works(self, connected: Transport) -> None:
        with pytest.raises(DeviceTimeoutError, match="within 1 s"):
            connected.shell("sleep 60", timeout_s=1.0)
        assert connected.shell("echo again").output == "again\n"

    def test_a_file_round_trips(self, connected: Transport, tmp_path: Path) -> None:
        local, back, remote = tmp_path / "local", tmp_path / "back", f"{FOLDER}/a b/it's"
        local.write_bytes(os.urandom(3_000_001))
        connected.push(local, remote)
        connected.pull(remote, back)
        assert back.read_bytes() == local.read_bytes()

    @pytest.mark.parametrize("size", [0, 1, 64 * 1024])
    def test_odd_sizes_round_trip(self, connected: Transport, tmp_path: Path, size: int) -> None:
        local, back = tmp_path / "local", tmp_path / "back"
        local.write_bytes(os.urandom(size))
        connected.push(local, f"{FOLDER}/odd")
        connected.pull(f"{FOLDER}/odd", back)
        assert back.read_bytes() == local.read_bytes()

    def test_a_push_replaces_wholly_and_skips_what_is_there(self, connected: Transport, tmp_path: Path) -> None:
        local, remote = tmp_path / "local", f"{FOLDER}/replaced"
        local.write_text("first, and longer\n")
        assert connected.push(local, remote)
        assert not connected.push(local, remote)
        local.write_text("second\n")
        assert connected.push(local, remote)
        assert connected.shell(f"cat {remote}").output == "second\n"
        assert "partial" not in connected.shell(f"ls {FOLDER}").output

    def test_a_pushed_program_can_be_run(self, connected: Transport, tmp_path: Path) -> None:
        program = tmp_path / "program"
        program.write_text("#!/system/bin/sh\nexit 5\n")
        program.chmod(0o755)
        connected.push(program, f"{FOLDER}/program")
        assert connected.shell(f"{FOLDER}/program").exit_code == 5

    def test_what_the_phone_refuses_is_an_error_and_leaves_nothing(self, connected: Transport, tmp_path: Path) -> None:
        local = tmp_path / "local"
        with pytest.raises(InputError, match="no such file"):
            connected.push(local, f"{FOLDER}/x")
        local.write_bytes(bytes(300_000))
        with pytest.raises(DeviceError, match="refused"):
            connected.push(local, "/proc/nowhere/x")
        with pytest.raises(DeviceError, match="no such file"):
            connected.pull(f"{FOLDER}/absent", tmp_path / "absent")
        assert [path.name for path in tmp_path.iterdir()] == ["local"]
        assert connected.shell("echo still here").output == "still here\n"

    def test_a_full_disk_is_an_error_and_leaves_nothing(self, connected: Transport, tmp_path: Path) -> None:
        small = f"{FOLDER}/small"
        connected.shell(f"mkdir -p {small} && busybox mount -t tmpfs -o size=256k none {small}")
        local = tmp_path / "local"
        local.write_bytes(os.urandom(2_000_000))
        try:
            with pytest.raises(DeviceError, match="No space left"):
                connected.push(local, f"{small}/file", timeout_s=30.0)
            assert connected.shell(f"ls {small}").output == ""
        finally:
            connected.shell(f"busybox umount {small}")

    def test_a_closed_transport_connects_anew(self, connected: Transport) -> None:
        connected.close()
        assert connected.shell("echo back").output == "back\n"


class TestAdbShell(TransportContract):
    """adb-shell over TCP."""

    @pytest.fixture
    def connected(self, address: str) -> Iterator[Transport]:
        with connect(address) as transport:
            yield transport
            transport.shell(f"rm -rf {FOLDER}")


class TestAdbServer(TransportContract):
    """An adb server, through adbutils."""

    @pytest.fixture
    def connected(self, address: str, server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Transport]:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server))
        with connect(f"adb-server:{address}") as transport:
            yield transport
            transport.shell(f"rm -rf {FOLDER}")

    def test_an_unknown_serial_lists_the_known(self, connected: Transport, address: str) -> None:
        for asked in ("adb-server:NOSUCHPHONE", "NOSUCHPHONE"):
            with pytest.raises(DeviceError, match=address):
                connect(asked)

    def test_a_phone_that_the_server_lost_is_connected_again(self, connected: Transport, address: str) -> None:
        adbutils.AdbClient(port=int(os.environ["ANDROID_ADB_SERVER_PORT"])).disconnect(address)
        assert connected.shell("echo back").output == "back\n"


def test_no_adb_server_is_started_for_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    with pytest.raises(DeviceError, match="no adb server runs at"):
        connect("adb-server:SERIAL")
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1.0)
