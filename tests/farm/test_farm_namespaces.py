"""Three hosts in network namespaces, cabled to a scheduler beyond loopback: with credentials, as it has to be."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.farm.site import Server, Site

HOSTS = ("alpha", "beta", "gamma")
OFFICE = "10.77.93.1"
LONG_S = 400.0


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _can_have_namespaces() -> bool:
    if os.geteuid() != 0 or not shutil.which("ip"):
        return False
    probe = f"mess-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True).returncode == 0
    return made and subprocess.run(["ip", "netns", "del", probe], capture_output=True).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not _can_have_namespaces(), reason="network namespaces want root and iproute2"),
]


@contextmanager
def cables(hosts: dict[str, str]) -> Iterator[None]:
    """A switch in this machine's namespace, at OFFICE, and a namespace with a cable to it for every host."""
    switch = f"mess{os.getpid()}"
    with ExitStack() as stack:
        _ip("link", "add", switch, "type", "bridge")
        stack.callback(_ip, "link", "del", switch)
        _ip("addr", "add", f"{OFFICE}/24", "dev", switch)
        _ip("link", "set", switch, "up")
        for number, space in enumerate(hosts.values()):
            _ip("netns", "add", space)
            stack.callback(_ip, "netns", "del", space)
            _ip("link", "add", plug(space), "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", plug(space), "master", switch, "up")
            for words in (("link", "set", "lo", "up"), ("addr", "add", address(number) + "/24", "dev", "eth0"),
                          ("link", "set", "eth0", "up")):
                _ip("-n", space, *words)
        yield


def plug(space: str) -> str:
    """The switch's end of a host's cable; names of links have 15 characters at most."""
    return "p" + space[-13:]


def address(number: int) -> str:
    return f"10.77.93.{11 + number}"


@dataclass
class Lab:
    """A scheduler at OFFICE and a worker in every namespace."""

    site: Site
    address: str
    hosts: dict[str, Server]

    def joined(self) -> set[str]:
        """Names of the hosts that the scheduler knows."""
        return {host["host"] for host in self.site.status(self.address)["hosts"]}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    spaces = {host: f"mess-{host}-{os.getpid()}" for host in HOSTS}
    with cables(spaces), Site(tmp_path, spaces=spaces) as site:
        made = site.pipeline("office", "farm", "credentials")
        assert made.returncode == 0, made.stderr
        scheduler, where = site.scheduler(listen=f"{OFFICE}:0")
        assert where.startswith(OFFICE) and "with credentials" in scheduler.log.read_text()
        hosts = {host: site.worker(host, where, "--listen", address(n)) for n, host in enumerate(HOSTS)}
        for host in hosts.values():
            host.says("joined")
        yield Lab(site, where, hosts)


def test_hosts_join_with_the_credential_and_nobody_without(lab: Lab) -> None:
    assert lab.joined() == set(HOSTS)
    elsewhere = lab.site.folder / "elsewhere"
    elsewhere.mkdir()
    with Site(elsewhere, spaces=lab.site.spaces) as stranger:
        bare = stranger.worker("alpha", lab.address, "--listen", address(0))
        code, told = bare.ended()
        assert code == 2 and "beyond this machine a farm wants credentials" in told
        assert stranger.pipeline("office", "farm", "credentials").returncode == 0
        code, told = stranger.worker("alpha", lab.address, "--listen", address(0)).ended()
        assert code == 2 and "turned the credentials of" in told
    for number, host in enumerate(HOSTS):
        pid = lab.hosts[host].process.pid
        told = subprocess.run(["ip", "netns", "exec", lab.site.spaces[host], "ss", "-Hltnp"], capture_output=True,
                              text=True, check=True).stdout
        mine = [line.split()[3].rsplit(":", 1)[0] for line in told.splitlines() if f"pid={pid}," in line]
        assert set(mine) == {"127.0.0.1", address(number)}, "what it was told to listen on, and its pages on loopback"


def test_a_host_whose_cable_is_cut_for_longer_than_the_farm_waits(lab: Lab) -> None:
    """The scheduler gives it up; with the cable back it joins again by itself."""
    _ip("link", "set", plug(lab.site.spaces["beta"]), "down")
    lab.site.wait_for(lab.address, lambda state: {one["host"] for one in state["hosts"]} == {"alpha", "gamma"},
                      "beta given up", LONG_S)
    _ip("link", "set", plug(lab.site.spaces["beta"]), "up")
    lab.hosts["beta"].says("joined", times=2, within_s=LONG_S)
    assert lab.joined() == set(HOSTS)
