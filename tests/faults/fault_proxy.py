"""Between host and the real adbd: relays ADB messages, and does one harm at one byte of one direction."""

import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Literal

HEADER = struct.Struct("<6I")
DELAY_S = 0.3
TOKEN, SIGNATURE, PUBLIC_KEY = 1, 2, 3
_AUTH = int.from_bytes(b"AUTH", "little")
_CNXN = int.from_bytes(b"CNXN", "little")

Kind = Literal["cut", "delay", "truncate", "corrupt"]
KINDS: tuple[Kind, ...] = ("cut", "delay", "truncate", "corrupt")
Side = Literal["to phone", "from phone"]
SIDES: tuple[Side, ...] = ("to phone", "from phone")


@dataclass(frozen=True)
class Fault:
    """cut: both ends lose the connection. delay: the byte waits. truncate: the rest of its message is lost, what
    follows arrives. corrupt: the byte is another one. `at`: offset in the bytes of that side of a connection."""

    kind: Kind
    side: Side
    at: int


@dataclass
class FaultProxy:
    """Use as a context manager; connect to `address`. `fault` strikes once: later connections are clean.

    `asks_for_key`: the phone wants an RSA key first (Debian's adbd never does): it lets in whoever signs its token as
    one of `signatures`, or offers a public key while `accepts`.
    """

    phone: str
    fault: Fault | None = None
    asks_for_key: bool = False
    accepts: bool = True
    signatures: set[bytes] = field(default_factory=set)
    offered: list[bytes] = field(default_factory=list)
    starts: dict[Side, list[int]] = field(default_factory=lambda: {side: [] for side in SIDES})
    """Where each message of the latest connection began, by side."""
    passed: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(SIDES, 0))
    struck: bool = False

    def __enter__(self) -> "FaultProxy":
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Pull the cable now."""
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _serve(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        host, port = self.phone.rsplit(":", 1)
        self.starts, self.passed = {side: [] for side in SIDES}, dict.fromkeys(SIDES, 0)
        with contextlib.suppress(OSError), client, socket.create_connection((host, int(port))) as phone:
            self._open = [client, phone]
            for end in self._open:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            first = self._authorise(client) if self.asks_for_key else b""
            phone.sendall(first)
            back = threading.Thread(target=self._pump, args=(phone, client, "from phone"), daemon=True)
            back.start()
            self._pump(client, phone, "to phone")
            back.join()

    def _pump(self, source: socket.socket, sink: socket.socket, side: Side) -> None:
        """Message by message until an end closes; then both are closed."""
        try:
            while message := _read_message(source):
                start = self.passed[side]
                self.starts[side].append(start)
                self.passed[side] = start + len(message)
                fault = self.fault
                if fault and not self.struck and fault.side == side and start <= fault.at < start + len(message):
                    self.struck = True
                    self._strike(fault, message, fault.at - start, sink)
                else:
                    sink.sendall(message)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _strike(self, fault: Fault, message: bytes, at: int, sink: socket.socket) -> None:
        sink.sendall(message[:at])
        if fault.kind == "cut":
            raise ConnectionAbortedError
        if fault.kind == "delay":
            time.sleep(DELAY_S)
            sink.sendall(message[at:])
        elif fault.kind == "corrupt":
            sink.sendall(bytes([message[at] ^ 0x5A]) + message[at + 1 :])

    def _authorise(self, client: socket.socket) -> bytes:
        """ADB's AUTH exchange in the phone's place; gives the message that opens the connection."""
        opening, token = _read_message(client), bytes(range(20))
        client.sendall(_message(_AUTH, TOKEN, token))
        while answer := _read_message(client):
            command, kind = HEADER.unpack_from(answer)[:2]
            content = answer[HEADER.size :]
            if command == _CNXN:
                opening = answer
                client.sendall(_message(_AUTH, TOKEN, token))
            elif kind == SIGNATURE and content in self.signatures:
                return opening
            elif kind == PUBLIC_KEY:
                self.offered.append(content)
                if self.accepts:
                    return opening
            else:
                client.sendall(_message(_AUTH, TOKEN, token))
        raise ConnectionAbortedError


def _message(command: int, first: int, content: bytes) -> bytes:
    return HEADER.pack(command, first, 0, len(content), sum(content), command ^ 0xFFFFFFFF) + content


def _read_message(source: socket.socket) -> bytes:
    header = _read(source, HEADER.size)
    return header + _read(source, HEADER.unpack(header)[3]) if header else b""


def _read(source: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = source.recv(size - len(data))
        if not piece:
            return b""
        data += piece
    return bytes(data)
