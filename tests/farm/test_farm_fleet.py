"""`deploy --fleet --farm`: every target on a phone of whichever host has one."""

import json

import pytest

from device_profiler import debian
from mobile_export.bundle import read_bundle
from tests.farm.site import NETWORK, Site

TARGETS = ("pixel7-cpu", "galaxy-s23-cpu", "pixel8-cpu")


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.skipif(not debian.available(), reason="Debian packages can't be fetched here")
def test_a_fleet_is_deployed_on_the_phones_of_a_farms_hosts(site: Site) -> None:
    _, address = site.scheduler()
    phones = {}
    for host, profile in (("alpha", "pixel7"), ("beta", "galaxy-s23")):
        [phones[host]] = site.add_phones(host, profile=profile)
        site.worker(host, address).says("offering")
    named = [word for target in TARGETS for word in ("--target", target)]
    done = site.pipeline("office", "deploy", "--fleet", *named, *NETWORK, "--json", "--farm", address)
    assert done.returncode == 2 and done.stdout, done.stderr[-3000:]
    index = json.loads(done.stdout)
    [failed] = index["failed"]
    assert failed["target"] == "pixel8-cpu"
    assert f"no host of the farm at {address} offers any Pixel 8" in failed["error"]
    assert [soc["default"] for soc in index["socs"]] == ["pixel7-cpu", "galaxy-s23-cpu"]
    run = site.folder / "runs" / "fleet"
    for target, host in zip(TARGETS, phones, strict=False):
        device = read_bundle(run / target / "deployment").manifest.latency.device
        assert device is not None and device.address == phones[host]
