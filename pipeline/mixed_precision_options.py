"""How much mIoU int8 may cost before layers stay in floating point. Light: read by argument parsers."""

import argparse

from device_profiler.errors import InputError
from device_profiler.targets import Runtime, Target
from pipeline.durations import parse_points

RUNTIMES: tuple[Runtime, ...] = ("executorch", "litert", "coreml")
"""Those whose int8 files may hold layers in floating point."""


def add_mixed_precision_arguments(parser: argparse.ArgumentParser) -> None:
    """The flag; read it with `max_int8_drop_from`."""
    group = parser.add_argument_group("int8", "of targets whose precision is int8")
    group.add_argument(
        "--max-int8-drop", metavar="POINTS",
        help="keep the layers that int8 harms most in floating point, until it costs no exit more mIoU than this, as "
        "in 0.5pp (default: every layer in int8)",
    )


def max_int8_drop_from(arguments: argparse.Namespace, target: Target) -> float | None:
    """The drop that the flag states, in mIoU; None without it.

    Raises:
        InputError: no drop, or a target that is not int8 or whose runtime takes no mixed precision.
    """
    if arguments.max_int8_drop is None:
        return None
    if target.precision != "int8" or target.runtime not in RUNTIMES:
        raise InputError(
            f"--max-int8-drop is for int8 by {', '.join(RUNTIMES)}, but {target.name} is {target.precision} by "
            f"{target.runtime}: leave it out, or choose a target such as pixel7-cpu-int8"
        )
    return parse_points(arguments.max_int8_drop)
