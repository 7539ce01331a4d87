"""Two hosts with a phone each and a shared PostgreSQL: `profile --farm` gives the single host's samples, once."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from device_profiler import debian
from device_profiler.store import Store
from tests.farm.site import NETWORK, Site
from tests.postgresql_server import NoServerError, running_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not debian.available(), reason="Debian packages can't be fetched here"),
]
PROFILE = ("profile", "--target", "pixel7-cpu", *NETWORK, "--json")


@pytest.fixture
def store() -> Iterator[str]:
    """URL of a database."""
    pytest.importorskip("psycopg", reason="the extra 'lab' is not installed")
    try:
        with running_server() as server:
            yield f"{server}/postgres"
    except NoServerError as error:
        pytest.skip(str(error))


def profiled(site: Site, host: str, *words: str) -> dict[str, Any]:
    done = site.pipeline(host, *PROFILE, "--run", str(site.folder / f"run-{len(words)}"), *words)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def samples(result: dict[str, Any]) -> dict[str, list[int]]:
    return {entry: part["samples_ns"] for entry, part in result["parts"].items()}


def test_the_farm_gives_the_single_hosts_samples(site: Site, store: str) -> None:
    [alone] = site.add_phones("single")
    single = profiled(site, "single", "--device", alone)
    _, address = site.scheduler()
    for host in ("alpha", "beta"):
        site.add_phones(host)
        site.worker(host, address).says("offering")
    first = profiled(site, "office", "--farm", address, "--store", store)
    assert samples(first) == samples(single)
    assert first["measured"] == single["measured"] > 0 and first["provenance"] == "emulated"
    latency = [json.loads(Path(result["latency"]).read_text()) for result in (single, first)]
    assert latency[0] == latency[1]
    again = profiled(site, "office", "--farm", address, "--store", store)
    assert again["measured"] == 0 and samples(again) == samples(single)
    with Store(store) as kept:
        found = [one.measurement for one in kept.find()]
    questions = Counter((one.key, one.identity.fingerprint, one.target, one.versions["protocol"]) for one in found)
    assert len(questions) == first["measured"] and set(questions.values()) == {1}
