"""latency.json: the schema, its round trip, and one clear line for every way to break it."""

import json
from pathlib import Path

import pytest
from search_tables import random_statistics, random_table

from device_profiler.errors import InputError
from pipeline.latency_table import LatencyTable, PartDetail

MINIMAL = {
    "schema": 1,
    "target": "pixel7-cpu",
    "provenance": "emulated",
    "unit": "ns",
    "blocks": [5, 2.5, 1],
    "heads": [[1, 2], [None, 2], [1, 1]],
}


def load(tmp_path: Path, **changes: object) -> LatencyTable:
    content = {key: value for key, value in {**MINIMAL, **changes}.items() if value != "absent"}
    (tmp_path / "latency.json").write_text(json.dumps(content))
    return LatencyTable.load(tmp_path / "latency.json")


def test_minimal_file(tmp_path: Path) -> None:
    table = load(tmp_path)
    assert table.blocks == (5.0, 2.5, 1.0)
    assert table.heads[1] == (None, 2.0)
    assert table.boundary_ns == 0.0


def test_round_trip(tmp_path: Path) -> None:
    table = LatencyTable(
        "pixel7-npu",
        "predicted",
        (1.0, 2.0),
        ((1.0,), (None,)),
        boundary_ns=3.0,
        exits=("a", "b"),
        head_names=(("x",), ("",)),
        precision="int8",
        input=(1, 3, 64, 64),
        details={"block_0": PartDetail(interval=(0.5, 1.5), samples=10, provenance="predicted")},
    )
    table.save(tmp_path / "latency.json")
    assert LatencyTable.load(tmp_path / "latency.json") == table


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"blocks": [5, float("nan"), 1]}, "NaN is no latency"),
        ({"blocks": [5, -2, 1]}, "blocks[1] is -2"),
        ({"heads": [[1, 2], [None, -1], [1, 1]]}, "heads[1][1] is -1"),
        ({"heads": [[1, float("inf")], [None, 1], [1, 1]]}, "Infinity is no latency"),
        ({"boundary_ns": -1}, "boundary_ns is -1"),
        ({"heads": [[1, 2], [1], [1, 1]]}, "as many slots"),
        ({"heads": [[1, 2], [1, 2]]}, "one row per exit (3)"),
        ({"blocks": []}, "no blocks"),
        ({"blocks": [1, "2", 3]}, "blocks[1]"),
        ({"provenance": "guessed"}, "choose one of measured, imported, emulated, predicted"),
        ({"schema": 2}, "schema 2 is not known"),
        ({"unit": "ms"}, "unit 'ms' is not known"),
        ({"unit": "absent"}, "unit missing"),
        ({"target": "absent"}, "target"),
        ({"colour": "red"}, "colour"),
        ({"details": {"block_0": {"interval": [2, 1]}}}, "interval [2.0, 1.0]"),
    ],
)
def test_bad_files_are_one_clear_line(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, **changes)
    assert words in str(caught.value)
    assert "latency.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "latency.json").write_text("{")
    with pytest.raises(InputError, match="can't be read as JSON"):
        LatencyTable.load(tmp_path / "latency.json")
    with pytest.raises(InputError, match="does not exist"):
        LatencyTable.load(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"exits": ["exit1", "exit2", "last"]}, "exits of the latency table"),
        ({"precision": "fp32"}, "precision of the latency table (fp32)"),
        ({"blocks": [1, 2], "heads": [[1, 1], [1, 1]]}, "2 exits x 2 head slots"),
        ({"head_names": [["head0", "other"], ["head0", "head1"], ["head0", "head1"]]}, "head 'other'"),
        ({"head_names": [["head0"], ["head0"], ["head0"]]}, "another shape"),
    ],
)
def test_a_table_of_another_network(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    from dataclasses import replace

    statistics = random_statistics(5)
    heads = (("head0", "head1"),) * 3
    confidence, union = statistics.confidence.copy(), statistics.union.copy()
    confidence[:], union[:] = 0.5, 10
    other = replace(
        statistics, heads=heads, precision="int8", confidence=confidence, union=union, intersection=union // 2
    )
    with pytest.raises(InputError) as caught:
        load(tmp_path, **changes).matches(other)
    assert words in str(caught.value)


def test_a_head_that_does_not_exist_may_have_no_name() -> None:
    statistics = random_statistics(5)
    table = random_table(5, statistics)
    names = tuple(
        tuple("" if cost is None else name for name, cost in zip(*row, strict=True))
        for row in zip(statistics.heads, table.heads, strict=True)
    )
    LatencyTable("t", "measured", table.blocks, table.heads, head_names=names).matches(statistics)
