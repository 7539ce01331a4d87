"""`farm credentials`: a certificate and its key for a whole farm."""

import argparse
from pathlib import Path

HELP = "make the credentials of a farm: to be copied to every host"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to."""
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help="default: where they are looked for")


def handle(arguments: argparse.Namespace) -> int:
    """Make them, and say what to do with them."""
    from pipeline.cli.farm_place import check_installed
    from pipeline.cli.output import emit

    check_installed()
    from pipeline.farm.credentials import VALID_DAYS, default_folder, make_credentials

    folder = arguments.folder or default_folder()
    made = make_credentials(folder)
    emit({"certificate": str(made.certificate), "key": str(made.key), "days": VALID_DAYS},
         [f"credentials for {VALID_DAYS} days: {folder}",
          f"copy the folder to every host, to {default_folder()} or where --credentials names it, over a safe way: "
          "whoever has the key may run programs on every host of the farm"], arguments.json)
    return 0
