"""How an exit policy is written, and what its name says: no torch here, so that argument parsers may ask.

A policy is written `[<measure>-]<reduction>[:<parameter>][+edges[:<spacing>]]`: what is a pixel's confidence, how those
of an image become one number, and whether those on edges of the label map are replaced first, by the median of how wide
a window. `agreement` asks a witness instead: it is the share of positions that a head of the exit before labels alike.
"""

from dataclasses import dataclass

from device_profiler.errors import InputError

DEFAULT_POLICY = "mean"
AGREEMENT = "agreement"
TOP = "top"
MEASURES = (TOP, "margin", "entropy")
REDUCTIONS = ("mean", "median", "share", "quantile", "patch")
PARAMETRIC = {"share": "T", "quantile": "Q", "patch": "Q"}
EDGES = "+edges"
SPACING, WIDEST_SPACING = 2, 4
"""Of the nine positions whose median an edge takes: where none is given, and at most."""
COUNTING, FLIPS = ("share", AGREEMENT), 3
"""Policies that count positions of the logits; how many of an image's may lie too close to the line to call."""
SHARE_GRID = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Pixel thresholds of `share` that are compared where none is given."""


@dataclass(frozen=True)
class Policy:
    """A policy, parsed: a pixel's `measure`, `reduction` with its `parameter`, `spacing` of the edges' window or 0."""

    measure: str
    reduction: str
    parameter: float
    spacing: int

    @property
    def asks_witness(self) -> bool:
        """Whether it needs what a head of the exit before says."""
        return self.reduction == AGREEMENT

    @property
    def flips(self) -> int:
        """How many positions of an image rounding may move across the line, where it counts positions; else 0."""
        return FLIPS if self.reduction in COUNTING else 0


def parse_policy(policy: str) -> Policy:
    """The policy called `policy`.

    Raises:
        InputError: unknown measure or reduction, a parameter that is missing, not taken or out of range.
    """
    if policy == AGREEMENT:
        return Policy(TOP, AGREEMENT, 0.0, 0)
    plain, edges, window = policy.partition(EDGES)
    written, colon, value = plain.partition(":")
    measure, reduction = _parts(written)
    if measure not in MEASURES or reduction not in REDUCTIONS or (colon == ":") != (reduction in PARAMETRIC):
        raise InputError(_unknown(policy))
    try:
        parameter = float(value) if colon else 0.0
    except ValueError:
        raise InputError(_unknown(policy)) from None
    if colon and not 0.0 < parameter < 1.0:
        raise InputError(_unknown(policy))
    return Policy(measure, reduction, parameter, _spacing(policy, window) if edges else 0)


def _parts(written: str) -> tuple[str, str]:
    """Measure and reduction: each may be left out, the top probability and the mean stand for them."""
    if written in MEASURES:
        return written, "mean"
    measure, dash, reduction = written.partition("-")
    return (measure, reduction) if dash else (TOP, written)


def _spacing(policy: str, window: str) -> int:
    """What stands behind `+edges`: nothing, or `:N`."""
    if not window:
        return SPACING
    number = window.removeprefix(":")
    if number == window or number not in map(str, range(1, WIDEST_SPACING + 1)):
        raise InputError(_unknown(policy))
    return int(number)


def _unknown(policy: str) -> str:
    plain = [name for name in REDUCTIONS if name not in PARAMETRIC]
    whole = [name for name in MEASURES if name != TOP]
    return (
        f"unknown exit policy {policy!r}; choose {', '.join(f'`{name}`' for name in (*plain, *whole))}, or "
        f"{', '.join(f'`{name}:{letter}`' for name, letter in PARAMETRIC.items())} with 0 < T, Q < 1, e.g. "
        f"`share:0.9`; {' or '.join(f'`{name}-`' for name in whole)} in front of a reduction measures pixels so, e.g. "
        f"`margin-median`; `{EDGES}` or `{EDGES}:N` with N from 1 to {WIDEST_SPACING} behind any of them replaces what "
        f"lies on edges; `{AGREEMENT}` compares with the exit before"
    )
