"""`farm status`: hosts, their phones, and what they are offered for."""

import argparse
from typing import TYPE_CHECKING

from pipeline.cli.farm_place import add_credentials_argument

if TYPE_CHECKING:
    from pipeline.farm.client import FarmState
    from pipeline.farm.host import HostState

HELP = "what a farm offers: hosts, their phones, and who is busy"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which farm."""
    parser.add_argument("--scheduler", default="127.0.0.1", metavar="HOST[:PORT]", help="default: this machine's")
    add_credentials_argument(parser)


def handle(arguments: argparse.Namespace) -> int:
    """A line a phone, by host; then the phones of every target."""
    from pipeline.cli.farm_place import open_farm
    from pipeline.cli.output import emit

    with open_farm(arguments.scheduler, arguments.credentials) as farm:
        state = farm.state()
    emit(state, _lines(state), arguments.json)
    return 0


def _lines(state: "FarmState") -> list[str]:
    lines = [line for host in state.hosts for line in _host(host)] or ["no host has joined: `farm worker --scheduler`"]
    offered = [f"{name}: {count}" for name, count in state.targets.items() if ":" not in name]
    return [*lines, f"phones by target: {', '.join(offered) or 'none'}", f"jobs with the farm: {state.jobs}"]


def _host(host: "HostState") -> list[str]:
    lines = [f"{host.host}  measurements: {host.store or 'its own store'}"]
    for offer in host.offers:
        use = "working" if offer.phone in host.busy else offer.why_not or "free"
        kind = "emulated " if offer.emulated else ""
        lines.append(f"  {offer.phone:<22} {kind}{offer.model or 'phone'}: {use}")
    return lines if host.offers else [*lines, "  no phone"]
