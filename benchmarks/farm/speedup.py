"""How much sooner six phones of three hosts are done than one: the same jobs, one after the other in one run.

The farm is that of tests/farm (real scheduler, hosts, emulated phones, leases and store, all on this machine); a job
measures the golden model eight times. Emulated phones compute on this machine's cores, so its cores bound the ratio:
real phones compute by themselves, and simulated ones (overhead.py) show what the farm itself leaves of sixty.

`python benchmarks/farm/speedup.py` writes results/speedup.json.
"""

import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[2]))

from device_profiler.files import write_atomic
from device_profiler.store import Store
from pipeline.farm.address import parse_address
from pipeline.farm.client import Farm
from pipeline.farm.jobs import NOTHING, Job
from tests.farm.site import Site

RESULTS = Path(__file__).parent / "results" / "speedup.json"
LIGHT = Path(__file__).parents[2] / "tests" / "farm" / "light"
JOBS = 6
CASES = ((1, 1), (3, 2))
"""(hosts, phones a host)."""


class Case(msgspec.Struct, frozen=True):
    """`wall_s`: from the first job sent to the last one's end. `samples_ns`: of every measurement, each value once."""

    hosts: int
    phones: int
    wall_s: float
    used: int
    samples_ns: tuple[tuple[int, ...], ...]


class Record(msgspec.Struct, frozen=True):
    """The result file, with what it was taken on."""

    provenance: str
    cores: int
    load_before: float
    python: str
    distributed: str
    jobs: int
    cases: tuple[Case, ...]
    speed_up: float


def run_case(hosts: int, phones: int) -> Case:
    """All jobs at once on a new farm."""
    with tempfile.TemporaryDirectory() as folder, Site(Path(folder), paths=(LIGHT,)) as site:
        _, address = site.scheduler()
        for number in range(hosts):
            site.add_phones(f"host{number}", phones)
            site.worker(f"host{number}", address).says("offering", times=phones)
        place = f"sqlite:///{folder}/lab.sqlite"
        jobs = [Job(f"job{number}", "golden", "pixel7-cpu", NOTHING, place) for number in range(JOBS)]
        with Farm(parse_address(address), None) as farm, ThreadPoolExecutor(JOBS) as pool:
            begun = time.monotonic()
            ends = list(pool.map(lambda job: farm.run(job, print), jobs))
            wall = time.monotonic() - begun
        assert all(end.outcome == "done" for end in ends), ends
        with Store(place) as store:
            samples = {kept.measurement.samples_ns for kept in store.find()}
        used = len({(end.host, end.phone) for end in ends})
        return Case(hosts, hosts * phones, wall, used, tuple(sorted(samples)))


def main() -> None:
    """One phone, then six."""
    load = os.getloadavg()[0]
    cases = []
    for hosts, phones in CASES:
        cases.append(run_case(hosts, phones))
        print(msgspec.json.encode(cases[-1]).decode(), flush=True)
    record = Record(
        "emulated phones on one machine", os.cpu_count() or 0, load, sys.version.split()[0],
        metadata.version("distributed"), JOBS, tuple(cases), cases[0].wall_s / cases[-1].wall_s,
    )
    write_atomic(RESULTS, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    print(f"{record.speed_up:.2f} times as soon")


if __name__ == "__main__":
    main()
