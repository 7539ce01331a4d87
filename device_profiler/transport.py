"""The way to a phone: run a command, push and pull files. Every call is bounded, every command's exit code comes back.

Addresses: HOST:PORT reaches an adbd over TCP (a network phone or an emulated one), SERIAL one over USB.
"""

import os
import re
import shlex
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from adb_shell import constants
from adb_shell import exceptions as adb_errors
from adb_shell.adb_device import AdbDevice
from adb_shell.adb_message import AdbMessage
from adb_shell.hidden_helpers import _AdbTransactionInfo, _FileSyncTransactionInfo

from device_profiler.errors import DeviceError, InputError
from device_profiler.files import atomic_path, cache_folder, sha256_path
from device_profiler.links import Link, TcpLink, UsbLink, attached_serials, usb_class

CONNECT_TIMEOUT_S = 10.0
AUTHORISATION_TIMEOUT_S = 30.0
_STATUS_MARK = "__exit_status__"
_TCP = re.compile(r"^(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/]+):(?P<port>\d{1,5})$")
_SERIAL = re.compile(r"^[A-Za-z0-9._-]+$")
_ADDRESS_RULE = "a phone's address is HOST:PORT (such as 192.168.1.7:5556) or the SERIAL of a phone on USB"
_Result = TypeVar("_Result")


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
        """Run `command` in the phone's shell and wait for it; a command that times out gets a hang-up."""

    def push(self, local: Path, remote: str, *, timeout_s: float = 120.0) -> bool:
        """Copy a file to the phone, whole or not at all, its SHA-256 verified there; False: it was there already."""

    def pull(self, remote: str, local: Path, *, timeout_s: float = 120.0) -> None:
        """Copy a file from the phone, whole or not at all, SHA-256 verified."""

    def close(self) -> None:
        """Give the connection back; a closed transport connects anew when it is used again."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None: ...


class _Adb(AdbDevice):  # type: ignore[misc]
    """adb-shell's device, whose push would wait for ever when the phone refuses in the middle (a full disk)."""

    def _filesync_flush(self, adb_info: _AdbTransactionInfo, filesync_info: _FileSyncTransactionInfo) -> None:
        data = filesync_info.send_buffer[:filesync_info.send_idx]
        self._io_manager.send(AdbMessage(constants.WRTE, adb_info.local_id, adb_info.remote_id, data), adb_info)
        while True:
            kind, answer = self._read_until([constants.OKAY, constants.WRTE, constants.CLSE], adb_info)
            if kind == constants.CLSE:
                raise ConnectionResetError("the phone closed the file transfer")
            if kind == constants.OKAY:
                break
            filesync_info.recv_buffer += answer
        filesync_info.send_idx = 0


