"""This machine in a phone's place: the same calls, by sh and copies. The runners' own tests run natively on it."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from device_profiler.errors import DeviceError
from device_profiler.transport import DeviceTimeoutError, ShellResult


@dataclass
class LocalTransport:
    """See `device_profiler.transport.Transport`."""

    address: str = "this machine"

    def shell(self, command: str, *, timeout_s: float = 30.0) -> ShellResult:
        try:
            done = subprocess.run(
                ["sh", "-c", command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout_s,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceTimeoutError(f"{command} took more than {timeout_s} s") from error
        return ShellResult(done.returncode, done.stdout)

    def push(self, local: Path, remote: str, *, timeout_s: float = 120.0) -> bool:
        shutil.copy(local, remote)
        return True

    def pull(self, remote: str, local: Path, *, timeout_s: float = 120.0) -> None:
        if not Path(remote).is_file():
            raise DeviceError(f"no such file: {remote}")
        shutil.copy(remote, local)

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
