"""What travels through a farm: a job, and how it ended; both as JSON, so that no class of ours is ever pickled."""

import msgspec

from device_profiler.errors import (
    DeviceError,
    InfeasibleError,
    InputError,
    InvalidMeasurementError,
    PipelineError,
    UnavailableError,
    VerificationError,
)
from device_profiler.outcomes import Outcome, outcome_of

REAL = ":real"
"""Ends the resource of phones that are not emulated: `pixel7-cpu` is any Pixel 7, `pixel7-cpu:real` one of silicon."""
_KINDS: dict[str, type[PipelineError]] = {
    "input": InputError, "infeasible": InfeasibleError, "invalid": InvalidMeasurementError,
    "unavailable": UnavailableError, "device": DeviceError, "verification": VerificationError,
}
"""In the order in which they are looked for: what is derived stands before what it is derived from."""
NOTHING = msgspec.Raw(b"null")


class PhoneLostError(DeviceError):
    """The one phone that a job is for left the farm, or failed."""


class Job(msgspec.Struct, frozen=True):
    """Work for one phone of `target`. `name`: by what is asked for, so that tries of it are known to be the same.

    `kind` says which function of `pipeline.farm.kinds` does it, `request` is what that function takes. `store`: URL of
    the measurements, None for the host's own. `only`: the one phone (see `seat_of`) that may do it, empty for any.
    """

    name: str
    kind: str
    target: str
    request: msgspec.Raw
    store: str | None = None
    real: bool = False
    only: str = ""

    @property
    def resource(self) -> str:
        """What a worker must offer."""
        return self.only or self.target + (REAL if self.real else "")


def seat_of(host: str, phone: str) -> str:
    """The resource that the worker of one phone alone offers."""
    return f"phone {phone} of {host}"


class JobEnd(msgspec.Struct, frozen=True):
    """How a try ended on the phone at `phone` of `host`; `error` and its `kind` where it was not done.

    `phone` is empty where the work needs none.
    """

    outcome: Outcome
    host: str
    phone: str
    error: str = ""
    kind: str = ""
    result: msgspec.Raw = NOTHING

    def as_error(self) -> PipelineError:
        """The error as if it had happened here, with where it did."""
        where = f"phone {self.phone} of host {self.host}" if self.phone else f"host {self.host}"
        return _KINDS.get(self.kind, PipelineError)(f"{self.error} ({where})")


def ended_by(error: PipelineError, host: str, phone: str) -> JobEnd:
    """The end that an error is."""
    kind = next((name for name, of in _KINDS.items() if isinstance(error, of)), "")
    return JobEnd(outcome_of(error), host, phone, str(error), kind)
