"""What all transports do alike: exit codes behind the output, pushes and pulls that are whole or absent."""

import os
import re
import shlex
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

from device_profiler.errors import DeviceError, InputError
from device_profiler.files import atomic_path, sha256_bytes, sha256_path
from device_profiler.transport import ConnectionLostError, ShellResult

_STATUS_MARK = "__exit_status__"
_CABLE = "try again, with another cable or port if it stays so"


class VerifiedTransport(ABC):
    """`Transport` over the three primitives of one way to a phone: see there for the contract."""

    def __init__(self, address: str) -> None:
        self.address = address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """See `Transport`."""

    @abstractmethod
    def _bounded(self, action: str, timeout_s: float) -> AbstractContextManager[None]:
        """One deadline for everything inside; what goes wrong inside becomes an error of the contract."""

    @abstractmethod
    def _raw_shell(self, line: str) -> bytes:
        """Everything that the phone's shell writes for `line`."""

    @abstractmethod
    def _send(self, local: Path, remote: str, mode: int) -> None:
        """Write `local` to `remote` with `mode`, unverified. Raises DeviceError where the phone refuses."""

    @abstractmethod
    def _receive(self, remote: str, local: Path) -> None:
        """Read `remote` into `local`, unverified. Raises DeviceError where the phone refuses."""

    def shell(self, command: str, *, timeout_s: float = 30.0) -> ShellResult:
        """See `Transport`."""
        with self._bounded(f"run {shortened(command)!r}", timeout_s):
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
            self._receive(remote, partial)
            if sha256_path(partial) != digest:
                raise ConnectionLostError(f"{remote} changed on its way from {self.address}: {_CABLE}")

    def _push(self, local: Path, remote: str, digest: str, mode: int) -> None:
        # Named by content: what a broken connection leaves is overwritten by the next try.
        partial = f"{remote}.{digest[:12]}.partial"
        quoted = shlex.quote(partial)
        try:
            self._send(local, partial, mode)
            if self._remote_digest(partial) != digest:
                raise ConnectionLostError(f"{local.name} changed on its way to {self.address}: {_CABLE}")
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
            raise DeviceError(f"{self.address} refused {shortened(command)!r}: {result.output.strip()[:200]}")

    def _shell(self, command: str) -> ShellResult:
        """Shell protocol 1 has no exit code, and ADB no checksum that adbd heeds: the phone's shell sends both behind
        the output, the SHA-256 over command and answer. `print` is a builtin of Android's shell, mksh.

        Raises:
            ConnectionResetError: what was sent is not what was run, or what was answered not what came.
        """
        raw = self._raw_shell(
            f'c={shlex.quote(command)}; o=$( (eval "$c") 2>&1; echo "{_STATUS_MARK}$?"); print -r -- "$o"; '
            'print -rn -- "$c$o" | sha256sum'
        )
        for told in (raw, raw.replace(b"\r\n", b"\n")):  # the pseudo-terminal of old phones ends lines so
            output, mark, rest = told.rpartition(_STATUS_MARK.encode())
            status, _, digest = rest.partition(b"\n")
            if mark and digest[:64].decode(errors="replace") == sha256_bytes(command.encode(), output, mark, status):
                return ShellResult(int(status), output.decode(errors="backslashreplace"))
        raise ConnectionResetError(f"no answer that can be trusted, but {raw[-120:]!r}")


def shortened(command: str) -> str:
    """`command` as it fits into a message."""
    return command if len(command) <= 80 else f"{command[:77]}..."
