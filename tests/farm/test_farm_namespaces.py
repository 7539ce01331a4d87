"""Three hosts in network namespaces, cabled to a scheduler beyond loopback: with credentials, as it has to be."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.farm.cables import OFFICE, address, cables, can_have_namespaces, ip, plug
from tests.farm.site import Server, Site

HOSTS = ("alpha", "beta", "gamma")
LONG_S = 400.0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not can_have_namespaces(), reason="network namespaces want root and iproute2"),
]


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
    ip("link", "set", plug(lab.site.spaces["beta"]), "down")
    lab.site.wait_for(lab.address, lambda state: {one["host"] for one in state["hosts"]} == {"alpha", "gamma"},
                      "beta given up", LONG_S)
    ip("link", "set", plug(lab.site.spaces["beta"]), "up")
    lab.hosts["beta"].says("joined", times=2, within_s=LONG_S)
    assert lab.joined() == set(HOSTS)
