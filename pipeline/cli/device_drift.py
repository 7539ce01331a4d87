"""`devices drift`: what system updates changed, by the figures in the store."""

import argparse
from typing import TYPE_CHECKING

from pipeline.cli.store_place import add_store_argument

if TYPE_CHECKING:
    from device_profiler.drift import Drift

HELP = "what a system update changed: parts that the store has from before and after"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which figures."""
    parser.add_argument("--target", action="append", default=[], metavar="NAME", help="only this target's (repeatable)")
    add_store_argument(parser)


def handle(arguments: argparse.Namespace) -> int:
    """Some lines an update: how much the parts changed, and which changed most."""
    from device_profiler.drift import find_drift
    from device_profiler.store import Store
    from device_profiler.targets import find_target
    from pipeline.cli.output import emit

    targets = [find_target(name).name for name in arguments.target]
    with Store(arguments.store) as store:
        drifts = find_drift(store, targets)
    lines = [line for drift in drifts for line in _lines(drift)]
    emit({"drifts": drifts}, lines or ["no phone was measured before and after a system update"], arguments.json)
    return 0


def _lines(drift: "Drift") -> list[str]:
    slower = sum(part.clear and part.change > 0 for part in drift.parts)
    faster = sum(part.clear and part.change < 0 for part in drift.parts)
    most = max(drift.parts, key=lambda part: abs(part.change))
    return [
        f"{drift.target} on {drift.phone}: {drift.before} -> {drift.after}",
        f"  {len(drift.parts)} parts: median {drift.median:+.1%}; {slower} clearly slower, {faster} clearly faster; "
        f"most: {most.entry} {most.change:+.1%}",
    ]
