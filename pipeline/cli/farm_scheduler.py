"""`farm scheduler`: the one process of a farm that every host and every command joins."""

import argparse

from pipeline.cli.farm_place import add_credentials_argument, check_installed

HELP = "run a farm's scheduler until it is stopped; on loopback unless told otherwise"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to listen, and for whom."""
    parser.add_argument("--listen", default="127.0.0.1", metavar="HOST[:PORT]",
                        help="this host's address to listen on (default: 127.0.0.1, this machine alone; port 8786)")
    parser.add_argument("--pages", type=int, default=0, metavar="PORT",
                        help="of the status pages, always on 127.0.0.1 (default: any free one)")
    add_credentials_argument(parser)


def handle(arguments: argparse.Namespace) -> int:
    """Serve; says on stderr where."""
    from pipeline.farm.address import Address, parse_address
    from pipeline.farm.credentials import find_credentials

    listen = parse_address(arguments.listen)
    credentials = find_credentials(arguments.credentials, loopback=listen.loopback)
    check_installed()
    import asyncio

    from pipeline.cli.output import emit, say, warn
    from pipeline.farm.scheduler import serve_scheduler

    if credentials is None:
        warn("no credentials: whoever has an account on this machine can run programs as you through the farm; "
             "`farm credentials` makes some")
    at: list[Address] = []

    def ready(address: Address, pages: str) -> None:
        at.append(address)
        say(f"scheduler at {address} {'with' if credentials else 'without'} credentials; pages: {pages}")

    asyncio.run(serve_scheduler(listen, credentials, arguments.pages, ready))
    emit({"scheduler": str(at[0])}, [f"the scheduler at {at[0]} has ended"], arguments.json)
    return 0
