"""Settings that a measuring session changes on a phone: awake, at steady clocks; and how they are restored.

What is changed is written down on the phone first, as the script that undoes it: whatever becomes of this process,
whoever takes the phone next runs that script.
"""

import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from device_profiler.errors import DeviceError
from device_profiler.runner.detached import is_going
from device_profiler.transport import Transport

log = logging.getLogger(__name__)

JOURNAL = "/data/local/tmp/mess-deploy.restore"
"""On the phone: the commands that undo what a session changed; there only while one does, or after it was killed."""
_STAY_ON = "global stay_on_while_plugged_in"
_AWAKE = ("svc power stayon true", "input keyevent WAKEUP")
_FIXED_CLOCKS = "cmd power set-fixed-performance-mode-enabled true"


@contextmanager
def steady(transport: Transport, *, fixed_clocks: bool = True) -> Iterator[None]:
    """Keep the phone awake, at sustainable clocks, inside the block; what the phone does not know is left out.

    Where a killed session left the phone so, it stays so: a run of it that still goes must not meet other clocks.

    Raises:
        DeviceError: afterwards, when a setting could not be restored (unless the block failed already).
    """
    if not (fixed_clocks and is_changed(transport)):
        restore(transport)
        _write_journal(transport)
    _try(transport, *_AWAKE, *([_FIXED_CLOCKS] if fixed_clocks else []))
    try:
        yield
    except BaseException:
        _restore_if_there(transport)
        raise
    restore(transport)


def is_changed(transport: Transport) -> bool:
    """Whether a session changed settings that are not restored yet."""
    return transport.shell(f"[ -f {JOURNAL} ]").exit_code == 0


def restore(transport: Transport) -> bool:
    """Undo what a session left changed, and verify it; False where there was nothing to undo.

    Raises:
        DeviceError: a setting is not what it was.
    """
    script = f"[ -f {JOURNAL} ] || {{ echo nothing; exit; }}; sh {JOURNAL} && rm -f {JOURNAL} && echo restored"
    answer = transport.shell(script).output.strip().splitlines()
    if answer[-1:] == ["nothing"]:
        return False
    if answer[-1:] != ["restored"]:
        raise DeviceError(
            f"settings of {transport.address} could not be restored ({' '.join(answer)[-200:]}): run `sh {JOURNAL}` in "
            "its shell, then remove that file"
        )
    return True


def tidy(transport: Transport) -> None:
    """Undo what a session that was killed left changed: for whoever takes the phone next.

    Not while a run of that session goes on: it may be collected yet, and was begun at these clocks.
    """
    if is_changed(transport) and is_going(transport):
        log.info("settings of %s stay until the run that a killed session left there ends", transport.address)
    elif _restore_if_there(transport):
        log.warning("settings that a killed session left changed on %s are restored", transport.address)


def _write_journal(transport: Transport) -> None:
    """The script that undoes what is changed: settings as they are now (fixed performance can't be read: off)."""
    former = transport.shell(f"settings get {_STAY_ON} 2>/dev/null").output.strip()
    lines = ["cmd power set-fixed-performance-mode-enabled false >/dev/null 2>&1"]
    if former.isdigit():
        lines.append(f"settings put {_STAY_ON} {former}")
    elif former == "null":
        lines.append(f"settings delete {_STAY_ON} >/dev/null")
    else:
        lines.append("svc power stayon false >/dev/null 2>&1")
    if former.isdigit() or former == "null":
        lines.append(f'[ "$(settings get {_STAY_ON})" = {former} ] || {{ echo stay_on_while_plugged_in; exit 1; }}')
    else:
        lines.append("true")
    content = shlex.quote("\n".join(lines) + "\n")
    result = transport.shell(f"printf %s {content} > {JOURNAL}.partial && mv {JOURNAL}.partial {JOURNAL}")
    if result.exit_code != 0:
        raise DeviceError(
            f"{transport.address} can't note its settings ({result.output.strip()[-150:]}); nothing was changed: see "
            "whether its storage is full"
        )


def _restore_if_there(transport: Transport) -> bool:
    """Where an error of its own would hide a worse one: `restore`, whose failure is only told."""
    try:
        return restore(transport)
    except DeviceError as error:
        log.warning("settings of %s are restored when it is measured next: %s", transport.address, error)
        return False


def _try(transport: Transport, *commands: str) -> None:
    """Run commands that older phones may lack."""
    transport.shell("; ".join(f"{command} >/dev/null 2>&1" for command in commands) + "; true")
