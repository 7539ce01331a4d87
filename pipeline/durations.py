"""Quantities as a user types them: '30ms', '1pp', '0.6'. Light: imported by argument parsers."""

import math
import re

from device_profiler.errors import InputError

NANOSECONDS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}
_SPANS = {"s": 1.0, "min": 60.0}
_NUMBER = r"(?P<number>[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?)"


def parse_duration(text: str) -> float:
    """'30ms' -> 3e7 (nanoseconds). Raises InputError without a unit (ns, us, ms, s) or where it is not positive."""
    number, unit = _split(text)
    if not (math.isfinite(number) and number > 0):
        raise InputError(f"{text!r} must be more than 0: write a duration as 30ms")
    if unit == "":
        raise InputError(f"{text!r} has no unit: write a duration as 30ms, with one of {', '.join(NANOSECONDS)}")
    if unit not in NANOSECONDS:
        raise InputError(f"{text!r} is no duration: write a number and one of {', '.join(NANOSECONDS)}, as in 30ms")
    return number * NANOSECONDS[unit]


def parse_span(text: str) -> int:
    """'20min' -> 1200 (seconds). Raises InputError where it is not a whole number of seconds (s, min), 1 or more."""
    number, unit = _split(text)
    seconds = number * _SPANS.get(unit, math.nan)
    if not (math.isfinite(seconds) and seconds >= 1 and seconds == int(seconds)):
        raise InputError(f"{text!r} is no span of whole seconds: write it as 90s or 20min")
    return int(seconds)


def parse_points(text: str) -> float:
    """'1pp' -> 0.01 (a difference of mIoU). Raises InputError without 'pp' or outside [0pp, 100pp]."""
    number, unit = _split(text)
    if unit != "pp":
        raise InputError(f"{text!r} is no drop: write percentage points of mIoU, as in 1pp")
    if not 0 <= number <= 100:
        raise InputError(f"{text!r} must be between 0pp and 100pp")
    return number / 100


def parse_fraction(text: str) -> float:
    """'0.6' -> 0.6. Raises InputError outside [0, 1]: an mIoU, a risk, a probability."""
    number, unit = _split(text)
    if unit or not 0 <= number <= 1:
        raise InputError(f"{text!r} must be a fraction between 0 and 1, as in 0.60")
    return number


def parse_cost(text: str) -> float:
    """'3.2e9' -> 3.2e9, in the table's own unit. Raises InputError where it is not a positive number."""
    number, unit = _split(text)
    if unit or not (math.isfinite(number) and number > 0):
        raise InputError(f"{text!r} must be a number above 0, in the table's own unit")
    return number


def format_duration(nanoseconds: float) -> str:
    """3.05e7 -> '30.5 ms': four significant digits and the unit that keeps them short."""
    fitting = [unit for unit, scale in NANOSECONDS.items() if abs(nanoseconds) >= scale]
    unit = fitting[-1] if fitting else "ns"
    return f"{nanoseconds / NANOSECONDS[unit]:.4g} {unit}"


def _split(text: str) -> tuple[float, str]:
    match = re.fullmatch(rf"\s*{_NUMBER}\s*(?P<unit>[A-Za-z%µ]*)\s*", text)
    if match is None:
        raise InputError(f"{text!r} is not a number with a unit, as in 30ms or 1pp")
    return float(match["number"]), match["unit"].replace("µ", "u")
