"""The self-test of a phone: what every measurement leans on, tried once. Passing it takes a phone back into use."""

import os
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from device_profiler import standing
from device_profiler.conditions import wait_until_fit
from device_profiler.device import Device, connect_device, hold
from device_profiler.errors import DeviceError, PipelineError
from device_profiler.runner.client import DEVICE_FOLDER, install, program_folder
from device_profiler.transport import Transport

LEAST_FREE_MB = 200
_FILE_BYTES = 1_000_000
_USAGE_EXIT_CODE = 2


class Check(msgspec.Struct, frozen=True):
    """One thing that was tried: what it is, what came out, whether that is good enough."""

    name: str
    passed: bool
    told: str


class SelfTest(msgspec.Struct, frozen=True):
    """The checks of one phone, and what it is set aside for afterwards (None: it is in use)."""

    address: str
    model: str
    checks: tuple[Check, ...]
    quarantined: str | None

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


Trial = Callable[[Device], str]
"""Tries one thing on a phone and tells what came out; raises a PipelineError where it is not good enough."""


def self_test(address: str, further: Sequence[tuple[str, Trial]] = ()) -> SelfTest:
    """Try the phone at `address` under a lease, also one that is set aside; take it back if all is well, else set it
    aside. `further`: named checks beside those of this module.

    Raises:
        DeviceError: it can't be reached.
        UnavailableError: somebody else has it.
        InputError: malformed address.
    """
    device = connect_device(address)
    try:
        hold(device, even_set_aside=True)
        checks = tuple(_tried(name, trial, device) for name, trial in (*_TRIALS, *further))
    finally:
        device.close()
    failed = [check for check in checks if not check.passed]
    if failed:
        standing.quarantine(device.key, f"failed its self-test: {failed[0].name}: {failed[0].told}")
    else:
        standing.release(device.key)
    return SelfTest(address, device.identity.model, checks, standing.standing_of(device.key).quarantined)


def _tried(name: str, trial: Trial, device: Device) -> Check:
    try:
        return Check(name, True, trial(device))
    except PipelineError as error:
        return Check(name, False, str(error))


def _exit_codes(device: Device) -> str:
    for code in (0, 7):
        if (told := device.transport.shell(f"exit {code}").exit_code) != code:
            raise DeviceError(f"`exit {code}` gave exit code {told}: this phone does not tell when a command fails")
    return "commands give their exit codes"


def _storage(device: Device) -> str:
    output = device.transport.shell("df -k /data/local/tmp").output
    found = re.search(r"\s(\d+)\s+(\d+)\s+(\d+)\s+\d+%\s", output)
    if not found:
        raise DeviceError(f"`df -k /data/local/tmp` gave {output.strip()[-100:]!r}: its free storage can't be read")
    free_mb = int(found[3]) // 1024
    if free_mb < LEAST_FREE_MB:
        raise DeviceError(f"{free_mb} MB free under /data/local/tmp, {LEAST_FREE_MB} MB are needed: remove something")
    return f"{free_mb} MB free"


def _round_trip(device: Device) -> str:
    remote = f"{DEVICE_FOLDER}.self-test"
    with tempfile.TemporaryDirectory() as folder:
        there, back = Path(folder, "there"), Path(folder, "back")
        there.write_bytes(os.urandom(_FILE_BYTES))
        device.transport.push(there, remote)
        device.transport.pull(remote, back)
        if back.read_bytes() != there.read_bytes():
            raise DeviceError(f"a file of {_FILE_BYTES / 1e6:g} MB came back changed: try another cable or port")
    device.transport.shell(f"rm -f {remote}")
    return f"{_FILE_BYTES / 1e6:g} MB there and back unchanged"


def _condition(device: Device) -> str:
    state = wait_until_fit(device.transport, cooling_s=0.0)
    return ", ".join(f"{name} {value}" for name, value in state.items()) or "the phone tells nothing"


def _clock(device: Device) -> str:
    """Its steady clock moves, and not by leaps: leases and timeouts lean on it."""
    before = _uptime_s(device.transport)
    device.transport.shell("sleep 1")
    passed = _uptime_s(device.transport) - before
    if passed < 1:
        raise DeviceError(f"{passed:g} s of its uptime passed in a second's sleep: restart the phone")
    return f"{passed:.1f} s of uptime for a second's sleep"


def _uptime_s(transport: Transport) -> float:
    output = transport.shell("cat /proc/uptime 2>/dev/null || date +%s").output
    try:
        return float(output.split()[0])
    except (ValueError, IndexError) as error:
        raise DeviceError(f"its uptime can't be read, by which leases are kept: {output.strip()[:100]!r}") from error


def _runner(device: Device) -> str:
    """The native runner starts on it: pushed, linked, run."""
    runner = install(device.transport, "executorch")
    result = device.transport.shell(runner.program.command(program_folder(runner.root, runner.program)))
    if result.exit_code != _USAGE_EXIT_CODE or "JOBFILE" not in result.output:
        raise DeviceError(f"the runner does not start (exit code {result.exit_code}): {result.output.strip()[-200:]}")
    return f"{runner.version} starts"


_TRIALS: tuple[tuple[str, Trial], ...] = (
    ("commands", _exit_codes), ("storage", _storage), ("files", _round_trip), ("clock", _clock),
    ("condition", _condition), ("runner", _runner))
