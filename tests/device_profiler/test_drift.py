"""What system updates changed, out of the store."""

import json
from pathlib import Path

import msgspec
import pytest
from measurement_example import IDENTITY, ONE

from device_profiler.drift import find_drift, split_fingerprint
from device_profiler.measurement import Measurement
from device_profiler.store import Store
from pipeline.__main__ import run

PHONE, OLD, NEW = "google/panther/panther", "14/AP1A.240405/1:user/release-keys", "15/AP4A.250105/2:user/release-keys"


def taken(build: str, key: str, median_ns: float, *, unit: str = " unit:A", **fields: object) -> Measurement:
    identity = msgspec.structs.replace(IDENTITY, fingerprint=f"{PHONE}:{build}{unit}")
    given = {"key": key, "entry": key, "provenance": "measured", "identity": identity, "median_ns": median_ns,
             "low_ns": median_ns * 0.99, "high_ns": median_ns * 1.01}
    return msgspec.structs.replace(ONE, **{**given, **fields})


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def test_a_fingerprint_is_a_phone_and_a_build() -> None:
    assert split_fingerprint(f"{PHONE}:{OLD} unit:A") == (f"{PHONE} unit:A", OLD)
    assert split_fingerprint(f"{PHONE}:{OLD}") == (PHONE, OLD)
    assert split_fingerprint(f"{PHONE}:{OLD} emulated:pixel7-d1:3") == (f"{PHONE} emulated:pixel7-d1:3", OLD)
    assert split_fingerprint("unknown") == ("", "unknown")


def test_an_update_is_compared_part_by_part(place: Path) -> None:
    with Store(place) as store:
        store.add_all([taken(OLD, "a", 90.0), taken(OLD, "a", 100.0), taken(OLD, "b", 100.0), taken(OLD, "c", 100.0),
                       taken(OLD, "gone", 5.0)])
        store.add_all([taken(NEW, "a", 110.0), taken(NEW, "b", 101.0), taken(NEW, "c", 80.0), taken(NEW, "new", 7.0)])
        [drift] = find_drift(store)
    assert (drift.phone, drift.target, drift.before, drift.after) == (f"{PHONE} unit:A", "pixel7-cpu", OLD, NEW)
    assert {part.key: (round(part.change, 6), part.clear) for part in drift.parts} == {
        "a": (0.1, True), "b": (0.01, False), "c": (-0.2, True)}
    assert drift.median == pytest.approx(0.01)


@pytest.mark.parametrize(
    "other",
    [
        taken(NEW, "a", 110.0, unit=" unit:B"),
        taken(NEW, "a", 110.0, target="pixel7-npu"),
        taken(NEW, "a", 110.0, versions={"protocol": "2 x"}),
        taken(NEW, "a", 110.0, provenance="imported"),
        taken(NEW, "b", 110.0),
        taken(OLD, "a", 110.0),
    ],
    ids=["another unit", "another target", "another protocol", "another way of measuring", "another part", "no update"],
)
def test_what_is_not_compared(place: Path, other: Measurement) -> None:
    with Store(place) as store:
        store.add_all([taken(OLD, "a", 100.0), other])
        assert find_drift(store) == []


def test_predictions_know_nothing_of_updates(place: Path) -> None:
    with Store(place) as store:
        store.add_all([taken(build, "a", 100.0, provenance="predicted") for build in (OLD, NEW)])
        assert find_drift(store) == []


def test_the_command_tells_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(place) as store:
        store.add_all([taken(OLD, "a", 100.0), taken(OLD, "b", 100.0), taken(NEW, "a", 110.0), taken(NEW, "b", 100.0)])
    assert run(["devices", "drift", "--store", str(place)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"pixel7-cpu on {PHONE} unit:A: {OLD} -> {NEW}",
        "  2 parts: median +5.0%; 1 clearly slower, 0 clearly faster; most: a +10.0%",
    ]
    assert run(["devices", "drift", "--store", str(place), "--target", "pixel7-npu"]) == 0
    assert capsys.readouterr().out == "no phone was measured before and after a system update\n"
    assert run(["devices", "drift", "--store", str(place), "--json"]) == 0
    [drift] = json.loads(capsys.readouterr().out)["drifts"]
    assert (drift["before"], drift["after"], len(drift["parts"])) == (OLD, NEW, 2)
