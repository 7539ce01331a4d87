"""Transport by adb-shell, straight to the phone's adbd over TCP or USB: no adb has to be installed, none may run."""

import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from adb_shell import constants
from adb_shell import exceptions as adb_errors
from adb_shell.adb_device import AdbDevice
from adb_shell.adb_message import AdbMessage
from adb_shell.hidden_helpers import _AdbTransactionInfo, _FileSyncTransactionInfo

from device_profiler.errors import DeviceError
from device_profiler.files import cache_folder
from device_profiler.links import Link
from device_profiler.transport import ADDRESS_RULE, CONNECT_TIMEOUT_S, ConnectionLostError, DeviceTimeoutError
from device_profiler.verified_transfer import VerifiedTransport

AUTHORISATION_TIMEOUT_S = 30.0
_Result = TypeVar("_Result")
_BROKEN = (OSError, adb_errors.AdbConnectionError, adb_errors.InvalidChecksumError, adb_errors.InvalidCommandError,
           adb_errors.InvalidResponseError, adb_errors.UsbReadFailedError, adb_errors.UsbWriteFailedError)


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

    def _filesync_read(self, expected_ids: tuple[bytes, ...], adb_info: _AdbTransactionInfo,
                       filesync_info: _FileSyncTransactionInfo) -> tuple[bytes, tuple[int, ...], bytearray | None]:
        """An answer that is none of the protocol's is a broken connection, not a KeyError."""
        try:
            command, header, data = super()._filesync_read(expected_ids, adb_info, filesync_info)
        except KeyError as error:
            raise adb_errors.InvalidResponseError(f"unknown answer {error} in a file transfer") from error
        return command, header, data


class AdbShellTransport(VerifiedTransport):
    """See `Transport` for the contract."""

    def __init__(self, address: str, link: Link) -> None:
        super().__init__(address)
        self._link = link
        self._device = _Adb(link)

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

    def _raw_shell(self, line: str) -> bytes:
        read = self._adb(lambda: self._device.shell(line, read_timeout_s=self._link.remaining_s(), decode=False))
        return bytes(read)

    def _send(self, local: Path, remote: str, mode: int) -> None:
        with self._transferring():
            self._adb(lambda: self._device.push(str(local), remote, stat.S_IFREG | mode,
                                                read_timeout_s=self._link.remaining_s()))

    def _receive(self, remote: str, local: Path) -> None:
        with self._transferring():
            self._adb(lambda: self._device.pull(remote, str(local), read_timeout_s=self._link.remaining_s()))

    @contextmanager
    def _transferring(self) -> Iterator[None]:
        self._link.transferring = True
        try:
            yield
        finally:
            self._link.transferring = False

    @contextmanager
    def _bounded(self, action: str, timeout_s: float) -> Iterator[None]:
        """Connects first where needed, closes the connection when it failed."""
        self._link.deadline = time.monotonic() + timeout_s
        try:
            if not self._device.available and action != "connect":
                self._connect()
            yield
        except (TimeoutError, adb_errors.AdbTimeoutError) as error:
            self.close()
            raise DeviceTimeoutError(f"{self.address} did not {action} within {timeout_s:g} s; see whether the phone "
                                     f"still answers, or allow more time") from error
        except _BROKEN as error:
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
                                      f"{ADDRESS_RULE}") from error
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


def _reason(error: Exception) -> str:
    detail = error.args[0] if error.args else error
    text = detail.decode(errors="replace") if isinstance(detail, bytes | bytearray) else str(detail)
    return text.strip()[:200]
