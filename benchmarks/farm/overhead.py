"""What a farm costs beside measuring: overhead per job and memory, as the queue and the farm grow.

Scheduler, hosts and client are real processes on loopback; phones are simulated (simulated_host.py): a job is a timer.
The last case is 10,000 queued jobs over 60 phones. CPU seconds are the processes' own, wall seconds those of a machine
whose load average stands beside them.

`python benchmarks/farm/overhead.py [--quick]` writes results/overhead.json.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import msgspec
import psutil
from distributed import Future

from device_profiler.files import write_atomic
from pipeline.farm.address import parse_address
from pipeline.farm.client import Farm
from pipeline.farm.jobs import NOTHING, Job

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results" / "overhead.json"
TARGET = "pixel7-cpu"
PHONES_A_HOST = 10
JOB_S = 0.25
CASES = ((1_000, 10), (1_000, 30), (1_000, 60), (4_000, 60), (10_000, 60))
"""(jobs, phones)."""
AT_ONCE = 200
START_S = 120.0


class Case(msgspec.Struct, frozen=True):
    """One queue. `overhead_ms`: what a job takes of its phone beyond its own time, were the phones never idle.

    `*_cpu_ms`: CPU time of the process for each job. Memory is resident, in MB: of the scheduler before the queue, at
    its peak and after it; of one host with its phones, and of the client, at their peaks. `least`, `most`: jobs that a
    phone did.
    """

    jobs: int
    phones: int
    job_s: float
    submit_s: float
    wall_s: float
    ideal_s: float
    overhead_ms: float
    scheduler_cpu_ms: float
    host_cpu_ms: float
    client_cpu_ms: float
    scheduler_before_mb: float
    scheduler_peak_mb: float
    scheduler_after_mb: float
    host_peak_mb: float
    client_peak_mb: float
    least: int
    most: int
    load_average: float


class Record(msgspec.Struct, frozen=True):
    """The result file, with what it was taken on."""

    provenance: str
    cores: int
    python: str
    distributed: str
    phones_a_host: int
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Processes:
    """A farm that runs."""

    address: str
    scheduler: psutil.Process
    hosts: tuple[psutil.Process, ...]


@contextmanager
def farm(phones: int) -> Iterator[Processes]:
    """A scheduler, and hosts with `phones` simulated phones in all."""
    started: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            log = Path(folder) / "scheduler"
            words = [sys.executable, "-m", "pipeline", "farm", "scheduler", "--listen", "127.0.0.1:0"]
            started.append(_start(words, log))
            address = _said(log, "scheduler at ").split("scheduler at ")[1].split()[0]
            logs = []
            for number in range(phones // PHONES_A_HOST):
                words = [sys.executable, str(FOLDER / "simulated_host.py"), address, f"host{number}",
                         str(PHONES_A_HOST), str(JOB_S)]
                logs.append(Path(folder) / f"host{number}")
                started.append(_start(words, logs[-1]))
            for path in logs:
                _said(path, "offering", PHONES_A_HOST)
            processes = [psutil.Process(one.pid) for one in started]
            yield Processes(address, processes[0], tuple(processes[1:]))
        finally:
            for one in reversed(started):
                one.send_signal(signal.SIGTERM)
            for one in started:
                one.wait(timeout=60)


def _start(words: list[str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as stream:
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=stream, cwd=FOLDER.parents[1],
                                env={**os.environ, "PYTHONPATH": str(FOLDER.parents[1])})


def _said(log: Path, text: str, times: int = 1) -> str:
    deadline = time.monotonic() + START_S
    while (said := log.read_text()).count(text) < times:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{log.name} said: {said}")
        time.sleep(0.1)
    return said


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds of a process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def memory_mb(process: psutil.Process) -> float:
    """Resident memory of a process."""
    return float(process.memory_info().rss / 2**20)


def run_case(jobs: int, phones: int) -> Case:
    """Queue all jobs at once, wait for all of them."""
    client = psutil.Process()
    with farm(phones) as processes, Farm(parse_address(processes.address), None) as connected:
        scheduler, host = processes.scheduler, processes.hosts[0]
        before = [cpu_s(scheduler), sum(map(cpu_s, processes.hosts)), cpu_s(client)]
        memory, peaks = memory_mb(scheduler), [0.0, 0.0, 0.0]
        begun = time.monotonic()
        futures = _queue(connected, jobs)
        submitted = time.monotonic() - begun
        while any(not future.done() for future in futures):
            time.sleep(0.2)
            peaks = [max(pair) for pair in zip(peaks, map(memory_mb, (scheduler, host, client)), strict=True)]
        wall = time.monotonic() - begun
        done: dict[str, int] = {}
        for end in connected.ends(futures):
            done[end.phone] = done.get(end.phone, 0) + 1
        after = [cpu_s(scheduler), sum(map(cpu_s, processes.hosts)), cpu_s(client)]
        del futures
        time.sleep(3)
        of_scheduler, of_hosts, of_client = (
            1e3 * (end - start) / jobs for start, end in zip(before, after, strict=True)
        )
        return Case(
            jobs, phones, JOB_S, submitted, wall, jobs * JOB_S / phones, 1e3 * (wall * phones / jobs - JOB_S),
            of_scheduler, of_hosts, of_client, memory, peaks[0], memory_mb(scheduler), peaks[1], peaks[2],
            min(done.values()), max(done.values()), os.getloadavg()[0],
        )


def _queue(connected: Farm, jobs: int) -> list[Future]:
    """All jobs, as fast as the scheduler takes them: not all in one message, as no command sends them."""
    futures = []
    for number in range(jobs):
        futures.append(connected.send(Job(f"{number}", "timer", TARGET, NOTHING), 0))
        if number % AT_ONCE == 0:
            connected.state()
    return futures


def main() -> None:
    """Every case in turn; the result file is written after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the first case alone, nothing is written")
    quick = parser.parse_args().quick
    cases: list[Case] = []
    for jobs, phones in CASES[:1] if quick else CASES:
        cases.append(run_case(jobs, phones))
        print(msgspec.json.encode(cases[-1]).decode(), flush=True)
        record = Record("simulated phones, a timer in place of measuring", os.cpu_count() or 0,
                        sys.version.split()[0], metadata.version("distributed"), PHONES_A_HOST, tuple(cases))
        if not quick:
            write_atomic(RESULTS, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")


if __name__ == "__main__":
    main()
