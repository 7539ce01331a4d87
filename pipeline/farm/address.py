"""Addresses of a farm: HOST:PORT, and whether others than this machine reach them."""

import ipaddress
import re

import msgspec

from device_profiler.errors import InputError

DEFAULT_PORT = 8786
LOOPBACK = "127.0.0.1"


class Address(msgspec.Struct, frozen=True):
    """Where a scheduler listens. Port 0: any free one."""

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host)


def parse_address(text: str) -> Address:
    """'HOST' or 'HOST:PORT'.

    Raises:
        InputError: it is neither.
    """
    match = re.fullmatch(r"(?P<host>[A-Za-z0-9._-]+)(:(?P<port>\d{1,5}))?", text)
    if not match or int(match["port"] or 0) > 65535:
        raise InputError(f"{text!r} is no address of a farm: write HOST or HOST:PORT, as in lab.example:{DEFAULT_PORT}")
    return Address(match["host"], DEFAULT_PORT if match["port"] is None else int(match["port"]))


def is_loopback(host: str) -> bool:
    """Names other than localhost are taken for other machines' without asking anybody."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
