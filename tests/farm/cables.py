"""Hosts as network namespaces, cabled to a switch in this machine's own: what a lab's network is, on one machine."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

OFFICE = "10.77.93.1"
"""Address of this machine's own namespace on the switch."""


def ip(*words: str) -> None:
    """A command of iproute2."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


def can_have_namespaces() -> bool:
    """Root, and iproute2."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        return False
    probe = f"mess-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True).returncode == 0
    return made and subprocess.run(["ip", "netns", "del", probe], capture_output=True).returncode == 0


@contextmanager
def cables(hosts: dict[str, str]) -> Iterator[None]:
    """A switch in this machine's namespace, at OFFICE, and a namespace with a cable to it for every host."""
    switch = f"mess{os.getpid()}"
    with ExitStack() as stack:
        ip("link", "add", switch, "type", "bridge")
        stack.callback(ip, "link", "del", switch)
        ip("addr", "add", f"{OFFICE}/24", "dev", switch)
        ip("link", "set", switch, "up")
        for number, space in enumerate(hosts.values()):
            ip("netns", "add", space)
            stack.callback(ip, "netns", "del", space)
            ip("link", "add", plug(space), "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", plug(space), "master", switch, "up")
            for words in (("link", "set", "lo", "up"), ("addr", "add", address(number) + "/24", "dev", "eth0"),
                          ("link", "set", "eth0", "up")):
                ip("-n", space, *words)
        yield


def plug(space: str) -> str:
    """The switch's end of a host's cable; names of links have 15 characters at most."""
    return "p" + space[-13:]


def address(number: int) -> str:
    """Of host `number` on the switch."""
    return f"10.77.93.{11 + number}"
