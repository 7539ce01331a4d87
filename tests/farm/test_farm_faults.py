"""Two hosts with a phone each, a shared PostgreSQL: hosts killed, cut off, phones pulled, the scheduler gone.

Whatever happens, the command ends with the single host's figures, and nothing is in the store twice.
"""

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psutil
import pytest

from device_profiler import debian
from device_profiler.errors import DeviceError
from device_profiler.store import Store
from device_profiler.transport import connect
from pipeline.farm.engine import SILENT_HOST_S
from tests.farm.site import NETWORK, Server, Site
from tests.postgresql_server import NoServerError, running_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not debian.available(), reason="Debian packages can't be fetched here"),
]
HOSTS = ("alpha", "beta")
RUNNING = "ls /data/local/tmp/mess-deploy/runs 2>/dev/null; ps -A -o NAME"
LONG_S = 400.0


@dataclass
class Farm:
    """The farm of these tests. `single`: what one host measured alone."""

    site: Site
    scheduler: Server
    address: str
    phones: dict[str, str]
    hosts: dict[str, Server]
    store: str
    single: dict[str, Any]

    def profile(self, size: str = "64x64") -> Server:
        """`profile --farm`, going on beside the test."""
        words = ("profile", "--target", "pixel7-cpu", *NETWORK[:-3], size, *NETWORK[-2:])
        run = str(self.site.folder / f"run-{uuid4().hex[:6]}")
        return self.site.begin("office", *words, "--farm", self.address, "--store", self.store, "--run", run, "--json",
                               name="profile")

    def result(self, command: Server) -> dict[str, Any]:
        """What it gave in the end."""
        code, told = command.ended(LONG_S)
        assert code == 0, told
        result: dict[str, Any] = json.loads(command.log.with_suffix(".out").read_text())
        return result

    def busy_host(self) -> str:
        """The host whose phone is being worked on: its runner runs there, mid-measurement."""
        deadline = time.monotonic() + LONG_S
        while time.monotonic() < deadline:
            for host, phone in self.phones.items():
                if host in self.hosts and _is_measuring(phone):
                    return host
        raise AssertionError(f"no phone is worked on: {self.site.status(self.address)}")

    def written_once(self) -> None:
        """Every question has one answer in the store."""
        with Store(self.store) as store:
            kept = [one.measurement for one in store.find()]
        questions = Counter((one.key, one.identity.fingerprint, one.target, one.versions["protocol"]) for one in kept)
        assert kept and set(questions.values()) == {1}, questions


def _is_measuring(phone: str) -> bool:
    try:
        with connect(phone) as transport:
            return "runner" in transport.shell("ps -A -o NAME").output
    except DeviceError:
        return False


def samples(result: dict[str, Any]) -> dict[str, list[int]]:
    return {entry: part["samples_ns"] for entry, part in result["parts"].items()}


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    pytest.importorskip("psycopg", reason="the extra 'lab' is not installed")
    try:
        with running_server() as server, Site(tmp_path_factory.mktemp("farm")) as site:
            yield _farm(site, f"{server}/postgres")
    except NoServerError as error:
        pytest.skip(str(error))


def _farm(site: Site, store: str) -> Farm:
    scheduler, address = site.scheduler()
    phones = {host: site.add_phones(host)[0] for host in HOSTS}
    [alone] = site.add_phones("single")
    done = site.pipeline("single", "profile", "--target", "pixel7-cpu", *NETWORK, "--device", alone, "--json")
    assert done.returncode == 0, done.stderr
    hosts = {host: site.worker(host, address) for host in HOSTS}
    for host in hosts.values():
        host.says("offering")
    return Farm(site, scheduler, address, phones, hosts, store, json.loads(done.stdout))


def test_the_farm_gives_the_single_hosts_samples(farm: Farm) -> None:
    first = farm.result(farm.profile())
    assert samples(first) == samples(farm.single)
    assert first["measured"] == farm.single["measured"] > 0 and first["provenance"] == "emulated"
    again = farm.result(farm.profile())
    assert again["measured"] == 0 and samples(again) == samples(farm.single)
    farm.written_once()


def test_a_host_killed_while_it_measures(farm: Farm) -> None:
    """Its work is done elsewhere; what it worked with ends with it; its phone is free again at once."""
    command = farm.profile("96x64")
    host = farm.busy_host()
    worker = farm.hosts.pop(host)
    children = psutil.Process(worker.process.pid).children(recursive=True)
    assert children
    worker.signal(signal.SIGKILL)
    result = farm.result(command)
    assert result["measured"] == len({part["key"] for part in result["parts"].values()})
    farm.written_once()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not [one for one in alive if "multiprocessing.spawn" in " ".join(one.cmdline())]
    farm.hosts[host] = farm.site.worker(host, farm.address)
    farm.hosts[host].says("offering")


def test_a_phone_pulled_while_it_measures(farm: Farm) -> None:
    """Its work moves to the other host's phone."""
    command = farm.profile("64x96")
    host = farm.busy_host()
    farm.site.remove_phone(host, farm.phones[host])
    result = farm.result(command)
    assert result["measured"] > 0 and "infrastructure fault" in command.log.read_text()
    farm.written_once()
    farm.hosts[host].says("no longer offering")
    [farm.phones[host]] = farm.site.add_phones(host)
    farm.hosts[host].says(f"offering {farm.phones[host]}")


def test_the_scheduler_killed_and_started_again(farm: Farm) -> None:
    command = farm.profile("96x96")
    farm.busy_host()
    farm.scheduler.signal(signal.SIGKILL)
    farm.scheduler.process.wait()
    farm.scheduler, address = farm.site.scheduler(listen=farm.address)
    assert address == farm.address
    result = farm.result(command)
    assert result["parts"] and "the scheduler at" in command.log.read_text()
    farm.written_once()
    for host in farm.hosts.values():
        host.says(f"joined {address}", times=2)


def test_a_host_cut_off_for_longer_than_the_farm_waits(farm: Farm) -> None:
    """It comes back with its measurement after another host gave the answer: the store takes nothing from it."""
    command = farm.profile("128x64")
    host = farm.busy_host()
    frozen = _freeze(farm.hosts[host])
    result = farm.result(command)
    assert result["measured"] > 0 and frozen
    before = _rows(farm.store)
    _thaw(frozen)
    farm.hosts[host].says("offering", times=2, within_s=LONG_S)
    assert _rows(farm.store) == before
    farm.written_once()
    assert SILENT_HOST_S <= 60


def _freeze(host: Server) -> list[psutil.Process]:
    """Stop a host with all that works for it: to the others it is a host that nobody reaches."""
    process = psutil.Process(host.process.pid)
    frozen = [process, *process.children(recursive=True)]
    for one in frozen:
        one.suspend()
    return frozen


def _thaw(frozen: list[psutil.Process]) -> None:
    for one in reversed(frozen):
        one.resume()


def _rows(store: str) -> int:
    with Store(store) as opened:
        return len(list(opened.find()))
