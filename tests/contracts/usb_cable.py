"""A USB cable made of software, for machines without a USB bus: packets as USB has them, a real adbd behind them.

It stands in for libusb1's handle of an opened phone, below adb-shell's own USB transport. As on a real phone (AOSP,
packages/modules/adb, docs on zero-length packets): adbd takes what the host writes up to a packet that is not full, and
a message's header and payload are a transfer each; it never ends its own with an empty packet, for the host knows how
long they are; closing the interface tells it nothing.
"""

import queue
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import usb1

PACKET = 512
HEADER = struct.Struct("<6I")  # command, two arguments, length of the payload, its checksum, magic
ADBD_READS = 16 * 1024


@dataclass(frozen=True)
class Endpoint:
    """A pipe; bit 7 of its address: towards the host."""

    address: int

    def getAddress(self) -> int:
        return self.address

    def getMaxPacketSize(self) -> int:
        return PACKET


class UsbCable:
    """The phone's device, interface setting and opened handle in one.

    `written`: lengths of what the host wrote. `refusal`: raised where the host opens the phone.
    """

    def __init__(self, host: str, port: int) -> None:
        self._adbd = socket.create_connection((host, port))
        self._transfers: queue.Queue[bytes] = queue.Queue()
        self._unread = b""
        self._unfinished = b""
        self._message = b""
        self._broken = False
        self._flowing = threading.Event()
        self._flowing.set()
        self.written: list[int] = []
        self.refusal: usb1.USBError | None = None
        threading.Thread(target=self._fetch, daemon=True).start()

    def unplug(self) -> None:
        """The phone is gone for good."""
        self._broken = True
        self._adbd.close()

    def stop_payloads(self) -> None:
        """From now on headers come through, and what follows them does not."""
        self._flowing.clear()

    def let_payloads_through(self) -> None:
        """Those that were stopped first: one lies there unread on return."""
        self._flowing.set()
        while self._transfers.empty():
            time.sleep(0.001)

    def open(self) -> "UsbCable":
        if self.refusal:
            raise self.refusal
        return self

    def iterEndpoints(self) -> Iterator[Endpoint]:
        yield from (Endpoint(0x81), Endpoint(0x01))

    def getNumber(self) -> int:
        return 0

    def getSerialNumber(self) -> str:
        return "29HX"

    def kernelDriverActive(self, interface: int) -> bool:
        return False

    def claimInterface(self, interface: int) -> None:
        """Nothing that adbd would notice."""

    def releaseInterface(self, interface: int) -> None:
        """Nothing that adbd would notice."""

    def close(self) -> None:
        """Nothing that adbd would notice."""

    def bulkRead(self, endpoint: int, length: int, timeout: int) -> bytes:
        """Packets until `length` is reached or one is not full; what does not fit overflows and is lost."""
        taken = b""
        while len(taken) < length:
            if not self._unread:
                self._unread = self._next(timeout)
            packet, self._unread = self._unread[:PACKET], self._unread[PACKET:]
            taken += packet
            if len(taken) > length:
                raise usb1.USBErrorOverflow()
            if len(packet) < PACKET:
                break
        return taken

    def bulkWrite(self, endpoint: int, data: bytes, timeout: int) -> int:
        """To adbd, which sees it once a packet is not full, or one of its own reads is."""
        self._alive(timeout)
        self.written.append(len(data))
        self._unfinished += data
        while len(self._unfinished) >= ADBD_READS:
            self._take(self._unfinished[:ADBD_READS])
            self._unfinished = self._unfinished[ADBD_READS:]
        if len(data) % PACKET or not data:
            self._take(self._unfinished)
            self._unfinished = b""
        return len(data)

    def _take(self, block: bytes) -> None:
        """A message begins with a transfer that is its header; what does not fit ends the connection, as adbd does."""
        if not self._message and len(block) not in (0, HEADER.size):
            self._broken = True
        self._message += block
        whole = HEADER.size + (HEADER.unpack_from(self._message)[3] if len(self._message) >= HEADER.size else 0)
        if len(self._message) > whole:
            self._broken = True
        if len(self._message) == whole and not self._broken:
            self._adbd.sendall(self._message)
            self._message = b""

    def _next(self, timeout: int) -> bytes:
        self._alive(timeout)
        try:
            return self._transfers.get(timeout=timeout / 1000)
        except queue.Empty:
            raise usb1.USBErrorTimeout() from None

    def _alive(self, timeout: int) -> None:
        assert timeout > 0, "libusb would wait for ever"
        if self._broken:
            raise usb1.USBErrorNoDevice()

    def _fetch(self) -> None:
        stream = self._adbd.makefile("rb")
        while len(header := stream.read(HEADER.size)) == HEADER.size:
            self._transfers.put(header)
            if length := HEADER.unpack(header)[3]:
                payload = stream.read(length)
                self._flowing.wait()
                self._transfers.put(payload)
