"""Errors of adb servers, raised by stand-ins that answer as a server would: none real loses a phone on demand."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from device_profiler.transport import connect

Answer = Callable[[str], bytes | None]
"""From a request to the bytes that answer it; None breaks the connection."""


def _payload(text: str) -> bytes:
    return b"OKAY" + f"{len(text):04x}".encode() + text.encode()


@contextmanager
def _serving(answer: Answer, patch: pytest.MonkeyPatch) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        patch.setenv("ANDROID_ADB_SERVER_HOST", "127.0.0.1")
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(listener.getsockname()[1]))
        threading.Thread(target=_serve, args=(listener, answer), daemon=True).start()
        yield


def _serve(listener: socket.socket, answer: Answer) -> None:
    while True:
        try:
            client = listener.accept()[0]
        except OSError:
            return
        threading.Thread(target=_talk, args=(client, answer), daemon=True).start()


def _talk(client: socket.socket, answer: Answer) -> None:
    with client:
        while size := client.recv(4, socket.MSG_WAITALL):
            told = answer(client.recv(int(size, 16), socket.MSG_WAITALL).decode())
            if told is None:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            client.sendall(told)
            if told != b"OKAY":
                return


def phone_that_trusts_nobody(folder: Path, patch: pytest.MonkeyPatch) -> None:
    with _serving(lambda request: _payload("PHONE1\tunauthorized\n"), patch):
        connect("adb-server:PHONE1")


def something_else_that_listens(folder: Path, patch: pytest.MonkeyPatch) -> None:
    with _serving(lambda request: b"OKAYwhat", patch):
        connect("adb-server:PHONE1")


def connection_that_breaks(folder: Path, patch: pytest.MonkeyPatch) -> None:
    def answer(request: str) -> bytes | None:
        if request.startswith("shell"):
            return None
        known = {"host:version": _payload("0028"), "host:devices": _payload("PHONE1\tdevice\n")}
        return known.get(request, b"OKAY")

    with _serving(answer, patch), connect("adb-server:PHONE1") as phone:
        phone.shell("true")
