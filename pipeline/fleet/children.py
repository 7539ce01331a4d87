"""One target's `deploy` as a process of its own: a crash, a bad phone or an error of one target is not the others'."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from device_profiler.errors import PipelineError
from device_profiler.targets import Target
from pipeline.cli.parser import write_options
from pipeline.fleet.schedule import startable
from pipeline.progress import Advance
from pipeline.workspace import Reuse, Workspace

LOG_NAME, RESULT_NAME = "deploy.log", "deploy.json"
POLL_S = 0.2
REMARK = 36
"""Characters of what a child says that stand beside its bar."""
GOODBYE_S = 60.0
"""A child that was interrupted gives its phone back and ends within this time, or is killed."""
UNEXPECTED = 1
_STAMP = re.compile(r"^\[ *[\d.]+ s\] ")
_TAIL_BYTES = 4096


@dataclass(frozen=True)
class Ended:
    """How one target's deployment ended: exit code 0 and what it reused, or its one-line error."""

    target: Target
    run: Path
    exit_code: int = 0
    error: str = ""
    reused: tuple[Reuse, ...] = ()


class _Result(msgspec.Struct):
    """What is read of a child's `--json`."""

    reused: tuple[Reuse, ...]


class _Failed(PipelineError):
    """Ends a bar as failed."""


class Child:
    """A running `deploy` of one target. Its run folder takes config.toml, what it says (LOG_NAME), its result."""

    def __init__(self, target: Target, run: Path, options: Mapping[str, object], verbose: bool) -> None:
        self.target, self.run = target, run
        write_options(dict(options), run / "config.toml")
        words = ["deploy", "--config", str(run / "config.toml"), "--run", str(run), "--json", *["-v"] * verbose]
        places = os.pathsep.join(place for place in sys.path if place)
        with (run / LOG_NAME).open("wb") as log, (run / RESULT_NAME).open("wb") as result:
            # in a session of its own: Ctrl-C reaches it by `interrupt` alone, once
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.fleet", str(os.getpid()), *words], stdin=subprocess.DEVNULL,
                stdout=result, stderr=log, env={**os.environ, "PYTHONPATH": places}, start_new_session=True,
            )  # fmt: skip

    def ended(self) -> Ended | None:
        """How it ended, None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        if code == 0:
            told = msgspec.json.decode((self.run / RESULT_NAME).read_bytes(), type=_Result)
            return Ended(self.target, self.run, reused=told.reused)
        return Ended(self.target, self.run, code if code > 0 else UNEXPECTED, self._error(code))

    def _error(self, code: int) -> str:
        lines = [line for line in _tail(self.run / LOG_NAME) if line.startswith("error: ")]
        if lines:
            return lines[-1].removeprefix("error: ")
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"its deployment {how} without an error of ours; see {self.run / LOG_NAME}"

    def remark(self) -> str:
        """What it does now: the last line that it said."""
        lines = _tail(self.run / LOG_NAME)
        return _STAMP.sub("", lines[-1])[:REMARK] if lines else "starting"

    def interrupt(self) -> None:
        """What Ctrl-C does to a command that runs alone."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def wait_or_kill(self, deadline: float) -> None:
        """Wait for its end until `deadline` (time.monotonic), then kill it."""
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _tail(log: Path) -> list[str]:
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return [line for line in stream.read().decode(errors="replace").splitlines() if line.strip()]


@dataclass
class _Shown:
    """A child and its bar."""

    child: Child
    bar: AbstractContextManager[Advance]
    advance: Advance

    def update(self) -> Ended | None:
        """Show what the child does; how it ended, once it has."""
        ended = self.child.ended()
        if ended is None:
            self.advance(0, self.child.remark())
        elif ended.error:
            self.give_up()
        else:
            self.advance(1, "")
            self.bar.__exit__(None, None, None)
        return ended

    def give_up(self) -> None:
        """Take the bar away without a time for the next run to go by."""
        self.bar.__exit__(_Failed, _Failed(), None)


def deploy_each(
    targets: Sequence[Target],
    start: Callable[[Target], Child],
    workspace: Workspace,
    *,
    at_once: int,
    phones_multiply: bool,
) -> list[Ended]:
    """Deploy to every target, several at a time, whatever becomes of the others; in the order of `targets`.

    Where this is interrupted, the children are too: what they finished is kept.
    """
    running: dict[str, _Shown] = {}
    ended: dict[str, Ended] = {}
    try:
        while len(ended) < len(targets):
            while len(running) < at_once and (
                target := startable(targets, running, ended, phones_multiply=phones_multiply)
            ):
                bar = workspace.progress.task(f"deploy {target.name}", 1)
                running[target.name] = _Shown(start(target), bar, bar.__enter__())
            for name, shown in list(running.items()):
                if one := shown.update():
                    ended[name] = one
                    del running[name]
                    workspace.progress.note(f"{name}: {f'error: {one.error}' if one.error else 'deployed'}")
            time.sleep(POLL_S)
    finally:
        for shown in running.values():
            shown.give_up()
        _stop([shown.child for shown in running.values()])
    return [ended[target.name] for target in targets]


def _stop(children: Sequence[Child]) -> None:
    for child in children:
        child.interrupt()
    deadline = time.monotonic() + GOODBYE_S
    for child in children:
        child.wait_or_kill(deadline)
