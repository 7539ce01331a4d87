"""`deploy --farm` and `evaluate --farm`: the same result as on one host, and a phone that is lost on the way."""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from device_profiler import debian
from pipeline.exit_statistics import ExitStatistics
from tests.farm.site import NETWORK, PRESET, Site

DEPLOY = ("deploy", "--target", "pixel7-cpu", *NETWORK, "--max-drop", "5pp", "--json")
CLOCK_NS = 2
"""The virtual clock's readings are rounded to nanoseconds."""
COUNTED = ("confidence", "intersection", "union")
needs_phones = pytest.mark.skipif(not debian.available(), reason="Debian packages can't be fetched here")


@dataclass(frozen=True)
class Evaluation:
    """The words of an evaluation, and what a host alone finds."""

    words: tuple[str, ...]
    report: dict[str, Any]
    found: ExitStatistics

    def equals(self, other: ExitStatistics) -> bool:
        """Bit for bit."""
        same = [np.array_equal(getattr(self.found, name), getattr(other, name)) for name in COUNTED]
        return all(same) and (self.found.images, self.found.heads) == (other.images, other.heads)


def statistics(site: Site, run: str) -> ExitStatistics:
    return ExitStatistics.load(site.folder / run / "statistics.npz")


def deployed(site: Site, host: str, *words: str) -> dict[str, Any]:
    done = site.pipeline(host, *DEPLOY, "--run", str(site.folder / f"run-{host}"), *words)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def same_deployment(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """All of a manifest but when it was made and on which phone; times to CLOCK_NS."""
    left_out = {"created", "warnings", "device", "run", "reused"}
    return _same({key: value for key, value in one.items() if key not in left_out},
                 {key: value for key, value in other.items() if key not in left_out})


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one if key != "device")
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(abs(one - other) <= CLOCK_NS) if isinstance(one, (int, float)) and one > 1e3 else bool(one == other)


def farm_of(site: Site, hosts: Sequence[str], phones: int) -> str:
    """Address of a farm whose hosts have so many phones each."""
    _, address = site.scheduler()
    for host in hosts:
        if phones:
            site.add_phones(host, phones)
        site.worker(host, address).says("offering" if phones else "joined", times=max(1, phones))
    return address


@pytest.mark.slow
@pytest.mark.timeout(2400)
@needs_phones
def test_a_farms_phone_gives_the_single_hosts_deployment(site: Site) -> None:
    [alone] = site.add_phones("single")
    single = deployed(site, "single", "--device", alone)
    address = farm_of(site, ["alpha"], 1)
    there = deployed(site, "office", "--farm", address)
    assert same_deployment(there, single)
    assert there["latency"]["device"]["address"] != alone
    again = deployed(site, "office", "--farm", address)
    assert {"training", "evaluation", "profiling", "export", "whole latency", "phone check"} <= {
        one["stage"] for one in again["reused"]}
    assert same_deployment(again, single)


@pytest.mark.slow
@pytest.mark.timeout(2400)
@needs_phones
def test_a_phone_that_is_pulled_during_a_deployment(site: Site) -> None:
    address = farm_of(site, ["alpha", "beta"], 1)
    run = site.folder / "run-pulled"
    command = site.begin("office", *DEPLOY, "--run", str(run), "--farm", address)
    phone, host = command.says("working on ").split("working on ")[1].split()[::2][:2]
    site.remove_phone(host, phone)
    code, said = command.ended(within_s=900)
    assert code == 0, said
    assert "going on with another phone of the farm" in said
    manifest = json.loads((run / "deployment" / "manifest.json").read_text())
    assert manifest["latency"]["device"]["address"] != phone


@pytest.fixture
def evaluation(site: Site) -> Evaluation:
    """Of a trained network, on ten chunks of images, which either host may do."""
    (site.folder / "wide.toml").write_text(PRESET.replace("test = 8", "test = 310"))
    network = ("--preset", "wide.toml", "--size", "64x64")
    trained = site.pipeline("office", "train", *network, "--run", str(site.folder / "trained"))
    assert trained.returncode == 0, trained.stderr
    words = ("evaluate", *network, "--checkpoint", str(site.folder / "trained" / "checkpoint"), "--split", "test")
    alone = site.pipeline("single", *words, "--json", "--run", str(site.folder / "here"))
    assert alone.returncode == 0, alone.stderr
    return Evaluation(words, json.loads(alone.stdout), statistics(site, "here"))


def test_two_hosts_evaluate_as_one_and_one_goes_on_when_the_other_is_killed(site: Site, evaluation: Evaluation) -> None:
    _, address = site.scheduler()
    hosts = [site.worker(name, address) for name in ("alpha", "beta")]
    for host in hosts:
        host.says("joined")
    there = site.folder / "there"
    command = site.begin("office", *evaluation.words, "--json", "--run", str(there), "--farm", address)
    for host in hosts:
        host.says("evaluating the network")
    hosts[0].signal(signal.SIGKILL)
    code, said = command.ended(within_s=300)
    assert code == 0, said
    assert json.loads(command.log.with_suffix(".out").read_text()) == evaluation.report
    assert evaluation.equals(statistics(site, "there"))


def test_a_launchers_two_processes_evaluate_as_one(site: Site, evaluation: Evaluation) -> None:
    """`torchrun` on loopback: one result is printed, and a second time nothing is computed."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, "-m", "--", "pipeline", *evaluation.words, "--json", "--run", str(site.folder / "launched")]
    for told in ("evaluating every exit and head", "reused statistics of the test split"):
        done = subprocess.run(command, cwd=site.folder, env=site.environment("launched"), text=True,
                              capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == evaluation.report
        assert done.stderr.count(told) <= 1
    assert told in done.stderr
    assert evaluation.equals(statistics(site, "launched"))