class AdbShellTransport:
    """Transport by adb-shell, which needs no adb server. See `Transport` for the contract."""

    def __init__(self, address: str, link: Link) -> None:
        self.address = address
        self._link = link
        self._device = _Adb(link)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """See `Transport`."""
        self._device.close()

    def connect(self, *, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Connect now, so that what is wrong with the address shows at once.

        Raises:
            DeviceError: nobody listens, what listens is no adbd, or the phone refuses this machine's key.
        """
        with self._bounded("connect", timeout_s):
            self._connect()

    def shell(self, command: str, *, timeout_s: float = 30.0) -> ShellResult:
        """See `Transport`."""
        with self._bounded(f"run {_short(command)!r}", timeout_s):
            return self._shell(command)

    def push(self, local: Path, remote: str, *, timeout_s: float = 120.0) -> bool:
        """See `Transport`."""
        if not local.is_file():
            raise InputError(f"can't push {local}: no such file")
        digest, mode = sha256_path(local), 0o755 if os.access(local, os.X_OK) else 0o644
        with self._bounded(f"push {local.name} to {remote}", timeout_s):
            if self._remote_digest(remote) == digest:
                self._checked(f"chmod {mode:o} {shlex.quote(remote)}")
                return False
            self._push(local, remote, digest, mode)
            return True

    def pull(self, remote: str, local: Path, *, timeout_s: float = 120.0) -> None:
        """See `Transport`."""
        with self._bounded(f"pull {remote}", timeout_s), atomic_path(local) as partial:
            digest = self._remote_digest(remote)
            if digest is None:
                raise DeviceError(f"can't pull {remote} from {self.address}: no such file, or it can't be read")
            self._adb(lambda: self._device.pull(remote, str(partial), read_timeout_s=self._link.remaining_s()))
            if sha256_path(partial) != digest:
                raise DeviceError(f"{remote} changed on its way from {self.address}; pull it again")

    def _push(self, local: Path, remote: str, digest: str, mode: int) -> None:
        # Named by content: what a broken connection leaves is overwritten by the next try.
        partial = f"{remote}.{digest[:12]}.partial"
        quoted = shlex.quote(partial)
        try:
            self._adb(lambda: self._device.push(str(local), partial, stat.S_IFREG | mode,
                                                read_timeout_s=self._link.remaining_s()))
            if self._remote_digest(partial) != digest:
                raise DeviceError(f"{local.name} changed on its way to {self.address}; push it again")
            self._checked(f"chmod {mode:o} {quoted} && mv -f {quoted} {shlex.quote(remote)}")
        except DeviceError:
            self._shell(f"rm -f {quoted}")
            raise

    def _remote_digest(self, remote: str) -> str | None:
        result = self._shell(f"sha256sum < {shlex.quote(remote)}")
        found = re.match(r"[0-9a-f]{64}\b", result.output)
        return found.group() if result.exit_code == 0 and found else None

    def _checked(self, command: str) -> None:
        result = self._shell(command)
        if result.exit_code != 0:
            raise DeviceError(f"{self.address} refused {_short(command)!r}: {result.output.strip()[:200]}")

    def _shell(self, command: str) -> ShellResult:
        """Shell protocol 1 has no exit code: the shell prints it behind the output. A subshell survives `exit`."""
        line = f"({command}\n)\necho {_STATUS_MARK}$?"
        raw = self._adb(lambda: self._device.shell(line, read_timeout_s=self._link.remaining_s()))
        output, mark, status = str(raw).replace("\r\n", "\n").rpartition(_STATUS_MARK)
        if not mark or not status.strip().isdigit():
            raise DeviceError(f"{self.address} gave no exit code for {_short(command)!r}: {str(raw).strip()[-200:]}")
        return ShellResult(int(status), output)

    @contextmanager
    def _bounded(self, action: str, timeout_s: float) -> Iterator[None]:
        """One deadline for everything inside; connects first where needed, closes the connection when it failed."""
        self._link.deadline = time.monotonic() + timeout_s
        try:
            if not self._device.available and action != "connect":
                self._connect()
            yield
        except (TimeoutError, adb_errors.AdbTimeoutError) as error:
            self.close()
            raise DeviceTimeoutError(f"{self.address} did not {action} within {timeout_s:g} s; see whether the phone "
                                     f"still answers, or allow more time") from error
        except (OSError, adb_errors.AdbConnectionError, adb_errors.InvalidChecksumError,
                adb_errors.InvalidCommandError, adb_errors.InvalidResponseError, adb_errors.UsbReadFailedError,
                adb_errors.UsbWriteFailedError) as error:
            self.close()
            raise ConnectionLostError(f"lost {self.address} while trying to {action} ({error}); see whether the phone "
                                      f"is on and attached, then try again") from error

    def _adb(self, call: Callable[[], _Result]) -> _Result:
        """What the phone refuses, as a DeviceError; the connection stays."""
        try:
            return call()
        except (adb_errors.PushFailedError, adb_errors.AdbCommandFailureException) as error:
            raise DeviceError(f"{self.address} refused: {_reason(error)}") from error

    def _connect(self) -> None:
        try:
            self._connect_with_keys_if_asked()
        except ConnectionRefusedError as error:
            raise ConnectionLostError(f"nobody listens at {self.address}; start the phone's adb over TCP there "
                                      f"(`adb tcpip PORT`), or see `devices` for what is there") from error
        except socket.gaierror as error:
            raise ConnectionLostError(f"unknown host in {self.address!r} ({error.strerror}); "
                                      f"{_ADDRESS_RULE}") from error
        except (adb_errors.InvalidCommandError, adb_errors.InvalidChecksumError, ConnectionResetError) as error:
            self.close()
            raise ConnectionLostError(f"what listens at {self.address} is no adbd, or one that is just starting: it "
                                      f"does not speak ADB's protocol; check the port, or try again") from error
        except TimeoutError as error:
            self.close()
            raise DeviceTimeoutError(f"{self.address} did not answer as an adbd in time: the host is away, or what "
                                     f"listens there is no adbd; check the address") from error

    def _connect_with_keys_if_asked(self) -> None:
        """Keys are read, and made, only for a phone that asks for one."""
        try:
            self._device.connect(read_timeout_s=self._link.remaining_s())
        except adb_errors.DeviceAuthError:
            self._link.deadline = max(self._link.deadline, time.monotonic() + AUTHORISATION_TIMEOUT_S)
            try:
                self._device.connect(rsa_keys=[_signer()], auth_timeout_s=AUTHORISATION_TIMEOUT_S,
                                     read_timeout_s=AUTHORISATION_TIMEOUT_S)
            except (TimeoutError, adb_errors.DeviceAuthError) as error:
                self.close()
                raise DeviceError(f"{self.address} does not trust this machine yet: unlock the phone, accept its "
                                  f"question about USB debugging, then try again") from error


def connect(address: str, *, timeout_s: float = CONNECT_TIMEOUT_S) -> AdbShellTransport:
    """A transport to the phone at `address` (HOST:PORT or SERIAL), connected.

    Raises:
        InputError: malformed address.
        DeviceError: nobody listens, no adbd, an unknown serial (the known ones are listed), or not authorised.
    """
    transport = AdbShellTransport(address, _link(address))
    transport.connect(timeout_s=timeout_s)
    return transport


def _link(address: str) -> Link:
    if found := _TCP.match(address):
        port = int(found["port"])
        if not 0 < port < 65536:
            raise InputError(f"malformed address {address!r}: a port is 1 to 65535")
        return TcpLink(found["host"].strip("[]"), port)
    if not _SERIAL.match(address):
        raise InputError(f"malformed address {address!r}: {_ADDRESS_RULE}")
    usb_class()
    if address not in (known := attached_serials()):
        raise DeviceError(f"no phone with serial {address!r} is attached; attached: {', '.join(known) or 'none'}; "
                          f"{_ADDRESS_RULE}")
    return UsbLink(address)


def _signer() -> object:
    """Signer with the user's adb key, else with a key of our own in the cache, made on first use."""
    from adb_shell.auth.keygen import keygen
    from adb_shell.auth.sign_pythonrsa import PythonRSASigner

    users = Path.home() / ".android" / "adbkey"
    own = cache_folder("keys") / "adbkey"
    key = users if users.is_file() and users.with_suffix(".pub").is_file() else own
    if not key.is_file():
        keygen(str(own))
        own.chmod(0o600)
    return PythonRSASigner(key.with_suffix(".pub").read_text(), key.read_text())


def _short(command: str) -> str:
    return command if len(command) <= 80 else f"{command[:77]}..."


def _reason(error: Exception) -> str:
    detail = error.args[0] if error.args else error
    text = detail.decode(errors="replace") if isinstance(detail, bytes | bytearray) else str(detail)
    return text.strip()[:200]
