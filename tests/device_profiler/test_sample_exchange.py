"""Exports hold every sample; imports take over what is sure and point at what is wrong, by line and column."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from measurement_example import ONE

from device_profiler.errors import InputError
from device_profiler.files import sha256_path
from device_profiler.import_csv import read_csv
from device_profiler.import_xcode import read_report
from device_profiler.imported import IMPORT_PROTOCOL, keep_imported, measurement_of
from device_profiler.json_position import position
from device_profiler.measurement import Measurement, Verdict
from device_profiler.sample_export import export_samples, format_of
from device_profiler.sample_table import COLUMNS
from device_profiler.store import Store
from device_profiler.targets import Target, all_targets, find_target
from device_profiler.vendor_terms import publishing_warnings

XCODE = Path(__file__).parents[1] / "golden" / "xcode.mlperf"
HEADER = "key,entry,target,device,ns"
ROW = "abc,main,pixel7-cpu,Pixel 7,1000"
APPLE = msgspec.structs.replace(find_target("pixel7-npu"), name="iphone", soc="Apple A18")
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)


def measured(**fields: object) -> Measurement:
    identity = msgspec.structs.replace(ONE.identity, emulated=False, clock="wall")
    taken = msgspec.structs.replace(ONE, provenance="measured", executed_ns=(), identity=identity)
    return msgspec.structs.replace(taken, **fields)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.sqlite")


def read_back(path: Path) -> list[dict[str, object]]:
    """The rows of an exported file, everything as text."""
    if path.suffix == ".csv":
        with path.open(newline="") as stream:
            return [dict(row) for row in csv.DictReader(stream)]
    parquet = pytest.importorskip("pyarrow.parquet")
    return [{name: str(value) for name, value in row.items()} for row in parquet.read_table(path).to_pylist()]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_export_holds_every_sample(store: Store, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"samples{suffix}"
    verdict = Verdict("PLAUSIBLE", "npu", ("a reason",))
    store.add_all([ONE, measured(key="quoted", note='commas, "quotes"\nand lines', verdict=verdict)])
    assert export_samples(store.find(), path, format_of(path, None)) == 5
    rows = read_back(path)
    assert [(row["measurement"], row["series"], row["sample"], row["ns"]) for row in rows] == [
        ("1", "timed", "0", "10"), ("1", "timed", "1", "11"), ("1", "executed", "0", "7"),
        ("2", "timed", "0", "10"), ("2", "timed", "1", "11"),
    ]
    assert tuple(rows[0]) == COLUMNS
    assert (rows[0]["provenance"], rows[0]["clock"], rows[3]["provenance"]) == ("emulated", "virtual", "measured")
    assert (rows[0]["verdict"], rows[3]["verdict"]) == ("", "PLAUSIBLE")
    assert rows[4]["note"] == 'commas, "quotes"\nand lines'


def test_an_export_that_fails_leaves_no_file(store: Store, tmp_path: Path) -> None:
    def failing() -> object:
        raise InputError("the store went away")
        yield

    with pytest.raises(InputError, match="went away"):
        export_samples(failing(), tmp_path / "samples.csv", "csv")  # type: ignore[arg-type]
    assert not list(tmp_path.glob("*samples*"))


def test_a_format_that_nobody_named_is_asked_for() -> None:
    with pytest.raises(InputError, match=r"end it in \.csv or \.parquet"):
        format_of(Path("samples.txt"), None)


def test_what_one_house_exports_another_imports(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    ours = [measured(), measured(key="other", samples_ns=(20, 30, 40), note="x")]
    store.add_all(ours)
    export_samples(store.find(), path, "csv")
    theirs = [measurement_of(foreign, "hash") for foreign in read_csv(path)]
    for mine, other in zip(ours, theirs, strict=True):
        assert (other.key, other.entry, other.target, other.samples_ns) == (
            mine.key, mine.entry, mine.target, mine.samples_ns)
        assert (other.provenance, other.versions["protocol"]) == ("imported", IMPORT_PROTOCOL)
        assert (other.versions["tool"], other.identity.fingerprint) == ("1 x", "print")
    assert theirs[1].median_ns == 30


def test_imported_figures_never_answer_for_measured_ones(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    path.write_text(f"{HEADER}\n{ROW}\n")
    [taken] = [measurement_of(foreign, sha256_path(path)) for foreign in read_csv(path)]
    keep_imported(store, [taken], sha256_path(path))
    assert store.get("abc", taken.identity.fingerprint, "pixel7-cpu", "1 executorch 1.5.1") is None
    with pytest.raises(InputError, match="has the figures of this file already"):
        keep_imported(store, [taken], sha256_path(path))
    assert len(list(store.find())) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", r"line 1, column 1: column 'key' is missing"),
        (f"{HEADER},speed\n", r"line 1, column 6: unknown column 'speed'; known: measurement"),
        (f"{HEADER},ns\n", r"line 1, column 6: column 'ns' is there twice"),
        (f"{HEADER}\n", r"line 2, column 1: no samples"),
        (f"{HEADER}\n{ROW}\nabc,main,pixel7-cpu,Pixel 7\n", r"line 3, column 5: 4 cells"),
        (f"{HEADER}\n{ROW}\n\n{ROW}x\n", r"line 4, column 5 \(ns\): '1000x' is no whole number"),
        (f"{HEADER}\nabc,main,pixel7-cpu,Pixel 7,0\n", r"line 2, column 5 \(ns\): 0 is no latency"),
        (f"{HEADER}\nabc,main,pixel7-cpu,Pixel 7,-3\n", r"line 2, column 5 \(ns\)"),
        (f"{HEADER}\nabc,main,nokia3310-cpu,Pixel 7,10\n", r"line 2, column 3 \(target\): unknown target"),
        (f"{HEADER}\n,main,pixel7-cpu,Pixel 7,10\n", r"line 2, column 1 \(key\): is empty"),
        (f"{HEADER}\n{'k' * 300},main,pixel7-cpu,Pixel 7,10\n", r"line 2, column 1 \(key\): a key has at most"),
        (f"{HEADER},provenance\n{ROW},predicted\n", r"line 2, column 6 \(provenance\): 'predicted' can't be imported"),
        (f"{HEADER},clock\n{ROW},virtual\n", r"line 2, column 6 \(clock\)"),
        (f"{HEADER},requested_unit\n{ROW},tpu\n", r"line 2, column 6 \(requested_unit\): 'tpu' is no unit"),
        (f'{HEADER}\n"abc"d,main,pixel7-cpu,Pixel 7,10\n', r"line 2, column 1: "),
    ],
)
def test_a_broken_table_is_told_by_line_and_column(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"broken\.csv, {told}"):
        read_csv(path)


def test_a_table_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    path.write_bytes(HEADER.encode() + b"\n\xff\xfe")
    with pytest.raises(InputError, match="no UTF-8"):
        read_csv(path)


@pytest.mark.parametrize("path", [XCODE, XCODE / "report.json"])
def test_a_report_of_xcode_gives_its_samples_and_nothing_that_it_does_not_say(path: Path) -> None:
    taken = measurement_of(read_report(path, APPLE, "abc", "main"), "hash")
    assert taken.samples_ns == (2_120_000, 1_980_000, 2_010_000, 1_990_000, 2_050_000)
    assert (taken.key, taken.median_ns, taken.provenance) == ("abc:main", 2_010_000, "imported")
    assert (taken.requested_unit, taken.actual_unit, taken.identity.model) == ("npu", "unknown", "iPhone 16")


def _set(change: Callable[[Any], object]) -> str:
    report = json.loads((XCODE / "report.json").read_text())
    change(report)
    return json.dumps(report, indent=1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{\n  'a'", r"line 2, column 3: "),
        ("", r"line 1, column 1: "),
        ("{}", r"line 1, column 1: Object missing required field `deviceInfo`"),
        (_set(lambda r: r["deviceInfo"].update(modelName=3)), r"line 7, column 16: Expected `str`, got `int`"),
        (_set(lambda r: r["deviceResults"]["predict"]["samples"].append("fast")), r"line 19, column 5: 'fast' is no"),
        (_set(lambda r: r["deviceResults"]["predict"]["samples"].insert(1, -1.0)), r"line 15, column 5: -1.0 is no"),
        (_set(lambda r: r["deviceResults"]["predict"].update(samples=[])), r"line 13, column 15: no samples"),
        (_set(lambda r: r.update(computeUnit=0)), r"line 10, column 17: 0 \(cpuOnly\) is no figure of target iphone"),
    ],
)
def test_a_broken_report_is_told_by_line_and_column(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"report\.json, {told}"):
        read_report(path, APPLE, "abc", "main")


def test_a_folder_without_a_report_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no report\.json"):
        read_report(tmp_path, APPLE, "abc", "main")


def paths(value: object) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(), *((step, *rest) for step, child in inner for rest in paths(child))]


def at(value: object, path: tuple[str | int, ...]) -> object:
    for step in path:
        value = value[step]  # type: ignore[index]
    return value


@given(values, st.sampled_from([None, 0, 3]), st.data())
def test_a_position_is_where_the_value_begins(value: object, indent: int | None, data: st.DataObject) -> None:
    text = json.dumps(value, indent=indent)
    path = data.draw(st.sampled_from(paths(value)))
    line, column = position(text, path)
    rest = "\n".join([text.split("\n")[line - 1][column - 1 :], *text.split("\n")[line:]])
    assert json.JSONDecoder().raw_decode(rest)[0] == at(value, path)


def test_terms_bind_the_units_that_the_software_reaches() -> None:
    def target(soc: str, unit: str) -> Target:
        return msgspec.structs.replace(APPLE, name="t", soc=soc, unit=unit)

    assert "consent" in publishing_warnings([target("Google Tensor G5", "npu")])[0]
    assert publishing_warnings([target("Google Tensor G5", "cpu"), target("Google Tensor G2", "npu")]) == ()
    assert publishing_warnings(one for one in all_targets() if one.unit == "cpu") == ()
