"""Owner of one emulated phone: holds its loopback socket, starts it again when it ends, takes all down with itself.

Started as `python -m device_profiler.emulator.supervisor FOLDER`; goes to the background at once. SIGTERM ends
the phone.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import msgspec

from device_profiler.emulator.registry import (
    LOG_FILE,
    SPEC_FILE,
    EmulatedPhone,
    PhoneSpec,
    remove_folder,
    start_time,
    write_state,
)
from device_profiler.emulator.stuck_forks import descendants, end_stuck_forks, processes

# adb's server takes a port in this range for an emulator of its own and lists the phone twice.
ADB_PORTS = range(5555, 5586)
RESTART_PAUSE_S = 0.2
MOST_QUICK_ENDS = 5
QUICK_END_S = 2.0
OWNER_CHECK_S = 1.0
KILL_TIMEOUT_S = 10.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class _StopError(Exception):
    """SIGTERM, or the owner is gone: the phone is to be removed."""


def main(folder: Path) -> int:
    """Run the phone of `folder` until SIGTERM, or until it ends MOST_QUICK_ENDS times in a row soon after its start."""
    signal.signal(signal.SIGTERM, _stop)
    _adopt_orphans()
    spec = msgspec.json.decode((folder / SPEC_FILE).read_bytes(), type=PhoneSpec)
    try:
        listener = _listener()
        port = listener.getsockname()[1]
        if not spec.owns_socket:
            listener.close()
        arguments = [part.format(listen=listener.fileno(), port=port) for part in spec.command]
        own = start_time(os.getpid())
        assert own is not None
        write_state(EmulatedPhone(f"127.0.0.1:{port}", spec.form, spec.profile, str(folder), os.getpid(), own,
                                  spec.keep))
        sockets = [listener.fileno()] if spec.owns_socket else []
        _keep_running(arguments, sockets, None if spec.keep else spec.creator_pid)
        return 1
    except _StopError:
        remove_folder(folder)
        return 0


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _StopError


def _listener() -> socket.socket:
    """A listening loopback socket on a port that adb's server leaves alone."""
    while True:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        if listener.getsockname()[1] not in ADB_PORTS:
            listener.listen(16)
            return listener
        listener.close()


def _keep_running(arguments: list[str], sockets: list[int], owner: int | None) -> None:
    owner_started = start_time(owner) if owner else None
    quick_ends = 0
    while quick_ends < MOST_QUICK_ENDS:
        began = time.monotonic()
        status = _run(arguments, sockets, lambda: owner is None or start_time(owner) == owner_started)
        quick_ends = quick_ends + 1 if time.monotonic() - began < QUICK_END_S else 0
        print(f"the phone ended with status {status}", flush=True)
        time.sleep(RESTART_PAUSE_S)


def _run(arguments: list[str], sockets: list[int], wanted: Callable[[], bool]) -> int:
    process = subprocess.Popen(arguments, pass_fds=sockets, stdin=subprocess.DEVNULL, preexec_fn=_end_with_supervisor)
    try:
        while wanted():
            try:
                return process.wait(OWNER_CHECK_S)
            except subprocess.TimeoutExpired:
                seen = processes()
                end_stuck_forks(seen, descendants(os.getpid(), seen))
        raise _StopError
    finally:
        _kill_descendants()


def _kill_descendants() -> None:
    """End every process of the phone; this process takes over orphans, so none escapes (PRoot's would).

    SIGKILL: unshare ignores SIGTERM, and kills its namespace's first process when it dies itself.
    """
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while time.monotonic() < deadline and (pids := descendants(os.getpid(), processes())):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


def _adopt_orphans() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _end_with_supervisor() -> None:
    """In the child: be killed when the supervisor dies, however it dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _go_to_background(folder: Path) -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    log = os.open(folder / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    empty = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((empty, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.chdir("/")


if __name__ == "__main__":
    _folder = Path(sys.argv[1])
    _go_to_background(_folder)
    sys.exit(main(_folder))
