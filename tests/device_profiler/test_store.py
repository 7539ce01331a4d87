"""The store: what goes in comes out, nothing is overwritten, several processes at once, and files it must not touch."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from device_profiler.errors import InputError
from device_profiler.measurement import DeviceIdentity, Measurement
from device_profiler.store import SCHEMA_VERSION, Store

IDENTITY = DeviceIdentity("127.0.0.1:5555", "Pixel 7", "GS201", "arm64-v8a", "14", "print", True, "virtual")
ONE = Measurement(
    key="k",
    entry="e",
    target="pixel7-cpu",
    requested_unit="cpu",
    actual_unit="cpu",
    provenance="emulated",
    samples_ns=(10, 11),
    median_ns=10.5,
    low_ns=10.0,
    high_ns=11.0,
    load_ns=5,
    first_ns=20,
    peak_rss_kb=1000,
    identity=IDENTITY,
    state_before={"battery_level": "87"},
    state_after={},
    versions={"protocol": "1 x"},
    note="n",
    executed_ns=(7,),
    overhead_ns=0.5,
)
WRITER = """
import sys
from pathlib import Path
import msgspec
from device_profiler.measurement import Measurement
from device_profiler.store import Store
one = msgspec.json.decode(sys.argv[2], type=Measurement)
for number in range(20):
    with Store(Path(sys.argv[1])) as store:
        store.add(msgspec.structs.replace(one, key=f"{sys.argv[3]}-{number}"))
        assert store.get(f"{sys.argv[3]}-{number}", "print", "pixel7-cpu", "1 x") is not None
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "store.sqlite"


def test_what_goes_in_comes_out(path: Path) -> None:
    with Store(path) as store:
        store.add(ONE)
    with Store(f"sqlite:///{path}") as store:
        assert store.get("k", "print", "pixel7-cpu", "1 x") == ONE


@pytest.mark.parametrize(
    "question",
    [
        ("other", "print", "pixel7-cpu", "1 x"),
        ("k", "other", "pixel7-cpu", "1 x"),
        ("k", "print", "other", "1 x"),
        ("k", "print", "pixel7-cpu", "2 x"),
    ],
)
def test_another_question_has_no_answer(path: Path, question: tuple[str, str, str, str]) -> None:
    with Store(path) as store:
        store.add(ONE)
        assert store.get(*question) is None


def test_samples_are_never_overwritten(path: Path) -> None:
    newer = msgspec.structs.replace(ONE, samples_ns=(12,))
    with Store(path) as store:
        store.add(ONE)
        store.add(newer)
        assert store.get("k", "print", "pixel7-cpu", "1 x") == newer
    with sqlite3.connect(path) as database:
        records = [record for (record,) in database.execute("select record from measurements order by id")]
    assert [msgspec.json.decode(record, type=Measurement) for record in records] == [ONE, newer]


def test_several_processes_write_at_once(path: Path) -> None:
    arguments = [sys.executable, "-c", WRITER, str(path), msgspec.json.encode(ONE).decode()]
    writers = [subprocess.Popen([*arguments, name], stderr=subprocess.PIPE) for name in "abc"]
    for writer in writers:
        _, errors = writer.communicate(timeout=100)
        assert writer.returncode == 0, errors.decode()
    with Store(path) as store:
        assert all(
            store.get(f"{name}-{number}", "print", "pixel7-cpu", "1 x") for name in "abc" for number in range(20)
        )


def test_a_newer_store_is_left_alone(path: Path) -> None:
    Store(path).close()
    with sqlite3.connect(path) as database:
        database.execute("update store_schema set version = ?", (SCHEMA_VERSION + 1,))
    with pytest.raises(InputError, match=r"schema 2, this program knows 1.*newer"):
        Store(path)


def test_what_is_no_store_is_told(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("these are notes, not a database" * 100)
    with pytest.raises(InputError, match=r"can't be opened"):
        Store(path)
    assert path.read_text().startswith("these are notes")
    with pytest.raises(InputError, match=r"can't be opened"):
        Store("nosuchdatabase://host/name")


def test_a_measurement_says_by_which_protocol_it_was_taken(path: Path) -> None:
    with Store(path) as store, pytest.raises(InputError, match="versions"):
        store.add(msgspec.structs.replace(ONE, versions={}))
