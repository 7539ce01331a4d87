"""`deploy --farm` and `evaluate --farm`: the same result as on one host, and a phone that is lost on the way."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_profiler import debian
from pipeline.exit_statistics import ExitStatistics
from tests.farm.site import NETWORK, PRESET, Site

DEPLOY = ("deploy", "--target", "pixel7-cpu", *NETWORK, "--max-drop", "5pp", "--json")
needs_phones = pytest.mark.skipif(not debian.available(), reason="Debian packages can't be fetched here")


def deployed(site: Site, host: str, *words: str) -> dict[str, Any]:
    done = site.pipeline(host, *DEPLOY, "--run", str(site.folder / f"run-{host}"), *words)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def what_ships(result: dict[str, Any]) -> dict[str, Any]:
    """All of a manifest that is about the network and its figures: not when it was made, nor on which phone."""
    figures = {name: result["latency"][name] for name in ("expected", "worst", "paths")}
    return {"figures": figures, "sha256": result["artifact"]["sha256"],
            **{name: result[name] for name in ("stages", "accuracy", "classes", "input", "policy", "setting")}}


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
    assert what_ships(there) == what_ships(single)
    assert there["latency"]["device"]["address"] != alone
    again = deployed(site, "office", "--farm", address)
    assert {"training", "evaluation", "profiling", "export", "whole latency", "phone check"} <= {
        one["stage"] for one in again["reused"]}
    assert what_ships(again) == what_ships(single)


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


def test_two_hosts_evaluate_as_one(site: Site) -> None:
    """Five chunks of images, which either host may do."""
    (site.folder / "wide.toml").write_text(PRESET.replace("test = 8", "test = 150"))
    network = ("--preset", "wide.toml", "--size", "64x64")
    trained = site.pipeline("office", "train", *network, "--run", str(site.folder / "trained"))
    assert trained.returncode == 0, trained.stderr
    words = ("evaluate", *network, "--checkpoint", str(site.folder / "trained" / "checkpoint"), "--split", "test")
    here, there = site.folder / "here", site.folder / "there"
    alone = site.pipeline("single", *words, "--json", "--run", str(here))
    assert alone.returncode == 0, alone.stderr
    address = farm_of(site, ["alpha", "beta"], 0)
    farmed = site.pipeline("office", *words, "--json", "--run", str(there), "--farm", address)
    assert farmed.returncode == 0, farmed.stderr
    assert json.loads(farmed.stdout) == json.loads(alone.stdout)
    one, other = (ExitStatistics.load(Path(run, "statistics.npz")) for run in (here, there))
    for name in ("confidence", "intersection", "union"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert (one.images, one.heads) == (other.images, other.heads)
