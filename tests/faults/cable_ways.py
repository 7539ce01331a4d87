"""The ways to a phone over a cable that may fail: straight to its adbd, or through an adb server of the tests' own."""

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import adbutils
import pytest

from device_profiler.transport import SERVER_PREFIX, Transport, connect

_ADB_S = 60.0


@dataclass(frozen=True)
class Way:
    """`prefix`: of a phone's address HOST:PORT on this way."""

    name: str
    prefix: str = ""

    def connect(self, address: str, timeout_s: float) -> Transport:
        """The phone at HOST:PORT."""
        return connect(f"{self.prefix}{address}", timeout_s=timeout_s)

    @contextmanager
    def leaving(self, address: str) -> Iterator[None]:
        """The adb server does not know the phone afterwards, and looks for it no longer."""
        try:
            yield
        finally:
            if self.prefix:
                with contextlib.suppress(adbutils.AdbError, OSError):
                    port = int(os.environ["ANDROID_ADB_SERVER_PORT"])
                    adbutils.AdbClient(port=port, socket_timeout=_ADB_S).disconnect(address)


@contextmanager
def ways(name: str, home: Path) -> Iterator[Way]:
    """The way called "adb-shell" or "adb server"; a server has `home` for its own, and nobody else's is disturbed."""
    if name == "adb-shell":
        yield Way(name)
        return
    with adb_server(home) as port, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        yield Way(name, SERVER_PREFIX)


@contextmanager
def adb_server(home: Path) -> Iterator[int]:
    """Port of a server that runs meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    command = [adbutils.adb_path(), "-P", str(port)]
    subprocess.run([*command, "start-server"], env=environment, check=True, capture_output=True, timeout=_ADB_S)
    try:
        yield port
    finally:
        subprocess.run([*command, "kill-server"], env=environment, check=False, capture_output=True, timeout=_ADB_S)
