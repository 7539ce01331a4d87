"""A command that runs on a phone by itself: started, polled, collected. A cut cable or a killed host loses nothing."""

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

from device_profiler.errors import DeviceError
from device_profiler.files import sha256_bytes
from device_profiler.transport import ConnectionLostError, DeviceTimeoutError, Transport

_Result = TypeVar("_Result")


class StayedAwayError(DeviceError):
    """The phone did not come back in time; the run on it goes on, and the same job collects it later."""


DEVICE_FOLDER = "/data/local/tmp/mess-deploy"
"""On the phone: where runners and runs are."""
RECONNECT_S = 60.0
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0
_LONGEST_COMMAND_S = 60.0
_MARK, _DIGEST = "#state ", "#digest "
_READ_STATE = (
    'e=$(cat exit 2>/dev/null); p=$(cat pid 2>/dev/null); if [ -n "$e" ]; then s=$e; '
    'elif [ -z "$p" ] || kill -0 "$p" 2>/dev/null; then s=alive; else s=$(cat exit 2>/dev/null || echo gone); fi'
)
_ARCHIVE = "job.tar"
_RESULTS = ("results", "outputs", "log", "pid", "exit", "owner")
"""The files of a run that ended by which it is known and collected."""


@dataclass(frozen=True)
class Finished:
    """How a detached command ended: its exit code, the lines of its result file, the end of its log if it failed."""

    exit_code: int
    lines: tuple[str, ...]
    log: str


def is_going(transport: Transport, root: str = DEVICE_FOLDER) -> bool:
    """Whether any run under `root` goes on on the phone."""
    each = f"for d in {shlex.quote(root)}/runs/*; do"
    alive = '[ -s "$d/pid" ] && [ ! -e "$d/exit" ] && kill -0 "$(cat "$d/pid")" 2>/dev/null'
    return transport.shell(f"{each} {alive} && exit 0; done; exit 1").exit_code == 0


