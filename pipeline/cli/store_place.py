"""`--store`: which database holds the measurements; shared by every verb that reads or writes them."""

import argparse
import re

PASSWORD = re.compile(r"^[^/]+://[^/@:]*:[^/@]+@")


def add_store_argument(parser: argparse._ActionsContainer) -> None:
    """`--store FILE|URL`; configuration files may hold it as `store`."""
    parser.add_argument("--store", type=parse_place, metavar="FILE|URL",
                        help="measurements: an SQLite file or postgresql://USER@HOST/DATABASE (default: MESS_STORE in "
                             "the environment, else a file in the cache)")


def parse_place(text: str) -> str:
    """A file or URL as typed; a password in it is refused, for options are written into run folders."""
    if PASSWORD.match(text):
        raise argparse.ArgumentTypeError("a store's URL carries no password, for options are written to config.toml: "
                                         "put it into ~/.pgpass, or the whole URL into MESS_STORE")
    return text
