"""Errors that a user sees: one clear line each, and the exit code that the command line answers with."""


class PipelineError(Exception):
    """Root of every error that is the user's to mend; never shown as a traceback.

    The message states the value, the rule, the valid choices and the next step.
    """

    exit_code = 2


class InputError(PipelineError):
    """Bad input: an argument, a file, an image, a configuration key."""

    exit_code = 2


class InfeasibleError(PipelineError):
    """No configuration meets the constraints; the message names the nearest feasible point."""

    exit_code = 3


class DeviceError(PipelineError):
    """A phone or the way to it failed: absent, refused, timed out, ran out of space."""

    exit_code = 4


class InvalidMeasurementError(DeviceError):
    """The phone ran everything, but its figures can't be trusted: they drifted, did not settle, or it was hot."""


class GoldenDriftError(InvalidMeasurementError):
    """The golden model, which never changes, took other times again and again: the phone is set aside."""


class UnavailableError(DeviceError):
    """The phone can't be used for this now: somebody else holds it, it is set aside, empty, or lacks the unit."""


class VerificationError(PipelineError):
    """A check failed: parity, an undeclared fallback, a certificate, a hash."""

    exit_code = 5
