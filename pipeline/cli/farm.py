"""`farm`: more machines than one. Each of its actions has options of its own: see the modules farm_*."""

import argparse

from device_profiler.errors import InputError

HELP = "more machines than one: a scheduler, workers that offer their phones, what is offered, credentials"
SCHEDULER, WORKER, STATUS, CREDENTIALS = "scheduler", "worker", "status", "credentials"
ACTIONS = (SCHEDULER, WORKER, STATUS, CREDENTIALS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`farm ACTION [options]`."""
    parser.add_argument("action", choices=ACTIONS, help="scheduler: the farm's one scheduler; worker: offer this "
                        "host's phones; status: what is offered; credentials: make them, once for the whole farm. "
                        "`farm ACTION --help` tells each one's options")


def handle(arguments: argparse.Namespace) -> int:
    """Reached only where the action does not come first."""
    raise InputError(f"the action comes first: `python -m pipeline farm {arguments.action}`, then its options")
