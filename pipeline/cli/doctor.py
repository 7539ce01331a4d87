"""`doctor`: what works here, what is missing, and how to mend it."""

import argparse
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from pipeline.cli.network import quiet_vendors

if TYPE_CHECKING:
    from pipeline.health import Check

HELP = "what works on this machine, what is missing, and the command that mends it"
NAME_WIDTH = 28


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whether to fetch."""
    parser.add_argument(
        "--prepare", action="store_true", help="fetch and build what the phone, the runners and the sample data need"
    )


def handle(arguments: argparse.Namespace) -> int:
    """Print every finding; 0 also where something is missing that has another way around it."""
    quiet_vendors(arguments.verbose)
    from pipeline.cli.output import emit, say
    from pipeline.health import examine, prepare

    checks = examine()
    if arguments.prepare:
        checks += prepare(say)
    emit({"checks": checks}, _lines(checks, everything=arguments.verbose), arguments.json)
    return 0


def _lines(checks: Sequence["Check"], *, everything: bool) -> list[str]:
    """By area; Python packages that are as they should be share one line unless `everything` is wanted."""
    lines = []
    for area, found in groupby(checks, key=lambda check: check.area):
        lines += [area, *_area_lines(list(found), everything=everything)]
    missing = [check for check in checks if check.state == "missing"]
    return [*lines, _verdict(missing)]


def _area_lines(checks: list["Check"], *, everything: bool) -> Iterator[str]:
    fine = [check for check in checks if check.state == "works"]
    if checks[0].area == "python" and not everything:
        yield f"  works    {fine[0].name} {fine[0].detail} and {len(fine) - 1} packages as tested" if fine else ""
        checks = [check for check in checks if check not in fine]
    for check in checks:
        yield f"  {check.state:<8} {check.name:<{NAME_WIDTH}} {check.detail}"
        if check.remedy:
            yield f"  {'':<8} -> {check.remedy}"


def _verdict(missing: Sequence["Check"]) -> str:
    if not missing:
        return "everything that a deployment needs is here: python -m pipeline deploy --target pixel7-npu"
    return f"{len(missing)} missing: {', '.join(check.name for check in missing)}; each says above (->) what mends it"
