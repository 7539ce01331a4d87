"""The state in which a real phone is measured: awake, charged, cool, at steady clocks, on its big cores."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from device_profiler.device import read_state
from device_profiler.errors import DeviceError
from device_profiler.transport import Transport

LEAST_BATTERY_PERCENT = 30
COOLING_S = 300.0
_PAUSE_S = 10.0
_CAPACITY = re.compile(r"cpu(\d+)/cpu_capacity:(\d+)")


@contextmanager
def steady(transport: Transport) -> Iterator[None]:
    """Keep the phone awake at sustainable clocks inside the block; what the phone does not know is left out."""
    _try(transport, "svc power stayon true", "input keyevent WAKEUP")
    _try(transport, "cmd power set-fixed-performance-mode-enabled true")
    try:
        yield
    finally:
        _try(transport, "cmd power set-fixed-performance-mode-enabled false", "svc power stayon false")


def wait_until_fit(transport: Transport, cooling_s: float = COOLING_S, pause_s: float = _PAUSE_S) -> dict[str, str]:
    """The phone's state once it is fit to be measured: enough battery, no thermal throttling.

    Raises:
        DeviceError: the battery is under 30 %, or the phone did not cool down within `cooling_s`.
    """
    deadline = time.monotonic() + cooling_s
    while True:
        state = read_state(transport)
        if int(state.get("battery_level", 100)) < LEAST_BATTERY_PERCENT and state.get("plugged", "no") == "no":
            raise DeviceError(
                f"the battery of {transport.address} is at {state['battery_level']} %; figures are taken from "
                f"{LEAST_BATTERY_PERCENT} % on: charge it"
            )
        if state.get("thermal_status", "0") == "0":
            return state
        if time.monotonic() > deadline:
            raise DeviceError(
                f"{transport.address} is throttled by heat (thermal status {state['thermal_status']}) and did not cool "
                f"within {cooling_s:.0f} s; let it rest, out of its case"
            )
        time.sleep(pause_s)


def big_cores(transport: Transport) -> str | None:
    """Hexadecimal mask of the cores with the largest capacity, for taskset; None where the phone does not tell."""
    output = transport.shell("grep -H . /sys/devices/system/cpu/cpu[0-9]*/cpu_capacity 2>/dev/null").output
    capacity = {int(core): int(value) for core, value in _CAPACITY.findall(output)}
    if not capacity:
        return None
    largest = max(capacity.values())
    return f"{sum(1 << core for core, value in capacity.items() if value == largest):x}"


def _try(transport: Transport, *commands: str) -> None:
    """Run commands that older phones may lack."""
    transport.shell("; ".join(f"{command} >/dev/null 2>&1" for command in commands) + "; true")
