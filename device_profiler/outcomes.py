"""How a job on a phone ended, told apart: only what may go better another time is tried again."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from device_profiler.errors import DeviceError, InvalidMeasurementError, PipelineError, UnavailableError

log = logging.getLogger(__name__)

Outcome = Literal["done", "model fault", "infrastructure fault", "invalid measurement", "not available"]
"""model fault: the artifact or the request, on any phone. infrastructure fault: the phone or the way to it. invalid
measurement: it ran, the figures can't be trusted. not available: nothing was tried (busy, set aside)."""
RETRIED: tuple[Outcome, ...] = ("infrastructure fault", "invalid measurement")
ATTEMPTS = 2
Result = TypeVar("Result")


@dataclass(frozen=True)
class Ended(Generic[Result]):
    """A job that ended: its result, or the error that stopped it for good, after `attempts`."""

    outcome: Outcome
    attempts: int
    result: Result | None = None
    error: PipelineError | None = None


def outcome_of(error: PipelineError) -> Outcome:
    """What kind of end an error is."""
    if isinstance(error, UnavailableError):
        return "not available"
    if isinstance(error, InvalidMeasurementError):
        return "invalid measurement"
    return "infrastructure fault" if isinstance(error, DeviceError) else "model fault"


def attempt(job: Callable[[], Result], *, attempts: int = ATTEMPTS,
            after_fault: Callable[[Outcome, PipelineError], bool] = lambda outcome, error: True) -> Ended[Result]:
    """Run `job`; again where that may help, `attempts` times at most.

    `after_fault` is told of every fault that is worth another try, and says whether there is to be one.
    """
    for number in range(1, attempts + 1):
        try:
            return Ended("done", number, result=job())
        except PipelineError as error:
            outcome = outcome_of(error)
            if outcome not in RETRIED or not after_fault(outcome, error) or number == attempts:
                return Ended(outcome, number, error=error)
            log.info("attempt %d of %d: %s: %s", number, attempts, outcome, error)
    raise AssertionError(f"attempts must be at least 1, got {attempts}")
