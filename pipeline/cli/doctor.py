"""`doctor`: what works here, what is missing, and how to mend it."""

import argparse

from pipeline.cli.network import quiet_vendors

HELP = "what works on this machine, what is missing, and the command that mends it"


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
    lines = [
        f"{check.state:<8} {check.name:<24} {check.detail}"
        + (f"\n         -> {check.remedy}" if check.state == "missing" else "")
        for check in checks
    ]
    emit({"checks": [vars(check) for check in checks]}, lines, arguments.json)
    return 0
