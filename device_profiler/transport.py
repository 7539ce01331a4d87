"""The way to a phone: run a command, push and pull files. Every call is bounded, every command's exit code comes back.

Addresses: HOST:PORT reaches an adbd over TCP (a network phone or an emulated one); SERIAL one on USB, through the adb
server where one runs and holds the phone; adb-server:SERIAL always goes through the adb server.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from device_profiler.errors import DeviceError, InputError

CONNECT_TIMEOUT_S = 10.0
SERVER_PREFIX = "adb-server:"
ADDRESS_RULE = ("a phone's address is HOST:PORT (such as 192.168.1.7:5556), the SERIAL of an attached phone, or "
                f"{SERVER_PREFIX}SERIAL to go through the adb server")
_TCP = re.compile(r"^(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/]+):(?P<port>\d{1,5})$")
_SERIAL = re.compile(r"^[A-Za-z0-9._-]+$")


class DeviceTimeoutError(DeviceError):
    """The phone did not answer in time; whether the command had an effect is not known."""


class ConnectionLostError(DeviceError):
    """The connection broke, or could not be made; the next call connects anew."""


@dataclass(frozen=True)
class ShellResult:
    """Exit code of a command, and its standard output and error together (lines end in \\n)."""

    exit_code: int
    output: str


class Transport(Protocol):
    """A phone that can be talked to. Not to be shared between threads.

    All calls raise DeviceTimeoutError after `timeout_s`, ConnectionLostError when the phone goes away, and plain
    DeviceError when the phone refuses (no such file, no space). After an error the next call connects anew.
    """

    address: str

    def shell(self, command: str, *, timeout_s: float = 30.0) -> ShellResult:
        """Run `command` in the phone's shell and wait for it; what times out may go on there."""

    def push(self, local: Path, remote: str, *, timeout_s: float = 120.0) -> bool:
        """Copy a file to the phone, whole or not at all, its SHA-256 verified there; False: it was there already."""

    def pull(self, remote: str, local: Path, *, timeout_s: float = 120.0) -> None:
        """Copy a file from the phone, whole or not at all, SHA-256 verified."""

    def close(self) -> None:
        """Give the connection back; a closed transport connects anew when it is used again."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None: ...


def connect(address: str, *, timeout_s: float = CONNECT_TIMEOUT_S) -> Transport:
    """A transport to the phone at `address`, connected.

    Raises:
        InputError: malformed address.
        DeviceError: nobody listens, no adbd, an unknown serial (the known ones are listed), or not authorised.
    """
    if address.startswith(SERVER_PREFIX):
        return _connect_by_server(address, address.removeprefix(SERVER_PREFIX), timeout_s)
    if place := tcp_place(address):
        return _connect_by_tcp(address, place, timeout_s)
    if not _SERIAL.match(address):
        raise InputError(f"malformed address {address!r}: {ADDRESS_RULE}")
    return _connect_by_serial(address, timeout_s)


def tcp_place(address: str) -> tuple[str, int] | None:
    """Host and port of an address HOST:PORT, or None where it is none.

    Raises:
        InputError: the port is out of range.
    """
    found = _TCP.match(address)
    if not found:
        return None
    port = int(found["port"])
    if not 0 < port < 65536:
        raise InputError(f"malformed address {address!r}: a port is 1 to 65535")
    return found["host"].strip("[]"), port


def _connect_by_tcp(address: str, place: tuple[str, int], timeout_s: float) -> Transport:
    from device_profiler.adb_direct import AdbShellTransport
    from device_profiler.links import TcpLink

    transport = AdbShellTransport(address, TcpLink(*place))
    transport.connect(timeout_s=timeout_s)
    return transport


def _connect_by_server(address: str, serial: str, timeout_s: float) -> Transport:
    from device_profiler.adb_server import AdbServerTransport

    if not (_SERIAL.match(serial) or tcp_place(serial)):
        raise InputError(f"malformed address {address!r}: {ADDRESS_RULE}")
    transport = AdbServerTransport(address, serial)
    transport.connect(timeout_s=timeout_s)
    return transport


def _connect_by_serial(serial: str, timeout_s: float) -> Transport:
    """Through the adb server where it holds the phone (it alone can talk to it then), else by USB."""
    from device_profiler.adb_direct import AdbShellTransport
    from device_profiler.adb_server import server_phones
    from device_profiler.links import UsbLink, attached_serials, usb_class

    held = {phone.serial for phone in server_phones()}
    if serial in held:
        return _connect_by_server(serial, serial, timeout_s)
    on_usb = attached_serials()
    if serial not in on_usb:
        if not held:
            usb_class()
        known = sorted({*held, *on_usb})
        raise DeviceError(f"no phone with serial {serial!r} is attached; attached: {', '.join(known) or 'none'}; "
                          f"{ADDRESS_RULE}")
    transport = AdbShellTransport(serial, UsbLink(serial))
    transport.connect(timeout_s=timeout_s)
    return transport
