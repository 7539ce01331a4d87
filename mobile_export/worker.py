"""A process of its own for what may crash: exports and native runtimes. A crash becomes an error of the caller's."""

import math
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

from device_profiler.errors import InputError, PipelineError, VerificationError

SHOW_OUTPUT = "MESS_DEPLOY_SHOW_OUTPUT"
"""Environment variable: what runtimes and tools print in workers is shown when the worker ends."""
PATIENCE = "MESS_DEPLOY_PATIENCE"
"""Environment variable: every limit on a worker's time is multiplied by it, for a slow or busy machine."""
EXPECTED_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, OSError, AssertionError, AttributeError)


@dataclass(frozen=True)
class Reply:
    """What a worker answers: a value, or why there is none. `bad_input`: the caller's to mend, else a failed check."""

    value: object = None
    error: str | None = None
    bad_input: bool = False


class WorkerCrash(VerificationError):
    """The worker's process ended in the middle of its work."""


class WorkerProcess:
    """A spawned process that answers requests one by one through `handler_factory(*arguments)(request)`.

    `handler_factory` is a module-level function; it runs in the worker, once, and gives the function that answers.
    The worker ignores Ctrl-C (the parent decides), writes its output to a file, and ends with the parent.
    """

    def __init__(
        self, handler_factory: Callable[..., Callable[[object], object]], *arguments: object, has_workers: bool = False
    ) -> None:
        """`has_workers`: the worker starts workers of its own, which a daemon may not."""
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        handle, name = tempfile.mkstemp(prefix="mess-worker-", suffix=".log")
        os.close(handle)
        self._log = Path(name)
        self._process = context.Process(
            target=_serve, args=(theirs, str(self._log), handler_factory, arguments), daemon=not has_workers
        )
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, request: object) -> None:
        """Hand over a request; its answer is fetched by `receive`."""
        try:
            self._connection.send(request)
        except (BrokenPipeError, ConnectionResetError):
            return  # the worker is gone: receive() says how it ended

    def receive(self, doing: str, timeout: float) -> object:
        """The answer to the oldest request without one. `doing` names the work in error messages.

        `timeout`: in seconds; `PATIENCE` times that is allowed.

        Raises:
            VerificationError: the worker crashed (WorkerCrash), exceeded the timeout, or the work failed.
            InputError: the work refused its input, or `PATIENCE` is no number.
        """
        limit = timeout * patience()
        try:
            if not self._connection.poll(limit):
                self._process.kill()
                raise VerificationError(
                    f"{doing} gave no answer within {limit:.0f} s and was stopped; if this machine is slow or busy, "
                    f"give it more time: {PATIENCE}=4 in front of the command makes such limits four times as long"
                )
            reply = self._connection.recv()
        except (EOFError, ConnectionResetError) as error:
            raise WorkerCrash(f"{doing} ended its process ({self._ending()})") from error
        assert isinstance(reply, Reply)
        if reply.error is not None:
            raise (InputError if reply.bad_input else VerificationError)(f"{doing}: {reply.error}")
        return reply.value

    def request(self, request: object, doing: str, timeout: float) -> object:
        """Send and receive."""
        self.send(request)
        return self.receive(doing, timeout)

    def stop(self) -> None:
        """Kill the worker, from any thread: whoever waits in `receive` is told."""
        self._process.kill()

    def close(self) -> None:
        """End the worker; its output goes to stderr where `SHOW_OUTPUT` is set, else nowhere."""
        self._connection.close()
        self._process.join(timeout=2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        if os.environ.get(SHOW_OUTPUT) and self._log.exists():
            print(self._log.read_text(errors="replace"), end="", file=sys.stderr, flush=True)
        self._log.unlink(missing_ok=True)

    def _ending(self) -> str:
        self._process.join(timeout=5)
        code = self._process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log.exists() else []
        return f"{how}; its last words: {lines[-1][:300]}" if lines else how


def patience() -> float:
    """What limits on a worker's time are multiplied by: 1, or the value of the environment variable `PATIENCE`.

    Raises:
        InputError: it is no number from 1 on.
    """
    told = os.environ.get(PATIENCE) or "1"
    try:
        factor = float(told)
    except ValueError:
        factor = 0.0
    if not (factor >= 1 and math.isfinite(factor)):
        raise InputError(f"{PATIENCE}={told!r} must be a number from 1 on, such as 4: how many times as long this "
                         "machine may take")
    return factor


def _serve(
    connection: Connection,
    log: str,
    handler_factory: Callable[..., Callable[[object], object]],
    arguments: tuple[object, ...],
) -> None:
    """The worker's life: native code writes to descriptors 1 and 2 at will, so both go to the log."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    handler: Callable[[object], object] | None = None
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        try:
            handler = handler or handler_factory(*arguments)
            reply = Reply(handler(request))
        except PipelineError as error:
            reply = Reply(error=str(error), bad_input=isinstance(error, InputError))
        except EXPECTED_FAILURES as error:
            reply = Reply(error=f"{type(error).__name__}: {_first_line(error)}")
        connection.send(reply)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:500] if lines else "no message"
