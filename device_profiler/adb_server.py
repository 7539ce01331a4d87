"""Transport through a running adb server (by adbutils): for phones that other tools share, or that the server holds.

The server is the one that adb itself would use: ANDROID_ADB_SERVER_HOST and ANDROID_ADB_SERVER_PORT, else
127.0.0.1:5037. None is ever started or ended here: either would break the jobs of others.
"""

import logging
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from device_profiler.errors import DeviceError
from device_profiler.links import STALL_S
from device_profiler.transport import (
    CONNECT_TIMEOUT_S,
    SERVER_PREFIX,
    ConnectionLostError,
    DeviceTimeoutError,
    tcp_place,
)
from device_profiler.verified_transfer import VerifiedTransport

if TYPE_CHECKING:
    from adbutils import AdbClient

log = logging.getLogger(__name__)

_LIST_TIMEOUT_S = 3.0
_ANSWER_S = 5.0
"""How long a network phone may take to answer at all."""
# Limits of ADB's file transfer: https://android.googlesource.com/platform/packages/modules/adb/+/main/SYNC.TXT
_CHUNK = 64 * 1024
_HEADER = struct.Struct("<4sI")
_READ = 64 * 1024
_TRANSFER = "sync:"
_STANDING = ("device", "unauthorized", "authorizing")
"""States that a connection made anew would have too."""
_ADVICE = {
    "unauthorized": "unlock the phone, accept its question about USB debugging, then try again",
    "authorizing": "unlock the phone, accept its question about USB debugging, then try again",
    "offline": "plug the phone out and in, or restart its USB debugging",
}


@dataclass(frozen=True)
class ServerPhone:
    """A phone as the adb server lists it; `state` is "device" where it can be used."""

    serial: str
    state: str


def server_place() -> tuple[str, int]:
    """Host and port of the adb server that adb's own variables name."""
    port = os.environ.get("ANDROID_ADB_SERVER_PORT", "5037")
    return os.environ.get("ANDROID_ADB_SERVER_HOST", "127.0.0.1"), int(port) if port.isdigit() else 5037


def server_phones() -> tuple[ServerPhone, ...]:
    """What the adb server lists; empty where none runs, or it does not answer."""
    try:
        socket.create_connection(server_place(), timeout=_LIST_TIMEOUT_S).close()
        return _listed(_Deadline(time.monotonic() + _LIST_TIMEOUT_S))
    except (OSError, DeviceError) as error:
        log.debug("no phones from an adb server: %s", error)
        return ()


@dataclass
class _Deadline:
    """When the running call ends, on the monotonic clock [s]."""

    at: float = 0.0

    def remaining_s(self) -> float:
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


@dataclass(frozen=True)
class _Stream:
    """A connection that the adb server made to a service; every read and write ends at the deadline.

    `transfers`: a file is on its way, so that silence is a fault.
    """

    connection: socket.socket
    deadline: _Deadline
    transfers: bool

    def write(self, data: bytes) -> None:
        with self._patience():
            self.connection.sendall(data)

    def read_some(self, size: int) -> bytes:
        with self._patience():
            return self.connection.recv(size)

    @contextmanager
    def _patience(self) -> Iterator[None]:
        left = self.deadline.remaining_s()
        stalls = self.transfers and left > STALL_S
        self.connection.settimeout(STALL_S if stalls else left)
        try:
            yield
        except TimeoutError as error:
            if stalls:
                raise ConnectionAbortedError(f"no byte passed for {STALL_S:.0f} s") from error
            raise

    def read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self.read_some(size - len(data))
            if not piece:
                raise ConnectionResetError("the adb server closed the connection")
            data += piece
        return bytes(data)

    def read_to_end(self) -> bytes:
        pieces = []
        while piece := self.read_some(_READ):
            pieces.append(piece)
        return b"".join(pieces)