@dataclass
class DetachedRun:
    """One run in `folder` on the phone: `command` writes its result lines to `folder`/results.

    Lost connections are waited out for RECONNECT_S; the run goes on meanwhile. `owner` names the lease under which it
    runs: a run of another owner that still goes is an orphan.
    """

    transport: Transport
    folder: str
    owner: str = ""
    _lines: list[str] = field(default_factory=list)
    _read: int = 0
    _partial: str = ""

    def adopt(self) -> bool:
        """Whether this very run is there already, going or done: started by a host that was cut off. It is ours now.

        One that failed is removed, to be started anew.
        """
        state = self.patiently(self._state)
        if state in ("alive", "0"):
            self.patiently(lambda: self._checked(f"echo {self.owner} > {shlex.quote(self.folder)}/owner"))
            return True
        if state != "absent":
            self.patiently(self.remove)
        return False

    def send(self, archive: Path, timeout_s: float) -> None:
        """Push the tar file with what the run needs: one file, for each that is pushed costs several round trips.

        Runs beside this one that another owner left going are ended: they would disturb what is measured. What they
        have written stays for a day, as what finished ones have.
        """
        beside = shlex.quote(str(PurePosixPath(self.folder).parent))
        line = (
            f"mkdir -p {shlex.quote(self.folder)} && cd {beside} && for d in *; do if [ -s $d/pid ] && "
            f'[ ! -e $d/exit ] && [ "$(cat $d/owner 2>/dev/null)" != {self.owner} ]; '
            "then kill -9 -- -$(cat $d/pid) 2>/dev/null; fi; done; [ -d " + shlex.quote(self.folder) + " ]"
        )
        self.patiently(lambda: self._checked(line))
        self.patiently(lambda: self.transport.push(archive, f"{self.folder}/{_ARCHIVE}", timeout_s=timeout_s))

    def start(self, command: str) -> None:
        """Unpack what was sent and start `command` in a session of its own; safe to repeat when an answer was lost.

        The hang-up that follows the end of the shell is ignored from the first moment, and the shell stays until the
        session has a process id.
        """
        script = f"echo $$ > pid; {command}; echo $? > exit.partial; mv exit.partial exit"
        line = (
            f"trap '' HUP; cd {shlex.quote(self.folder)} || exit 1; "
            f"if mkdir started 2>/dev/null; then echo {self.owner} > owner; "
            f"tar -xf {_ARCHIVE} && rm {_ARCHIVE} || exit 1; "
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

    def lighten(self) -> None:
        """Remove what an ended run was made from, and keep what it gave."""
        kept = " ".join(f"! -name {name}" for name in _RESULTS)
        there = f"find {shlex.quote(self.folder)} -mindepth 1 -maxdepth 1 -type f"
        self.transport.shell(f"{there} {kept} -exec rm -f {{}} +")

    def patiently(self, call: Callable[[], _Result]) -> _Result:
        """`call`, repeated while the connection is lost, for RECONNECT_S at most."""
        deadline = time.monotonic() + RECONNECT_S
        while True:
            try:
                return call()
            except (ConnectionLostError, DeviceTimeoutError) as error:
                if time.monotonic() > deadline:
                    raise StayedAwayError(
                        f"{self.transport.address} stayed away for {RECONNECT_S:.0f} s with a run in {self.folder} "
                        f"({error}); attach the phone and try again: the run is collected then"
                    ) from error
                time.sleep(_LONGEST_PAUSE_S)

    def _checked(self, command: str) -> None:
        result = self.transport.shell(command, timeout_s=_LONGEST_COMMAND_S)
        if result.exit_code != 0:
            raise DeviceError(f"{self.transport.address} can't start the runner: {result.output.strip()[-200:]}")

    def _state(self) -> str:
        """"absent", "alive", "gone", or the exit code."""
        result = self.transport.shell(f'cd {shlex.quote(self.folder)}/started 2>/dev/null || {{ echo "{_MARK}absent"; '
                                      f'exit; }}; cd ..; {_READ_STATE}; echo "{_MARK}$s"')
        return self._state_of(result.output.rpartition(_MARK)[2])

    def _poll(self) -> str:
        """New result lines into `_lines`; "alive", "gone", or the exit code (read first: no line follows)."""
        line = (
            f"cd {shlex.quote(self.folder)} || exit 1; {_READ_STATE}; tail -c +{self._read + 1} results 2>/dev/null; "
            f'echo; [ "$s" = alive ] || echo "{_DIGEST}$(sha256sum results 2>/dev/null)"; echo "{_MARK}$s"'
        )
        result = self.transport.shell(line)
        body, mark, state = result.output.rpartition(_MARK)
        if not mark:
            raise DeviceError(
                f"{self.transport.address} lost the run's folder {self.folder} "
                f"({result.output.strip()[-200:]}); run it again"
            )
        state = self._state_of(state)
        if state == "alive":
            self._take(body[:-1])
        else:
            body, _, digest = body.rpartition(_DIGEST)
            self._take(body[:-1])
            self._verify(digest[:64].strip())
        return state

    def _state_of(self, text: str) -> str:
        state = text.strip()
        if state not in ("absent", "alive", "gone") and not state.isdigit():
            raise ConnectionLostError(f"{self.transport.address} gave a garbled answer: {state[-80:]!r}")
        return state

    def _verify(self, digest: str) -> None:
        """The lines that were read are those that the phone holds; else they are read again, from the first.

        Not every link has a checksum: adb's newer protocol leaves that to USB and TCP.
        """
        read = "\n".join([*self._lines, self._partial]).encode() if self._lines or self._partial else b""
        if digest in (sha256_bytes(read), "" if not read else None):
            return
        self._lines, self._read, self._partial = [], 0, ""
        raise ConnectionLostError(f"the results of the run on {self.transport.address} came garbled; check the cable")

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
