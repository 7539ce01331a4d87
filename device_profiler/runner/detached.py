"""A command that runs on a phone by itself: started, polled, collected. A cut cable loses nothing."""

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from device_profiler.errors import DeviceError
from device_profiler.transport import ConnectionLostError, DeviceTimeoutError, Transport

_Result = TypeVar("_Result")

RECONNECT_S = 60.0
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0
_LONGEST_COMMAND_S = 60.0
_MARK = "#state "
_ARCHIVE = "job.tar"


@dataclass(frozen=True)
class Finished:
    """How a detached command ended: its exit code, the lines of its result file, the end of its log if it failed."""

    exit_code: int
    lines: tuple[str, ...]
    log: str


@dataclass
class DetachedRun:
    """One run in `folder` on the phone: `command` writes its result lines to `folder`/results.

    Lost connections are waited out for RECONNECT_S; the run goes on meanwhile.
    """

    transport: Transport
    folder: str
    _lines: list[str] = field(default_factory=list)
    _read: int = 0
    _partial: str = ""

    def send(self, archive: Path, timeout_s: float) -> None:
        """Push the tar file with what the run needs: one file, for each that is pushed costs several round trips."""
        self.patiently(lambda: self._checked(f"mkdir -p {shlex.quote(self.folder)}"))
        self.patiently(lambda: self.transport.push(archive, f"{self.folder}/{_ARCHIVE}", timeout_s=timeout_s))

    def start(self, command: str) -> None:
        """Unpack what was sent and start `command` in a session of its own; safe to repeat when an answer was lost.

        The hang-up that follows the end of the shell is ignored from the first moment, and the shell stays until the
        session has a process id.
        """
        script = f"echo $$ > pid; {command}; echo $? > exit.partial; mv exit.partial exit"
        line = (
            f"trap '' HUP; cd {shlex.quote(self.folder)} || exit 1; "
            f"if mkdir started 2>/dev/null; then tar -xf {_ARCHIVE} && rm {_ARCHIVE} || exit 1; "
            f"setsid sh -c {shlex.quote(script)} > log 2>&1 < /dev/null & fi; "
            f"for i in 1 2 3 4 5 6 7 8 9 10; do [ -s pid ] && exit 0; sleep 0.2; done; cat log; exit 1"
        )
        self.patiently(lambda: self._checked(line))

    def wait(self, timeout_s: float, progress: Callable[[int], None]) -> Finished:
        """Poll until the command ends; `progress` gets the number of result lines so far.

        Raises:
            DeviceError: it took longer than `timeout_s` (the run is killed), it vanished, or the phone stayed away.
        """
        deadline, pause = time.monotonic() + timeout_s, _FIRST_PAUSE_S
        while True:
            state = self.patiently(self._poll)
            progress(len(self._lines))
            if state == "gone":
                raise DeviceError(
                    f"the run on {self.transport.address} vanished after {len(self._lines)} results: {self._log()}"
                )
            if state != "alive":
                return Finished(int(state), tuple(self._lines), self._log() if state != "0" else "")
            if time.monotonic() > deadline:
                self.kill()
                raise DeviceTimeoutError(
                    f"the run on {self.transport.address} took more than {timeout_s:.0f} s and was stopped after "
                    f"{len(self._lines)} results; allow more time or run less"
                )
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(pause * 1.5, _LONGEST_PAUSE_S)

    def kill(self) -> None:
        """End the run with everything it started."""
        self.transport.shell(f"cd {shlex.quote(self.folder)} && kill -9 -- -$(cat pid) 2>/dev/null; true", timeout_s=10)

    def remove(self) -> None:
        """Remove the run's folder."""
        self.transport.shell(f"rm -rf {shlex.quote(self.folder)}")

    def patiently(self, call: Callable[[], _Result]) -> _Result:
        """`call`, repeated while the connection is lost, for RECONNECT_S at most."""
        deadline = time.monotonic() + RECONNECT_S
        while True:
            try:
                return call()
            except (ConnectionLostError, DeviceTimeoutError) as error:
                if time.monotonic() > deadline:
                    raise DeviceError(
                        f"{self.transport.address} stayed away for {RECONNECT_S:.0f} s with a run in {self.folder}; "
                        "attach the phone and try again"
                    ) from error
                time.sleep(_LONGEST_PAUSE_S)

    def _checked(self, command: str) -> None:
        result = self.transport.shell(command, timeout_s=_LONGEST_COMMAND_S)
        if result.exit_code != 0:
            raise DeviceError(f"{self.transport.address} can't start the runner: {result.output.strip()[-200:]}")

    def _poll(self) -> str:
        """New result lines into `_lines`; "alive", "gone", or the exit code (read first: no line follows)."""
        line = (
            f"cd {shlex.quote(self.folder)} || exit 1; e=$(cat exit 2>/dev/null); p=$(cat pid 2>/dev/null); "
            'if [ -n "$e" ]; then s=$e; elif [ -z "$p" ] || kill -0 "$p" 2>/dev/null; then s=alive; '
            "else s=$(cat exit 2>/dev/null || echo gone); fi; "
            f'tail -c +{self._read + 1} results 2>/dev/null; echo; echo "{_MARK}$s"'
        )
        result = self.transport.shell(line)
        body, mark, state = result.output.rpartition(_MARK)
        if not mark:
            raise DeviceError(
                f"{self.transport.address} lost the run's folder {self.folder}: {result.output.strip()[-200:]}"
            )
        self._take(body[:-1])
        return state.strip()

    def _take(self, text: str) -> None:
        """Whole lines count; a piece of one waits for its rest. Result files are plain ASCII: characters are bytes."""
        self._read += len(text)
        *whole, self._partial = (self._partial + text).split("\n")
        self._lines += [line for line in whole if line]

    def _log(self) -> str:
        result = self.patiently(
            lambda: self.transport.shell(f"tail -c 400 {shlex.quote(self.folder)}/log 2>/dev/null; true")
        )
        return " ".join(result.output.split())[-300:]
