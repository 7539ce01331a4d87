"""The state in which a phone is measured: charged, cool, on its big cores; and what its clocks did meanwhile."""

import re
import time
from collections.abc import Callable

from device_profiler.device import read_state
from device_profiler.errors import DeviceError, InvalidMeasurementError, UnavailableError
from device_profiler.measurement import DeviceIdentity
from device_profiler.transport import Transport

LEAST_BATTERY_PERCENT = 30
COOLING_S = 300.0
_PAUSE_S = 10.0
_CAPACITY = re.compile(r"cpu(\d+)/cpu_capacity:(\d+)")
_TIME_IN_STATE = re.compile(r"cpu(\d+)/cpufreq/stats/time_in_state:(\d+) (\d+)")

Pause = Callable[[float], None]


def wait_until_fit(transport: Transport, cooling_s: float = COOLING_S, pause: Pause = time.sleep) -> dict[str, str]:
    """The phone's state once it is fit to be measured: enough battery, no thermal throttling.

    Raises:
        UnavailableError: the battery is under 30 %.
        InvalidMeasurementError: the phone did not cool down within `cooling_s`.
    """
    waited = 0.0
    while True:
        state = read_state(transport)
        if int(state.get("battery_level", 100)) < LEAST_BATTERY_PERCENT and state.get("plugged", "no") == "no":
            raise UnavailableError(
                f"the battery of {transport.address} is at {state['battery_level']} %; figures are taken from "
                f"{LEAST_BATTERY_PERCENT} % on: charge it"
            )
        if state.get("thermal_status", "0") == "0":
            return state
        if waited >= cooling_s:
            raise InvalidMeasurementError(
                f"{transport.address} is throttled by heat (thermal status {state['thermal_status']}) and did not cool "
                f"within {cooling_s:.0f} s; let it rest, out of its case"
            )
        pause(_PAUSE_S)
        waited += _PAUSE_S


def pause_on(transport: Transport, identity: DeviceIdentity) -> Pause:
    """How time passes without work: on a wall clock by waiting, on an emulated phone's own clock at once."""
    if identity.clock == "wall":
        return time.sleep
    return lambda seconds: _idle(transport, seconds)


def big_cores(transport: Transport) -> str | None:
    """Hexadecimal mask of the cores with the largest capacity, for taskset; None where the phone does not tell."""
    output = transport.shell("grep -H . /sys/devices/system/cpu/cpu[0-9]*/cpu_capacity 2>/dev/null").output
    capacity = {int(core): int(value) for core, value in _CAPACITY.findall(output)}
    if not capacity:
        return None
    largest = max(capacity.values())
    return f"{sum(1 << core for core, value in capacity.items() if value == largest):x}"


Residency = dict[int, dict[int, int]]
"""Time that each core spent at each frequency [kHz], since the phone started, in the kernel's ticks."""


def read_residency(transport: Transport) -> Residency:
    """By core; empty where the phone does not tell."""
    files = "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/stats/time_in_state"
    output = transport.shell(f"grep -H . {files} 2>/dev/null").output
    found: Residency = {}
    for core, khz, ticks in _TIME_IN_STATE.findall(output):
        found.setdefault(int(core), {})[int(khz)] = int(ticks)
    return found


def mean_khz(before: Residency, after: Residency) -> dict[str, str]:
    """Under `cpu_khz_mean`, the mean frequency of each core between two readings; nothing where they are not known."""
    means = []
    for core in sorted(after):
        spent = {khz: ticks - before.get(core, {}).get(khz, 0) for khz, ticks in after[core].items()}
        if total := sum(spent.values()):
            means.append(round(sum(khz * ticks for khz, ticks in spent.items()) / total))
    return {"cpu_khz_mean": ",".join(map(str, means))} if means else {}


def _idle(transport: Transport, seconds: float) -> None:
    result = transport.shell(f"idle {seconds:g}")
    if result.exit_code != 0:
        raise DeviceError(f"{transport.address} can't let its clock pass: {result.output.strip()[-150:]}")
