"""Byte streams to an adbd: a TCP socket, or USB by libusb. Every call ends at the link's deadline."""

import ctypes
import platform
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adb_shell import exceptions as adb_errors
from adb_shell.transport.base_transport import BaseTransport

from device_profiler import debian
from device_profiler.errors import DeviceError, PipelineError
from device_profiler.transport import ConnectionLostError

USB_BUS = Path("/dev/bus/usb")
STALL_S = 30.0
"""Within a file transfer, no byte for so long is a broken link; a command may be silent until its deadline."""
LEAST_USB_S = 0.001
"""libusb's shortest timeout."""
DRAIN_S = 0.02
"""Nothing for so long after connecting: nothing was left unread."""
DRAINED_BYTES = 16 * 1024  # whole packets: a shorter read may overflow
LIBUSB_ERROR_TIMEOUT = -7


class Link(BaseTransport):  # type: ignore[misc]
    """Bytes to and from an adbd, under one deadline a call that no inner loop of adb-shell can overrun.

    `transferring`: a file is on its way, so that silence is a fault.
    """

    def __init__(self) -> None:
        self.deadline = 0.0
        self.transferring = False

    @contextmanager
    def patience_s(self) -> Iterator[float]:
        """How long one read or write inside may wait [s]; raises where the link stalls, or the deadline is over."""
        left = self.remaining_s()
        stalls = self.transferring and left > STALL_S
        try:
            yield STALL_S if stalls else left
        except TimeoutError as error:
            if stalls:
                raise ConnectionAbortedError(f"no byte passed for {STALL_S:.0f} s") from error
            raise

    def remaining_s(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class TcpLink(Link):
    """A TCP socket. adb-shell's own ignores what a full socket did not take, and spins on a closed one."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._place = (host, port)
        self._socket: socket.socket | None = None

    def connect(self, transport_timeout_s: float | None) -> None:
        self._socket = socket.create_connection(self._place, timeout=self.remaining_s())
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        if self._socket:
            self._socket.close()
            self._socket = None

    def bulk_read(self, numbytes: int, transport_timeout_s: float | None) -> bytes:
        connection = self._open()
        with self.patience_s() as patience:
            connection.settimeout(patience)
            data = connection.recv(numbytes)
        if not data:
            raise ConnectionResetError("the phone closed the connection")
        return data

    def bulk_write(self, data: bytes, transport_timeout_s: float | None) -> int:
        connection = self._open()
        with self.patience_s() as patience:
            connection.settimeout(patience)
            connection.sendall(data)
        return len(data)

    def _open(self) -> socket.socket:
        if self._socket is None:
            raise ConnectionResetError("not connected")
        return self._socket


class UsbLink(Link):
    """A phone on USB, by libusb."""

    def __init__(self, serial: str) -> None:
        super().__init__()
        self._serial = serial
        self._usb: BaseTransport | None = None
        self._packet = 0

    def connect(self, transport_timeout_s: float | None) -> None:
        """Raises ConnectionLostError where the phone is gone from USB (a reboot), or may not be opened."""
        usb = usb_class()
        from usb1 import ENDPOINT_DIR_MASK, USBError

        try:
            self._usb = self._attached(usb)
            self._usb.connect(self.remaining_s())
        except (adb_errors.UsbDeviceNotFoundError, USBError) as error:
            self._usb = None
            raise ConnectionLostError(
                f"{self._serial} can't be opened on USB ({error}): see whether it is still attached, whether another "
                f"program has it (`adb kill-server`), and what `doctor` says"
            ) from error
        (self._packet,) = (end.getMaxPacketSize() for end in self._usb._setting.iterEndpoints()
                           if not end.getAddress() & ENDPOINT_DIR_MASK)
        self._drain()

    def _attached(self, usb: type[BaseTransport]) -> BaseTransport:
        """The phone of this serial; adb-shell's own search ends at any other that this user may not read."""
        for device in usb.find_all_adb_devices(self.remaining_s()):
            if _serial_of(device) == self._serial:
                return device
        raise adb_errors.UsbDeviceNotFoundError("no phone of this serial is attached, or its serial can't be read")

    def close(self) -> None:
        if self._usb:
            self._usb.close()
            self._usb = None

    def bulk_read(self, numbytes: int, transport_timeout_s: float | None) -> bytes:
        with self._patience_of_libusb_s() as patience:
            return bytes(self._open().bulk_read(numbytes, patience))

    def bulk_write(self, data: bytes, transport_timeout_s: float | None) -> int:
        """adbd takes what comes up to a packet that is not full: one without data ends what fills its packets."""
        with self._patience_of_libusb_s() as patience:
            written = int(self._open().bulk_write(data, patience))
            if data and len(data) % self._packet == 0:
                self._open().bulk_write(b"", patience)
        return written

    @contextmanager
    def _patience_of_libusb_s(self) -> Iterator[float]:
        """As `patience_s`: libusb takes 0 ms for ever, and adb-shell wraps what libusb says."""
        with self.patience_s() as patience:
            try:
                yield max(patience, LEAST_USB_S)
            except (adb_errors.UsbReadFailedError, adb_errors.UsbWriteFailedError) as error:
                if getattr(error.args[-1], "value", None) == LIBUSB_ERROR_TIMEOUT:
                    raise TimeoutError from error
                raise ConnectionAbortedError(str(error.args[-1] or error)) from error

    def _drain(self) -> None:
        """Closing the interface tells adbd nothing: what it wrote for a call that was given up is still to be read."""
        with suppress(adb_errors.UsbReadFailedError):
            while self.remaining_s():
                self._open().bulk_read(DRAINED_BYTES, DRAIN_S)

    def _open(self) -> BaseTransport:
        if self._usb is None:
            raise ConnectionResetError("not connected")
        return self._usb


def attached_serials() -> tuple[str, ...]:
    """Serials of the phones on USB; empty where this machine has no USB bus, or no libusb."""
    if platform.system() == "Linux" and not USB_BUS.is_dir():
        return ()
    try:
        devices = list(usb_class().find_all_adb_devices(1.0))
    except DeviceError:
        return ()
    return tuple(sorted(serial for device in devices if (serial := _serial_of(device)) is not None))


def _serial_of(device: BaseTransport) -> str | None:
    """None: this user may not read it; `doctor` tells what gives the right."""
    from usb1 import USBError

    try:
        return str(device.serial_number)
    except USBError:
        return None


def usb_class() -> type[BaseTransport]:
    """adb-shell's USB transport. Where the system has no libusb, Debian's is unpacked into the cache.

    Raises:
        DeviceError: libusb is neither there nor can it be fetched.
    """
    try:
        try:
            from adb_shell.transport.usb_transport import UsbTransport
        except OSError:
            _load_unpacked_libusb()
            from adb_shell.transport.usb_transport import UsbTransport
    except (ImportError, OSError, PipelineError) as error:
        raise DeviceError(f"a phone on USB is reached by libusb, which is not there (install libusb-1.0); or run `adb "
                          f"tcpip 5556` once, then use --device HOST:5556 ({error})") from error
    return UsbTransport  # type: ignore[no-any-return]


def _load_unpacked_libusb() -> None:
    """Load libusb under its own name: whoever asks for it later gets this one."""
    tree = debian.fetch(["libusb-1.0-0", "libudev1"], dependencies=False)
    for name in ("libudev.so.1", "libusb-1.0.so.0"):
        ctypes.CDLL(str(next(tree.rglob(name))), mode=ctypes.RTLD_GLOBAL)
