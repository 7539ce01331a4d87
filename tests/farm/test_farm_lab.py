"""A whole lab: three hosts on cables of their own with two phones each, scheduler and PostgreSQL on a fourth."""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from device_profiler import debian
from device_profiler.store import Store
from pipeline.farm.address import parse_address
from pipeline.farm.client import Farm
from pipeline.farm.credentials import find_credentials
from pipeline.farm.jobs import NOTHING, Job, JobEnd
from tests.farm.cables import OFFICE, address, cables, can_have_namespaces
from tests.farm.site import NETWORK, Site
from tests.postgresql_server import NoServerError, Server, server

HOSTS = ("alpha", "beta", "gamma")
PHONES = 2
JOBS = 12
ROUNDS = 8
LONG_S = 900.0
CLOCK_NS = 2
"""The virtual clock's readings are rounded to nanoseconds."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not can_have_namespaces(), reason="network namespaces want root and iproute2"),
    pytest.mark.skipif(not debian.available(), reason="Debian packages can't be fetched here"),
]


@dataclass
class Lab:
    """What the tests work in."""

    site: Site
    scheduler: str
    database: Server

    @property
    def store(self) -> str:
        """URL for every host."""
        return f"{self.database.url}/postgres"

    def measure(self, names: list[str]) -> "list[Future[JobEnd]]":
        """Begin jobs that measure the golden model ROUNDS times each (light/sitecustomize.py)."""
        where = parse_address(self.scheduler)
        farm = Farm(where, find_credentials(None, loopback=where.loopback))
        pool = ThreadPoolExecutor(len(names))
        return [pool.submit(farm.run, Job(name, "golden", "pixel7-cpu", NOTHING, self.store), print) for name in names]

    def samples(self) -> dict[str, list[tuple[int, ...]]]:
        """Of every job's measurements in the store, by the job's name."""
        found: dict[str, list[tuple[int, ...]]] = {}
        with Store(self.store) as store:
            for kept in store.find():
                found.setdefault(kept.measurement.key.rpartition("-")[0], []).append(kept.measurement.samples_ns)
        return found


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    pytest.importorskip("psycopg", reason="the extra 'lab' is not installed")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    spaces = {host: f"mess-{host}-{os.getpid()}" for host in HOSTS}
    light = Path(__file__).parent / "light"
    try:
        with cables(spaces), server(OFFICE) as database, Site(tmp_path, spaces=spaces, paths=(light,)) as site:
            assert site.pipeline("office", "farm", "credentials").returncode == 0
            _, where = site.scheduler(listen=f"{OFFICE}:0")
            for number, host in enumerate(HOSTS):
                site.add_phones(host, PHONES)
                site.worker(host, where, "--listen", address(number)).says("offering", times=PHONES)
            yield Lab(site, where, database)
    except NoServerError as error:
        pytest.skip(str(error))


def test_six_phones_give_one_phones_samples(lab: Lab) -> None:
    """Of a network's parts, while other jobs keep all phones busy; each measurement is in the store once."""
    ends = lab.measure([f"job{number}" for number in range(JOBS)])
    profile = ("profile", "--target", "pixel7-cpu", *NETWORK, "--json")
    there = lab.site.pipeline("office", *profile, "--farm", lab.scheduler, "--store", lab.store, "--run", "there")
    assert there.returncode == 0, there.stderr
    done = [end.result(LONG_S) for end in ends]
    assert {end.outcome for end in done} == {"done"}
    assert {end.host for end in done} == set(HOSTS)
    assert len({(end.host, end.phone) for end in done}) == len(HOSTS) * PHONES
    [alone] = lab.site.add_phones("single")
    here = lab.site.pipeline("single", *profile, "--device", alone, "--run", "here")
    assert here.returncode == 0, here.stderr
    ours, theirs = samples_of(there.stdout), samples_of(here.stdout)
    assert ours.keys() == theirs.keys()
    assert all(abs(one - other) <= CLOCK_NS for key in ours for one, other in zip(ours[key], theirs[key], strict=True))
    kept = lab.samples()
    jobs = [kept[f"job{number}"] for number in range(JOBS)]
    assert all(len(one) == ROUNDS for one in jobs), "once each"
    for samples in zip(*(samples for one in jobs for samples in one), strict=True):
        assert max(samples) - min(samples) <= CLOCK_NS, "every phone gives the same"


def test_the_database_is_started_again_while_phones_measure(lab: Lab) -> None:
    ends = lab.measure([f"job{number}" for number in range(JOBS)])
    while not lab.samples():
        time.sleep(0.5)
    lab.database.stop()
    time.sleep(5)
    lab.database.start()
    assert {end.result(LONG_S).outcome for end in ends} == {"done"}
    assert {name: len(one) for name, one in lab.samples().items()} == {f"job{n}": ROUNDS for n in range(JOBS)}


def samples_of(stdout: str) -> dict[str, list[int]]:
    return {entry: part["samples_ns"] for entry, part in json.loads(stdout)["parts"].items()}
