"""A job's host is killed, frozen, its phone pulled, the scheduler killed: the job ends elsewhere and is written once.

The job measures the golden model (light/sitecustomize.py); all the rest is the farm's own, with real emulated phones.
"""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from device_profiler import debian
from device_profiler.store import Store
from pipeline.farm.address import parse_address
from pipeline.farm.client import Farm
from pipeline.farm.jobs import NOTHING, Job, JobEnd
from tests.farm.site import Server, Site

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not debian.available(), reason="Debian packages can't be fetched here"),
]
HOSTS = ("alpha", "beta")
ROUNDS = 8
LONG_S = 400.0


@dataclass
class Lab:
    """Two hosts with a phone each, and one store."""

    site: Site
    scheduler: Server
    address: str
    phones: dict[str, str]
    hosts: dict[str, Server]
    store: str
    notes: list[str] = field(default_factory=list)
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2))

    def send(self, name: str) -> "Future[JobEnd]":
        """A command that runs a job, beside the test."""
        def run() -> JobEnd:
            with Farm(parse_address(self.address), None) as farm:
                return farm.run(Job(name, "golden", "pixel7-cpu", NOTHING, self.store), self.notes.append)

        return self.pool.submit(run)

    def working(self) -> str:
        """The host whose phone is worked on, by a process of the job's own."""
        def at_work(host: str) -> bool:
            return bool(_jobs(self.hosts[host]))

        for _ in range(int(LONG_S / 0.2)):
            if busy := [host for host in self.hosts if at_work(host)]:
                return busy[0]
            threading.Event().wait(0.2)
        raise AssertionError(f"no host works: {self.site.status(self.address)}")

    def written(self, name: str) -> list[str]:
        """Keys of the job's measurements, as often as they are in the store."""
        with Store(self.store) as store:
            return sorted(one.measurement.key for one in store.find() if one.measurement.key.startswith(f"{name}-"))


def _jobs(host: Server) -> list[psutil.Process]:
    children = psutil.Process(host.process.pid).children(recursive=True)
    return [one for one in children if "multiprocessing.spawn" in " ".join(_words(one))]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def once(name: str) -> list[str]:
    """What a job writes, once."""
    return [f"{name}-{number}" for number in range(ROUNDS)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("moves")
    with Site(folder, paths=(Path(__file__).parent / "light",)) as site:
        scheduler, address = site.scheduler()
        phones = {host: site.add_phones(host)[0] for host in HOSTS}
        hosts = {host: site.worker(host, address) for host in HOSTS}
        for host in hosts.values():
            host.says("offering")
        yield Lab(site, scheduler, address, phones, hosts, f"sqlite:///{folder}/lab.sqlite")


def test_a_host_killed_at_work(lab: Lab) -> None:
    """The job begins again on the other host; what the dead one had running ends; its phone is free at once."""
    command = lab.send("killed")
    host = lab.working()
    jobs = _jobs(lab.hosts[host])
    lab.hosts[host].signal(signal.SIGKILL)
    lab.hosts.pop(host).process.wait()
    end = command.result(LONG_S)
    assert (end.outcome, end.host) == ("done", next(iter(lab.hosts))), end
    assert lab.written("killed") == once("killed")
    assert psutil.wait_procs(jobs, timeout=30)[1] == []
    lab.hosts[host] = lab.site.worker(host, lab.address)
    lab.hosts[host].says("offering")


def test_a_phone_pulled_at_work(lab: Lab) -> None:
    """The job moves to the other host's phone; the host notices, and offers the phone that takes its place."""
    command = lab.send("pulled")
    host = lab.working()
    lab.site.remove_phone(host, lab.phones[host])
    end = command.result(LONG_S)
    assert end.outcome == "done" and end.phone != lab.phones[host], end
    assert lab.notes and "trying again" in lab.notes[-1]
    assert lab.written("pulled") == once("pulled")
    lab.hosts[host].says("no longer offering")
    [lab.phones[host]] = lab.site.add_phones(host)
    lab.hosts[host].says(f"offering {lab.phones[host]}")


def test_a_host_frozen_at_work_comes_back_late(lab: Lab) -> None:
    """Longer than the farm waits: another host gives the answer, and the store takes nothing from the late one."""
    command = lab.send("frozen")
    host = lab.working()
    frozen = [psutil.Process(lab.hosts[host].process.pid), *_jobs(lab.hosts[host])]
    assert len(frozen) > 1
    joined = lab.hosts[host].log.read_text().count("joined")
    for one in frozen:
        one.suspend()
    end = command.result(LONG_S)
    assert end.outcome == "done" and end.host != host, end
    assert lab.written("frozen") == once("frozen")
    for one in reversed(frozen):
        one.resume()
    psutil.wait_procs(frozen[1:], timeout=LONG_S)
    lab.hosts[host].says("joined", times=joined + 1, within_s=LONG_S)
    assert lab.written("frozen") == once("frozen")


def test_the_scheduler_killed_and_started_again(lab: Lab) -> None:
    """Hosts join it again, the command sends its job again, and it is written once."""
    joined = {host: server.log.read_text().count("joined") for host, server in lab.hosts.items()}
    command = lab.send("restarted")
    lab.working()
    lab.scheduler.signal(signal.SIGKILL)
    lab.scheduler.process.wait()
    lab.scheduler, address = lab.site.scheduler(listen=lab.address)
    assert address == lab.address
    end = command.result(LONG_S)
    assert end.outcome == "done", end
    assert lab.written("restarted") == once("restarted")
    assert any("joining it again" in note for note in lab.notes)
    for host, server in lab.hosts.items():
        server.says("joined", times=joined[host] + 1)
