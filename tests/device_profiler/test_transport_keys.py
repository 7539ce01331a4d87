"""A phone that asks for a key: the product's own is made once, offered, and a refusal is told."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from adb_shell import constants
from adb_shell.adb_message import AdbMessage

from device_profiler import adb_direct
from device_profiler.errors import DeviceError
from device_profiler.transport import connect

TOKEN, SIGNATURE, PUBLIC_KEY = 1, 2, 3


class AskingPhone:
    """As much of an adbd as asking for a key takes: `accept` decides on the public key that it is offered."""

    def __init__(self, accept: bool) -> None:
        self.offered: list[bytes] = []
        self._accept = accept
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            with client:
                self._talk(client)

    def _talk(self, client: socket.socket) -> None:
        while message := self._read(client):
            kind, data = message
            if kind == PUBLIC_KEY:
                self.offered.append(data)
                if self._accept:
                    self._send(client, AdbMessage(constants.CNXN, constants.VERSION, 4096, b"device::\0"))
            else:
                self._send(client, AdbMessage(constants.AUTH, TOKEN, 0, bytes(range(20))))

    def _read(self, client: socket.socket) -> tuple[int, bytes] | None:
        header = client.recv(24, socket.MSG_WAITALL)
        if len(header) < 24:
            return None
        command, first, _, size, _, _ = struct.unpack("<6I", header)
        data = client.recv(size, socket.MSG_WAITALL) if size else b""
        is_auth = command == constants.ID_TO_WIRE[constants.AUTH]
        return (first if is_auth else 0), data

    def _send(self, client: socket.socket, message: AdbMessage) -> None:
        client.sendall(message.pack() + message.data)


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], AskingPhone]]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    phones: list[AskingPhone] = []

    def make(accept: bool) -> AskingPhone:
        phones.append(AskingPhone(accept))
        return phones[-1]

    yield make
    for phone in phones:
        phone.close()


def test_a_key_is_made_once_and_offered(asking: Callable[[bool], AskingPhone], tmp_path: Path) -> None:
    phone = asking(True)
    for _ in range(2):
        connect(phone.address).close()
    assert len(phone.offered) == 2 and phone.offered[0] == phone.offered[1]
    key = tmp_path / "cache/mess-deploy/keys/adbkey"
    assert key.stat().st_mode & 0o077 == 0, "a private key is nobody else's"


def test_a_refusal_tells_what_to_do_on_the_phone(
    asking: Callable[[bool], AskingPhone], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adb_direct, "AUTHORISATION_TIMEOUT_S", 1.0)
    with pytest.raises(DeviceError, match="does not trust this machine yet: unlock the phone"):
        connect(asking(False).address, timeout_s=0.5)
