"""`--farm` and `--credentials`: which farm a command runs on; shared by every verb that can."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from device_profiler.errors import InputError

if TYPE_CHECKING:
    from pipeline.farm.client import Farm


def add_credentials_argument(parser: argparse._ActionsContainer) -> None:
    """`--credentials FOLDER`."""
    parser.add_argument("--credentials", type=Path, metavar="FOLDER",
                        help="the farm's, made by `farm credentials` (default: the user's, if there are some; a farm "
                        "on this machine alone needs none)")


def add_farm_arguments(
    parser: argparse.ArgumentParser, what: str = "measure on a phone of the farm with this scheduler"
) -> None:
    """`--farm ADDRESS`: the phones, or the hosts, are those of a farm; `what` they do."""
    group = parser.add_argument_group("farm")
    group.add_argument("--farm", metavar="HOST[:PORT]", help=what)
    add_credentials_argument(group)


def refuse_local_choices(arguments: argparse.Namespace, *names: str) -> None:
    """Raises InputError for options, by destination, that choose something of this machine."""
    for name in names:
        if getattr(arguments, name, None) not in (None, False, "auto"):
            raise InputError(f"--{name.replace('_', '-')} is about this machine, --farm about others: leave one out")


def farm_store(store: str | None) -> str | None:
    """The store that every host is told of.

    Raises:
        InputError: it is a file of this machine.
    """
    if store is not None and "://" not in store:
        raise InputError(f"--store {store} is a file of this machine: with --farm give a database that every host "
                         "reaches (postgresql://USER@HOST/DATABASE), or leave it out: workers have their own --store")
    return store


def open_farm(address: str, credentials: Path | None) -> Farm:
    """Join a farm as a client.

    Raises:
        InputError: the address is none, the extra is not installed, or as `Farm`.
        DeviceError: nobody answers there.
    """
    from pipeline.farm.address import parse_address
    from pipeline.farm.credentials import find_credentials

    where = parse_address(address)
    found = find_credentials(credentials, loopback=where.loopback)
    check_installed()
    from pipeline.farm.client import Farm

    return Farm(where, found)


def check_installed() -> None:
    """Raises InputError where the engine is not installed."""
    from importlib.util import find_spec

    if find_spec("distributed") is None:
        raise InputError("a farm wants the Python package distributed: pip install 'mess-deploy[farm]'")
