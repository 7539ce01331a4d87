"""`farm worker`: offers this host's phones to a farm."""

import argparse
import socket

from device_profiler.errors import InputError
from pipeline.cli.farm_place import add_credentials_argument, check_installed
from pipeline.cli.store_place import add_store_argument

HELP = "offer this host's phones to a farm, until it is stopped"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which farm, which phones, which store."""
    parser.add_argument("--scheduler", required=True, metavar="HOST[:PORT]", help="the farm's scheduler")
    parser.add_argument("--listen", metavar="ADDRESS",
                        help="this host's address at which the scheduler reaches it (default: 127.0.0.1 where the "
                        "scheduler is on this machine; else it has to be told)")
    parser.add_argument("--device", action="append", default=[], metavar="SERIAL|HOST:PORT|adb-server:SERIAL",
                        help="offer this phone (repeatable; default: every one at hand)")
    parser.add_argument("--name", default=None, metavar="NAME", help="of this host in the farm (default: its hostname)")
    add_credentials_argument(parser)
    add_store_argument(parser)


def handle(arguments: argparse.Namespace) -> int:
    """Serve; says on stderr what is offered."""
    from pipeline.farm.address import LOOPBACK, parse_address
    from pipeline.farm.credentials import find_credentials

    scheduler = parse_address(arguments.scheduler)
    listen = arguments.listen or (LOOPBACK if scheduler.loopback else None)
    if listen is None:
        raise InputError(f"the scheduler {scheduler} is on another machine, and nothing listens beyond this one unless "
                         "told to: give this host's address at which it is reached (--listen)")
    credentials = find_credentials(arguments.credentials, loopback=scheduler.loopback)
    check_installed()
    import asyncio

    from pipeline.cli.output import emit, say
    from pipeline.farm.host import Host
    from pipeline.farm.unit import Joining

    name = arguments.name or socket.gethostname()
    joining = Joining(scheduler, listen, credentials, name, arguments.store)
    asyncio.run(Host(joining, tuple(arguments.device), say).serve())
    emit({"host": name}, [f"{name} has left the farm"], arguments.json)
    return 0
