"""What a user asks of the search: the setting, the objective and its bounds. Light: imported by argument parsers."""

import argparse
from dataclasses import dataclass, replace

from device_profiler.errors import InputError
from pipeline.durations import parse_cost, parse_duration, parse_fraction, parse_points

SETTINGS = ("budgeted", "anytime", "adaptive")
DEFAULT_MAX_EXITS = 3
DEFAULT_MAX_DROP = 0.01
DEFAULT_TIME_LIMIT_S = 300.0


@dataclass(frozen=True)
class Objective:
    """Most accurate under a latency bound, or cheapest over an mIoU bound.

    Without any bound: the cheapest at most 1 pp of mIoU below the full network. Costs are in ns (or in the latency
    table's own unit). Raises InputError where bounds contradict each other.
    """

    setting: str = "adaptive"
    max_latency_ns: float | None = None
    max_worst_latency_ns: float | None = None
    min_miou: float | None = None
    max_drop: float | None = None  # fraction of mIoU below the full network
    deadlines_ns: tuple[float, ...] = ()  # anytime only
    max_exits: int = DEFAULT_MAX_EXITS
    threshold_grid: int | None = None  # quantiles per exit; None: every interval between observed confidences
    time_limit_s: float = DEFAULT_TIME_LIMIT_S
    unit: str = "ns"  # of the bounds; must be the table's
    ends_with_full: bool = False  # only configurations of which some image reaches the full network, their last exit

    def __post_init__(self) -> None:
        if self.setting not in SETTINGS:
            raise InputError(f"setting {self.setting!r} is not known: choose one of {', '.join(SETTINGS)}")
        _check_one_objective(self)
        _check_numbers(self)
        _check_deadlines(self)

    @property
    def cheapest(self) -> bool:
        """True: cheapest over an mIoU bound. False: most accurate under cost bounds."""
        if self.min_miou is not None or self.max_drop is not None:
            return True
        return self.max_latency_ns is None and self.max_worst_latency_ns is None and not self.deadlines_ns

    def under(self, setting: str) -> "Objective":
        """The same question to another setting; deadlines belong to anytime alone."""
        return replace(self, setting=setting, deadlines_ns=self.deadlines_ns if setting == "anytime" else ())

    def miou_bound(self, full_network_miou: float) -> float:
        """Lowest mIoU allowed when `cheapest`."""
        if self.min_miou is not None:
            return self.min_miou
        return full_network_miou - (DEFAULT_MAX_DROP if self.max_drop is None else self.max_drop)


def add_objective_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that `search` and `deploy` share; read them with `objective_from`."""
    group = parser.add_argument_group("objective", "without one: the cheapest at most 1pp below the full network")
    group.add_argument("--setting", choices=SETTINGS, default="adaptive", help="default: adaptive")
    group.add_argument("--max-latency", metavar="DURATION", help="most accurate within this expected latency (30ms)")
    group.add_argument("--max-worst-latency", metavar="DURATION", help="bound on the full path's latency (40ms)")
    group.add_argument("--min-miou", metavar="FRACTION", help="cheapest that reaches this mIoU (0.60)")
    group.add_argument("--max-drop", metavar="POINTS", help="cheapest at most this far below the full network (1pp)")
    group.add_argument("--max-cost", metavar="NUMBER", help="as --max-latency, for a table in another unit than ns")
    group.add_argument("--max-worst-cost", metavar="NUMBER", help="as --max-worst-latency, for another unit than ns")
    group.add_argument(
        "--deadline", metavar="DURATION", action="append", default=[], help="anytime: a moment of readout; repeat it"
    )
    group.add_argument("--max-exits", type=int, default=DEFAULT_MAX_EXITS, metavar="K", help="default: 3")
    group.add_argument(
        "--threshold-grid", type=int, metavar="N", help="N quantiles per exit instead of every observed confidence"
    )
    group.add_argument(
        "--time-limit", metavar="DURATION", default="300s", help="then the best found and its bound (default 300s)"
    )


def objective_from(arguments: argparse.Namespace) -> Objective:
    """The objective that the flags of `add_objective_arguments` state. Raises InputError where they contradict."""
    costs = _either(arguments, "max_latency", "max_cost"), _either(arguments, "max_worst_latency", "max_worst_cost")
    in_table_unit = arguments.max_cost is not None or arguments.max_worst_cost is not None
    if in_table_unit and (arguments.max_latency is not None or arguments.max_worst_latency is not None):
        raise InputError("durations and costs don't mix: give --max-latency or --max-cost, as the table's unit asks")
    parse = parse_cost if in_table_unit else parse_duration
    return Objective(
        setting=arguments.setting,
        max_latency_ns=None if costs[0] is None else parse(costs[0]),
        max_worst_latency_ns=None if costs[1] is None else parse(costs[1]),
        min_miou=None if arguments.min_miou is None else parse_fraction(arguments.min_miou),
        max_drop=None if arguments.max_drop is None else parse_points(arguments.max_drop),
        deadlines_ns=tuple(sorted(parse_duration(text) for text in arguments.deadline)),
        max_exits=arguments.max_exits,
        threshold_grid=arguments.threshold_grid,
        time_limit_s=parse_duration(arguments.time_limit) / 1e9,
        unit="table" if in_table_unit else "ns",
    )


def _either(arguments: argparse.Namespace, duration: str, cost: str) -> str | None:
    value: str | None = getattr(arguments, duration)
    return value if value is not None else getattr(arguments, cost)


def _check_one_objective(objective: Objective) -> None:
    if objective.min_miou is not None and objective.max_drop is not None:
        raise InputError("--min-miou and --max-drop both bound the accuracy: give one of them")
    if objective.max_latency_ns is not None and (objective.min_miou is not None or objective.max_drop is not None):
        raise InputError(
            "two objectives at once: give --max-latency (most accurate within it) or one of --min-miou, --max-drop "
            "(cheapest over it)"
        )


def _check_numbers(objective: Objective) -> None:
    for name, value in (
        ("max-latency", objective.max_latency_ns),
        ("max-worst-latency", objective.max_worst_latency_ns),
        ("time-limit", objective.time_limit_s),
    ):
        if value is not None and not value > 0:
            raise InputError(f"--{name} {value} must be more than 0")
    for name, value in (("min-miou", objective.min_miou), ("max-drop", objective.max_drop)):
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"--{name} {value} must be between 0 and 1")
    if objective.max_exits < 1:
        raise InputError(f"--max-exits {objective.max_exits} must be at least 1")
    if objective.threshold_grid is not None and objective.threshold_grid < 1:
        raise InputError(f"--threshold-grid {objective.threshold_grid} must be at least 1")


def _check_deadlines(objective: Objective) -> None:
    if objective.setting == "anytime" and not objective.deadlines_ns:
        raise InputError("--setting anytime needs at least one --deadline, as in --deadline 20ms --deadline 40ms")
    if objective.setting != "anytime" and objective.deadlines_ns:
        raise InputError(f"--deadline belongs to --setting anytime, not to {objective.setting}")
    if any(not deadline > 0 for deadline in objective.deadlines_ns):
        raise InputError("--deadline must be more than 0")
