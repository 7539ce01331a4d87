"""A scheduler, hosts and commands as processes: who is let in, what is told, where they listen."""

import socket
from pathlib import Path
from typing import Any

import psutil
import pytest

from device_profiler import debian
from device_profiler.errors import DeviceError, InputError, PipelineError
from pipeline.__main__ import run
from pipeline.farm import client
from pipeline.farm.address import parse_address
from pipeline.farm.jobs import NOTHING, Job
from tests.farm.site import NETWORK, Server, Site

OTHER_VERSION = """
import sys
from pipeline.farm import scheduler
versions = scheduler.versions_here() | {"torch": "1.0"}
scheduler.versions_here = lambda: versions
from pipeline.__main__ import main
sys.exit(main())
"""


def listening(server: Server) -> list[str]:
    """Addresses on which a process listens."""
    connections = psutil.Process(server.process.pid).net_connections()
    return [one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN]


def refuses(error: type[PipelineError], told: str, *words: str) -> None:
    """A command in this process, where it can be seen which error it makes."""
    with pytest.raises(error) as raised:
        run(words)
    assert told in str(raised.value)


def credentials(site: Site, name: str) -> str:
    made = site.pipeline("office", "farm", "credentials", str(site.folder / name))
    assert made.returncode == 0, made.stderr
    return str(site.folder / name)


def test_who_lacks_the_credential_is_turned_away(site: Site) -> None:
    right, other = credentials(site, "right"), credentials(site, "other")
    scheduler, address = site.scheduler("--credentials", right)
    assert "with credentials" in scheduler.log.read_text()
    stranger = site.worker("stranger", address)
    wrong = site.worker("wrong", address, "--credentials", other)
    host = site.worker("alpha", address, "--credentials", right)
    code, told = stranger.ended()
    assert code == 2 and f"the farm at {address} wants credentials" in told
    code, told = wrong.ended()
    assert code == 2 and f"the farm at {address} turned the credentials of {other} away" in told
    host.says("joined")
    state = site.status(address, "--credentials", right)
    assert [one["host"] for one in state["hosts"]] == ["alpha"]
    refuses(InputError, f"the farm at {address} wants credentials", "farm", "status", "--scheduler", address)
    refuses(InputError, f"turned the credentials of {other} away", "farm", "status", "--scheduler", address,
            "--credentials", other)
    for server in (scheduler, host):
        assert listening(server) and set(listening(server)) == {"127.0.0.1"}
    _engine_refuses(address, right, other)


def _engine_refuses(address: str, right: str, other: str) -> None:
    """The engine itself, not our look at the door: by its own client."""
    from distributed import Client

    from pipeline.farm import engine
    from pipeline.farm.credentials import find_credentials

    def joined(scheme: str, folder: str | None) -> bool:
        found = find_credentials(Path(folder), loopback=True) if folder else None
        try:
            with Client(f"{scheme}://{address}", security=engine.security(found), timeout=3, set_as_default=False):
                return True
        except (OSError, TimeoutError):
            return False

    assert joined("tls", right)
    assert not joined("tls", other)
    assert not joined("tcp", None)


def test_a_farm_of_this_machine_alone(site: Site) -> None:
    """Without credentials: a warning; a host without phones is told; what it does not offer is listed."""
    scheduler, address = site.scheduler()
    assert "whoever has an account on this machine can run programs as you" in scheduler.log.read_text()
    made = credentials(site, "some")
    lost = site.worker("lost", address, "--credentials", made)
    host = site.worker("alpha", address)
    host.says(f"joined {address} as alpha")
    code, told = lost.ended()
    assert code == 2 and f"the farm at {address} runs without credentials, but {made} has some" in told
    refuses(InputError, "runs without credentials", "farm", "status", "--scheduler", address, "--credentials", made)
    told = site.pipeline("office", "farm", "status", "--scheduler", address).stdout
    assert told.splitlines() == ["alpha  measurements: its own store", "  no phone", "phones by target: none",
                                 "jobs with the farm: 0"]
    none = site.pipeline("office", "profile", "--target", "pixel7-cpu", "--farm", address, *NETWORK)
    assert none.returncode == 2 and none.stdout == ""
    assert none.stderr == (
        f"error: no host of the farm at {address} offers any Pixel 7 for pixel7-cpu; it offers no phone at all; attach "
        "one to a host, or choose one of these targets\n"
    )
    refuses(InputError, "offers any Pixel 7", "profile", "--target", "pixel7-cpu", "--farm", address)
    for server in (scheduler, host):
        assert listening(server) and set(listening(server)) == {"127.0.0.1"}


