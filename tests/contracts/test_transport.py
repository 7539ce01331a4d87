"""What every transport to a phone must do. A further transport is one more subclass with its `connected` fixture."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import adbutils
import pytest
import usb1

from device_profiler import debian, links
from device_profiler.adb_direct import AdbShellTransport
from device_profiler.emulator.phone import start_phone, stop_phone
from device_profiler.errors import DeviceError, InputError
from device_profiler.links import UsbLink, usb_class
from device_profiler.transport import ConnectionLostError, DeviceTimeoutError, Transport, connect, tcp_place
from tests.contracts.usb_cable import PACKET, UsbCable
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


class StrangePhone:
    """On the same bus, of another user: nothing of it may be read."""

    def getSerialNumber(self) -> str:
        raise usb1.USBErrorAccess()


class TestUsb(TransportContract):
    """adb-shell over USB, by a cable of software; a phone that may not be read is attached too."""

    @pytest.fixture
    def cable(self, address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[UsbCable]:
        place = tcp_place(address)
        assert place
        plugged = UsbCable(*place)
        real = usb_class()
        found = [real(StrangePhone(), plugged), real(plugged, plugged)]
        monkeypatch.setattr(links, "usb_class", lambda: type("Bus", (), {"find_all_adb_devices": lambda _: found}))
        yield plugged
        plugged.unplug()

    @pytest.fixture
    def connected(self, cable: UsbCable) -> Iterator[Transport]:
        with AdbShellTransport("29HX", UsbLink("29HX")) as transport:
            yield transport
            transport.shell(f"rm -rf {FOLDER}")

    def test_a_message_that_fills_its_packets_arrives(
        self, cable: UsbCable, connected: Transport, tmp_path: Path
    ) -> None:
        def push(more: int) -> None:
            (tmp_path / "local").write_bytes(os.urandom(1000 + more))
            connected.push(tmp_path / "local", f"{FOLDER}/filling", timeout_s=10.0)

        def ask(more: int) -> None:
            assert connected.shell(f"true {'x' * more}", timeout_s=10.0).exit_code == 0

        for act in (ask, push):
            cable.written.clear()
            act(0)
            short = -max(cable.written) % PACKET
            act(short)
            assert max(cable.written) % PACKET == 0

    def test_what_was_left_unread_is_no_answer(self, cable: UsbCable, connected: Transport) -> None:
        connected.shell("true")
        cable.stop_payloads()
        with pytest.raises(DeviceTimeoutError):
            connected.shell("seq 1 100", timeout_s=1.0)
        cable.let_payloads_through()
        assert connected.shell("echo again").output == "again\n"

    def test_a_deadline_that_is_nearly_over_is_not_for_ever(
        self, connected: Transport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connected.shell("true")
        with monkeypatch.context() as hasty, pytest.raises(DeviceTimeoutError):
            hasty.setattr(UsbLink, "remaining_s", lambda _: 0.0004)
            connected.shell("sleep 1")

    def test_a_phone_that_may_not_be_opened_is_told(self, cable: UsbCable) -> None:
        cable.refusal = usb1.USBErrorAccess()
        with pytest.raises(ConnectionLostError, match=r"29HX can't be opened on USB \(LIBUSB_ERROR_ACCESS.*doctor"):
            AdbShellTransport("29HX", UsbLink("29HX")).connect()

    def test_a_phone_that_is_gone_is_told(self, cable: UsbCable) -> None:
        with pytest.raises(ConnectionLostError, match=r"11AB can't be opened on USB .no phone of this"):
            AdbShellTransport("11AB", UsbLink("11AB")).connect()

    def test_an_unplugged_phone_is_a_lost_connection(self, cable: UsbCable) -> None:
        with AdbShellTransport("29HX", UsbLink("29HX")) as transport:
            assert transport.shell("true").exit_code == 0
            cable.unplug()
            with pytest.raises(ConnectionLostError, match=r"lost 29HX .*'true' \(LIBUSB_ERROR_NO_DEVICE"):
                transport.shell("true")


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
