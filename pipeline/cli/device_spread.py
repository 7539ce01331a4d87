"""`devices spread`: how far units of one phone model lie apart, by the figures in the store."""

import argparse
from typing import TYPE_CHECKING

from pipeline.cli.store_place import add_store_argument

if TYPE_CHECKING:
    from device_profiler.spread import Spread

HELP = "how far units of one phone model lie apart, and how much of it the golden model explains"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which figures."""
    parser.add_argument("--target", action="append", default=[], metavar="NAME", help="only this target's (repeatable)")
    add_store_argument(parser)


def handle(arguments: argparse.Namespace) -> int:
    """Some lines a phone model: its units, how far apart they are, before and after the golden model is taken out."""
    from device_profiler.spread import find_spread
    from device_profiler.store import Store
    from device_profiler.targets import find_target
    from pipeline.cli.output import emit

    targets = [find_target(name).name for name in arguments.target]
    with Store(arguments.store) as store:
        spreads = find_spread(store, targets)
    lines = [line for spread in spreads for line in _lines(spread)]
    nothing = "no two units of one phone model were measured: see `profile --devices all`"
    emit({"spreads": spreads}, lines or [nothing], arguments.json)
    return 0


def _lines(spread: "Spread") -> list[str]:
    widest = max(spread.parts, key=lambda part: part.spread)
    slowest = max(widest.units, key=lambda one: one.median_ns)
    in_golden = "no golden model ran beside them"
    if spread.normalised is not None:
        in_golden = f"{spread.normalised:.1%} in runs of the golden model"
    return [
        f"{spread.target} on {spread.phone}: units {', '.join(spread.units)}",
        f"  {len(spread.parts)} parts: slowest unit over fastest {spread.median:.1%} in the median; {in_golden}; "
        f"most: {widest.entry} {widest.spread:.1%} (slowest: {slowest.unit})",
    ]
