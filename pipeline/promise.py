"""What a user asks to be certified: a bound on the risk, and how sure it has to be. Light: read by argument parsers."""

import argparse
from dataclasses import dataclass

from device_profiler.errors import InputError
from pipeline.durations import parse_fraction

METHODS = ("ltt", "crc")
DEFAULT_DELTA = 0.05


@dataclass(frozen=True)
class Promise:
    """The mean loss is at most epsilon, with probability 1 - delta over the draw of the certify split.

    method: ltt (Learn then Test), or crc (conformal risk control: it bounds the expectation, delta plays no part).
    Raises InputError where a number is not between 0 and 1, or the method is unknown.
    """

    epsilon: float
    delta: float = DEFAULT_DELTA
    method: str = "ltt"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"method {self.method!r} is not known: choose one of {', '.join(METHODS)}")
        for name, value in (("risk", self.epsilon), ("delta", self.delta)):
            if not 0 < value < 1:
                raise InputError(f"--{name} {value} must lie between 0 and 1, as in 0.02")

    def __str__(self) -> str:
        return f"risk {self.epsilon}" + (f" at delta {self.delta}" if self.method == "ltt" else "")


def add_promise_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of a certificate; read them with `promise_from`."""
    group = parser.add_argument_group("certificate", "held on images of the certify split, which nothing else sees")
    group.add_argument(
        "--risk", metavar="FRACTION", help="raise thresholds until the share of wrong pixels rises by at most this"
    )
    group.add_argument("--delta", metavar="FRACTION", help="with this probability the promise may fail (default 0.05)")
    group.add_argument(
        "--risk-method", choices=METHODS, default="ltt", help="Learn then Test, or conformal risk control"
    )


def promise_from(arguments: argparse.Namespace) -> Promise | None:
    """The promise that the flags state; None without --risk. Raises InputError for a bad one."""
    if arguments.risk is None:
        if arguments.delta is not None:
            raise InputError("--delta says how sure a certificate is: give --risk too, as in --risk 0.02 --delta 0.05")
        return None
    if arguments.setting == "anytime":
        raise InputError("an anytime configuration has no thresholds to certify: choose adaptive or budgeted")
    delta = DEFAULT_DELTA if arguments.delta is None else parse_fraction(arguments.delta)
    return Promise(parse_fraction(arguments.risk), delta, arguments.risk_method)