def test_a_farm_without_the_target_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last phone may go after the job was taken."""
    _, address = site.scheduler()
    monkeypatch.setattr(client, "PATIENCE_S", 1.0)
    with client.Farm(parse_address(address), None) as farm:
        told = f"no phone for pixel7-cpu is left in the farm at {address} since 1 s: see `farm status`"
        with pytest.raises(DeviceError, match=told):
            farm.run(Job("name", "profile", "pixel7-cpu", NOTHING), print)


def test_another_programs_scheduler_is_told() -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", processes=False, protocol="tcp") as cluster:
        address = cluster.scheduler_address.removeprefix("tcp://")
        refuses(InputError, f"what answers at {address} is no scheduler of this program", "farm", "status",
                "--scheduler", address)


def test_nobody_answers(site: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nobody answers
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for words in (("farm", "status", "--scheduler", address), ("farm", "worker", "--scheduler", address),
                      ("profile", "--target", "pixel7-cpu", "--farm", address)):
            done = site.pipeline("office", *words)
            assert done.returncode == 4 and done.stdout == "", done.stderr
            assert done.stderr.startswith(f"error: no farm answers at {address} (Connection refused): start one there")
            assert len(done.stderr.splitlines()) == 1
        refuses(DeviceError, f"no farm answers at {address}", "farm", "status", "--scheduler", address)


def test_an_address_that_is_taken(site: Site) -> None:
    _, address = site.scheduler()
    second = site.begin("office", "farm", "scheduler", "--listen", address)
    code, told = second.ended()
    assert code == 2 and f"can't listen on {address}" in told and "Traceback" not in told
    refuses(InputError, f"can't listen on {address}", "farm", "scheduler", "--listen", address)


def test_a_host_of_another_version_does_not_join(site: Site) -> None:
    other = site.begin("office", "farm", "scheduler", "--listen", "127.0.0.1:0", program=OTHER_VERSION)
    address = other.says("scheduler at ").split("scheduler at ")[1].split()[0]
    code, told = site.worker("alpha", address).ended()
    assert code == 2 and f"the scheduler at {address} runs another version: torch is 1.0 there" in told
    done = site.pipeline("office", "farm", "status", "--scheduler", address)
    assert done.returncode == 2 and "install the same on every host of the farm" in done.stderr


def offers(told: dict[str, Any]) -> dict[str, str]:
    """Why each phone of the first host is not offered, by its address."""
    return {offer["phone"]: offer["why_not"] for offer in told["hosts"][0]["offers"]}


@pytest.mark.skipif(not debian.available(), reason="Debian packages can't be fetched here")
def test_phones_come_and_go_with_their_state(site: Site) -> None:
    _, address = site.scheduler()
    first, second = site.add_phones("alpha", 2)
    site.worker("alpha", address).says("offering", times=2)
    state = site.status(address)
    assert state["targets"]["pixel7-cpu"] == 2 and state["targets"]["pixel7-npu"] == 2
    assert not any(name.endswith(":real") for name in state["targets"]), "emulated phones are nobody's silicon"
    asked = site.pipeline("office", "profile", "--target", "galaxy-s23-cpu", "--farm", address, *NETWORK)
    assert asked.returncode == 2
    assert "offers any Galaxy S23 for galaxy-s23-cpu; it offers pixel7-cpu (2)" in asked.stderr
    silicon = site.pipeline("office", "profile", "--target", "pixel7-cpu", "--require-device", "--farm", address)
    assert silicon.returncode == 2 and "offers a real Pixel 7 for pixel7-cpu" in silicon.stderr

    assert site.pipeline("alpha", "devices", "quarantine", first, "--reason", "it swells").returncode == 0
    # What a host tells and whom the scheduler counts change one after the other.
    aside = {first: "quarantined: it swells"}
    site.wait_for(address, lambda told: (told["targets"].get("pixel7-cpu"), offers(told)) == (1, {**aside, second: ""}),
                  "one phone left")
    site.remove_phone("alpha", second)
    site.wait_for(address, lambda told: (told["targets"], offers(told)) == ({}, aside), "no phone left")