class AdbServerTransport(VerifiedTransport):
    """See `Transport` for the contract. Each call has a connection to the server of its own."""

    def __init__(self, address: str, serial: str) -> None:
        super().__init__(address)
        self._serial = serial
        self._deadline = _Deadline()
        self._doubtful = False

    def close(self) -> None:
        """See `Transport`."""

    def connect(self, *, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Ask the server for the phone now, so that what is wrong shows at once.

        A network phone must answer too: a connection whose beginning was garbled stays with the server for good, and
        is to it as any other. One over which nothing comes is made anew.

        Raises:
            DeviceError: no server runs, it does not know the phone (the known ones are listed), or the phone is
                offline or does not trust this machine.
        """
        self._doubtful = True
        with self._bounded("connect", timeout_s):
            pass

    def _attach(self) -> None:
        """The server's state of the phone is "device"; it is asked to connect to a network phone that it lacks, or
        whose state can't get better by itself."""
        phones = {phone.serial: phone for phone in _listed(self._deadline)}
        if tcp_place(self._serial) and getattr(phones.get(self._serial), "state", "offline") not in _STANDING:
            self._connect_anew(known=self._serial in phones)
            phones = {phone.serial: phone for phone in _listed(self._deadline)}
        phone = phones.get(self._serial)
        if phone is None:
            raise ConnectionLostError(f"the adb server has no phone {self._serial!r}; it has: "
                                      f"{', '.join(phones) or 'none'}; attach it, or see `devices`")
        if phone.state != "device":
            raise ConnectionLostError(f"the adb server says that {self._serial} is {phone.state!r}: "
                                      f"{_ADVICE.get(phone.state, 'wait for it, or attach it anew')}")

    def _connect_anew(self, *, known: bool) -> None:
        with _server_errors():
            if known:  # else the server says that it is connected, and leaves it as it is
                _client(self._deadline).disconnect(self._serial)
            _client(self._deadline).connect(self._serial, timeout=self._deadline.remaining_s())

    def _make_sure(self) -> None:
        """The phone is attached, and where it is on the network it answers, at the second connection at the latest."""
        self._attach()
        if not tcp_place(self._serial):
            return
        whole = self._deadline.at
        left = self._deadline.remaining_s()
        self._deadline.at -= max(left / 2, left - _ANSWER_S)
        try:
            self._raw_shell("true")
        except (OSError, ConnectionLostError) as error:
            log.debug("%s does not answer (%s): connecting anew", self._serial, error)
            self._deadline.at = whole
            self._connect_anew(known=True)
            self._attach()
        finally:
            self._deadline.at = whole

    @contextmanager
    def _bounded(self, action: str, timeout_s: float) -> Iterator[None]:
        self._deadline.at = time.monotonic() + timeout_s
        try:
            if self._doubtful:
                self._make_sure()
                self._doubtful = False
            yield
        except TimeoutError as error:
            self._doubtful = True
            raise DeviceTimeoutError(f"{self.address} did not {action} within {timeout_s:g} s; see whether the phone "
                                     f"still answers, or allow more time") from error
        except OSError as error:
            raise ConnectionLostError(f"lost {self.address} while trying to {action} ({error}); see whether the adb "
                                      f"server runs and the phone is attached, then try again") from error

    @contextmanager
    def _service(self, name: str) -> Iterator[_Stream]:
        """A stream to a service of the phone; a phone that the server lost is asked for once more."""
        for last in (False, True):
            try:
                opened = self._open(name)
                break
            except ConnectionLostError:
                if last:
                    raise
                self._attach()
        try:
            yield _Stream(opened, self._deadline, name == _TRANSFER)
        finally:
            opened.close()

    def _open(self, name: str) -> socket.socket:
        with _server_errors():
            connection = _client(self._deadline).device(self._serial).open_transport(
                timeout=self._deadline.remaining_s())
            opened: socket.socket = connection.conn
            try:
                opened.settimeout(self._deadline.remaining_s())
                connection.send_command(name)
                connection.check_okay()
            except BaseException:
                opened.close()
                raise
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened

    def _raw_shell(self, line: str) -> bytes:
        with self._service(f"shell:{line}") as stream:
            return stream.read_to_end()

    def _send(self, local: Path, remote: str, mode: int) -> None:
        with self._service(_TRANSFER) as stream, local.open("rb") as source:
            try:
                stream.write(_record(b"SEND", f"{remote},{stat.S_IFREG | mode}".encode()))
                while chunk := source.read(_CHUNK):
                    stream.write(_record(b"DATA", chunk))
                stream.write(_HEADER.pack(b"DONE", int(time.time())))
            except (BrokenPipeError, ConnectionResetError):
                log.debug("the phone refuses %s", remote)  # it has said why: read below
            kind, size = _HEADER.unpack(stream.read(_HEADER.size))
            if kind != b"OKAY":
                raise self._refusal(kind, size, stream)

    def _receive(self, remote: str, local: Path) -> None:
        with self._service(_TRANSFER) as stream, local.open("wb") as destination:
            stream.write(_record(b"RECV", remote.encode()))
            while True:
                kind, size = _HEADER.unpack(stream.read(_HEADER.size))
                if kind == b"DONE":
                    return
                if kind != b"DATA" or size > _CHUNK:
                    raise self._refusal(kind, size, stream)
                destination.write(stream.read(size))

    def _refusal(self, kind: bytes, size: int, stream: _Stream) -> Exception:
        if kind != b"FAIL" or size > _CHUNK:
            return ConnectionResetError(f"unknown answer {kind!r} in a file transfer")
        return DeviceError(f"{self.address} refused: {stream.read(size).decode(errors='replace').strip()[:200]}")


def _record(kind: bytes, content: bytes) -> bytes:
    return _HEADER.pack(kind, len(content)) + content


def _listed(deadline: _Deadline) -> tuple[ServerPhone, ...]:
    with _server_errors():
        return tuple(ServerPhone(phone.serial, phone.state) for phone in _client(deadline).list())


@contextmanager
def _server_errors() -> Iterator[None]:
    """adbutils' errors as those of the contract."""
    from adbutils.errors import AdbError, AdbTimeout

    try:
        yield
    except AdbTimeout as error:
        raise TimeoutError from error
    except AdbError as error:
        raise ConnectionLostError(f"the adb server at {_told_place()} says: {str(error)[:200]}") from error
    except (ConnectionRefusedError, socket.gaierror) as error:
        raise ConnectionLostError(f"no adb server runs at {_told_place()}; start one (`adb start-server`), or leave "
                                  f"{SERVER_PREFIX!r} out of the address to reach the phone without one") from error
    except ValueError as error:
        raise ConnectionLostError(f"what listens at {_told_place()} is no adb server; check ANDROID_ADB_SERVER_HOST "
                                  "and ANDROID_ADB_SERVER_PORT") from error


def _told_place() -> str:
    host, port = server_place()
    return f"{host}:{port}"


def _client(deadline: _Deadline) -> "AdbClient":
    """adbutils' client, with our deadline on every connection; a server that is not there is not started."""
    from adbutils import AdbClient
    from adbutils._adb import AdbConnection

    class Connection(AdbConnection):  # type: ignore[misc]
        def _safe_connect(self) -> socket.socket:
            return socket.create_connection(server_place(), timeout=deadline.remaining_s())

    class Client(AdbClient):  # type: ignore[misc]
        def make_connection(self, timeout: float | None = None) -> AdbConnection:
            connection = Connection(self.host, self.port)
            connection.conn.settimeout(deadline.remaining_s())
            return connection

    return Client(*server_place())
