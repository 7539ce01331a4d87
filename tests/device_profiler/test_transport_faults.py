"""Wrong addresses and broken connections: one clear line, in bounded time, nothing half-done."""

import http.server
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import usb1

from device_profiler import links
from device_profiler.adb_direct import AdbShellTransport
from device_profiler.emulator.registry import EmulatedPhone
from device_profiler.errors import DeviceError, InputError
from device_profiler.files import sha256_path
from device_profiler.links import usb_class
from device_profiler.transport import ConnectionLostError, DeviceTimeoutError, Transport, connect
from device_profiler.verified_transfer import VerifiedTransport


def _address_of(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


class CuttingRelay:
    """A relay to a phone that cuts the first connection after `cut_after` bytes sent to the phone (or from it)."""

    def __init__(self, phone: str, cut_after: int, *, count_answers: bool) -> None:
        host, port = phone.rsplit(":", 1)
        self._phone = (host, int(port))
        self._left: int | None = cut_after
        self._count_answers = count_answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = _address_of(self._listener)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            with client, suppress(OSError), socket.create_connection(self._phone) as phone:
                self._relay(client, phone)
            self._left = None

    def _relay(self, client: socket.socket, phone: socket.socket) -> None:
        other = {client: phone, phone: client}
        counted = phone if self._count_answers else client
        while True:
            for source in select.select([client, phone], [], [])[0]:
                data = source.recv(65536)
                if source is counted and self._left is not None:
                    data = data[: self._left]
                    self._left -= len(data)
                if data:
                    other[source].sendall(data)
                if not data or self._left == 0:
                    return


@pytest.fixture
def silent_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield _address_of(listener)


@pytest.fixture
def web_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield _address_of(server.socket)
        server.shutdown()


def test_nobody_listens(silent_port: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = _address_of(listener)
    with pytest.raises(DeviceError, match=f"nobody listens at {address}"):
        connect(address)


def test_a_web_server_is_no_adbd(web_server: str) -> None:
    with pytest.raises(DeviceError, match="is no adbd"):
        connect(web_server, timeout_s=2.0)


def test_a_port_that_stays_silent_ends_in_time(silent_port: str) -> None:
    began = time.monotonic()
    with pytest.raises(DeviceTimeoutError, match="no adbd"):
        connect(silent_port, timeout_s=1.0)
    assert time.monotonic() - began < 20.0, "bounded, however busy the machine is"


@pytest.mark.parametrize(
    "address", ["", "a b", "host:", ":5556", "host:port", "127.0.0.1:0", "127.0.0.1:65536", "1:2:3", "serial/1"]
)
def test_a_malformed_address_is_bad_input(address: str) -> None:
    with pytest.raises(InputError, match="malformed address"):
        connect(address)


def test_an_unknown_serial_lists_the_known() -> None:
    with pytest.raises(DeviceError, match=r"no phone with serial 'NOSUCHPHONE' is attached; attached: |libusb"):
        connect("NOSUCHPHONE")


def test_a_phone_on_usb_whose_serial_may_not_be_read_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Phone:
        def __init__(self, serial: str | None) -> None:
            self._serial = serial

        def getSerialNumber(self) -> str:
            if self._serial is None:
                raise usb1.USBErrorAccess()
            return self._serial

    real = usb_class()
    found = [real(Phone(serial), None) for serial in ("29HX", None, "11AB")]
    monkeypatch.setattr(links, "USB_BUS", tmp_path)
    monkeypatch.setattr(links, "usb_class", lambda: type("Bus", (), {"find_all_adb_devices": lambda _: found}))
    assert links.attached_serials() == ("11AB", "29HX")


def test_an_unknown_host_is_named() -> None:
    with pytest.raises(DeviceError, match=r"no-such-host\.invalid"):
        connect("no-such-host.invalid:5599")


@pytest.mark.parametrize("cut_after", [10, 5_000, 400_000, 1_999_000])
def test_a_cable_pulled_during_a_push_leaves_the_old_file(phone: EmulatedPhone, tmp_path: Path, cut_after: int) -> None:
    local, remote = tmp_path / "new", "/data/local/tmp/pulled"
    local.write_bytes(os.urandom(2_000_000))
    with connect(phone.address) as direct:
        direct.shell(f"echo old > {remote}")
    relay = CuttingRelay(phone.address, cut_after, count_answers=False)
    try:
        with pytest.raises(ConnectionLostError), connect(relay.address, timeout_s=5.0) as transport:
            transport.push(local, remote, timeout_s=20.0)
        with connect(relay.address) as transport:
            assert transport.shell(f"cat {remote}").output == "old\n"
            transport.push(local, remote)
            assert transport.shell(f"sha256sum {remote}").output.split()[0] == sha256_path(local)
            assert transport.shell(f"ls {remote}*").output.split() == [remote], "nothing half-done stays"
    finally:
        relay.close()


def test_a_cable_pulled_during_a_pull_leaves_no_file_and_the_next_call_reconnects(
    phone: EmulatedPhone, tmp_path: Path
) -> None:
    remote, local = "/data/local/tmp/source", tmp_path / "pulled"
    with connect(phone.address) as direct:
        direct.shell(f"head -c 2000000 /dev/urandom > {remote}")
    relay = CuttingRelay(phone.address, 700_000, count_answers=True)
    try:
        with connect(relay.address) as transport:
            with pytest.raises(ConnectionLostError, match=r"lost 127\.0\.0\.1:\d+ while trying to pull"):
                transport.pull(remote, local)
            assert list(tmp_path.iterdir()) == []
            transport.pull(remote, local)
            assert local.stat().st_size == 2_000_000
    finally:
        relay.close()


def test_a_command_that_can_not_be_parsed_has_an_exit_code_too(transport: Transport) -> None:
    result = transport.shell("( never closed")
    assert result.exit_code != 0 and "unmatched" in result.output
    assert transport.shell("echo ')'; echo \"'\"").output == ")\n'\n"


def test_a_shell_that_is_not_androids_is_an_error() -> None:
    class Board(VerifiedTransport):
        """Fault injection: something that answers by ADB, with another shell."""

        def _raw_shell(self, line: str) -> bytes:
            return b"sh: 1: print: not found\n"

        _bounded = AdbShellTransport._bounded
        close = _send = _receive = None  # type: ignore[assignment]

    with pytest.raises(ConnectionResetError, match="print: not found"):
        Board("board")._shell("true")
