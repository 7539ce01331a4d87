"""How far units of one phone model lie apart, out of the store."""

import json
from pathlib import Path

import msgspec
import pytest
from measurement_example import IDENTITY, ONE

from device_profiler.measurement import Block, Measurement
from device_profiler.spread import find_spread, golden_ns
from device_profiler.store import Store
from pipeline.__main__ import run

PHONE = "google/panther/panther:14/AP1A.240405/1:user/release-keys"


def taken(unit: str, key: str, median_ns: float, golden: int | None = None, **fields: object) -> Measurement:
    identity = msgspec.structs.replace(IDENTITY, fingerprint=f"{PHONE} unit:{unit}" if unit else PHONE)
    blocks = () if golden is None else (
        Block(0, 0, (), (1,), (golden,), (golden,)), Block(0, 1, (), (1,), (9 * golden,), (9 * golden,), "drifted"),
    )  # fmt: skip
    given = {"key": key, "entry": key, "provenance": "measured", "identity": identity, "median_ns": median_ns}
    return msgspec.structs.replace(ONE, blocks=blocks, **{**given, **fields})


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def test_the_golden_model_takes_out_how_fast_a_unit_is(place: Path) -> None:
    with Store(place) as store:
        store.add_all([
            taken("A", "a", 999.0, 10), taken("A", "a", 100.0, 10), taken("B", "a", 120.0, 12),
            taken("A", "b", 50.0, 10), taken("B", "b", 66.0, 12), taken("C", "b", 55.0, 10), taken("C", "alone", 1.0),
        ])  # fmt: skip
        [spread] = find_spread(store)
    assert (spread.phone, spread.target, spread.units) == (PHONE, "pixel7-cpu", ("A", "B", "C"))
    assert {part.key: round(part.spread, 6) for part in spread.parts} == {"a": 0.2, "b": 0.32}
    assert {part.key: round(part.normalised or 0.0, 6) for part in spread.parts} == {"a": 0.0, "b": 0.1}
    assert spread.median == pytest.approx(0.26) and spread.normalised == pytest.approx(0.05)


def test_only_blocks_that_count_say_how_fast_the_golden_model_was() -> None:
    assert golden_ns(taken("A", "a", 100.0, 10)) == 10.0
    assert golden_ns(taken("A", "a", 100.0)) is None


@pytest.mark.parametrize(
    "other",
    [
        taken("A", "a", 110.0),
        taken("", "a", 110.0),
        taken("B", "b", 110.0),
        taken("B", "a", 110.0, target="pixel7-npu"),
        taken("B", "a", 110.0, versions={"protocol": "2 x"}),
        taken("B", "a", 110.0, provenance="imported"),
    ],
    ids=["same unit", "no unit told", "another part", "another target", "another protocol", "another way of measuring"],
)
def test_what_is_no_pair_of_units_is_not_compared(place: Path, other: Measurement) -> None:
    with Store(place) as store:
        store.add_all([taken("A", "a", 100.0), other])
        assert find_spread(store) == []


def test_the_command_tells_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["devices", "spread", "--store", str(place)]
    Store(place).close()
    assert run(words) == 0
    assert "no two units of one phone model" in capsys.readouterr().out
    with Store(place) as store:
        store.add_all([taken("A", "a", 100.0), taken("B", "a", 120.0)])
    assert run(words) == 0
    told = capsys.readouterr().out
    assert "units A, B" in told and "20.0% in the median; no golden model" in told and "slowest: B" in told
    assert run([*words, "--json"]) == 0
    [spread] = json.loads(capsys.readouterr().out)["spreads"]
    assert spread["parts"][0]["units"][1] == {"unit": "B", "median_ns": 120.0, "golden_ns": None}
