"""Which database the store takes, older schemas, and files that it must not touch (contracts/: what it promises)."""

import sqlite3
from pathlib import Path

import pytest
from measurement_example import ONE
from sqlalchemy import create_engine, inspect

from device_profiler.errors import InputError
from device_profiler.store import Store
from device_profiler.store_schema import SCHEMA_VERSION, metadata

OLD = Path(__file__).parents[1] / "golden" / "store_schema_1.sql"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "store.sqlite"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store of schema 1 with one measurement, as its program wrote it."""
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as database:
        database.executescript(OLD.read_text())
    return path


def test_a_path_and_its_url_are_one_store(path: Path) -> None:
    with Store(path) as store:
        store.add(ONE)
    with Store(f"sqlite:///{path}") as store:
        assert len(list(store.find())) == 1


def test_the_environment_names_the_store_where_nothing_else_does(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESS_STORE", str(path))
    with Store() as store:
        store.add(ONE)
    with Store(path.with_name("other.sqlite")) as store:
        assert list(store.find()) == []
    assert path.is_file()


def test_an_old_store_is_brought_up_to_date_with_all_it_holds(old: Path) -> None:
    with Store(old) as store:
        assert store.get("k", "print", "pixel7-cpu", "1 x") == ONE
        assert [kept.measurement for kept in store.find(targets=["pixel7-cpu"], provenances=["emulated"])] == [ONE]
        store.add(ONE)
        assert len(list(store.find())) == 2
    with sqlite3.connect(old) as database:
        assert database.execute("SELECT entry, median_ns FROM measurements").fetchall() == [("e", 10.5)] * 2
        with pytest.raises(sqlite3.IntegrityError, match="only ever"):
            database.execute("INSERT OR REPLACE INTO measurements SELECT * FROM measurements WHERE id = 1")


def test_an_upgrade_that_fails_leaves_the_store_as_it_was(old: Path) -> None:
    with sqlite3.connect(old) as database:
        database.execute("CREATE TABLE workloads (name TEXT)")
        before = list(database.iterdump())
    with pytest.raises(InputError, match=r"can't be opened: .*already exists"):
        Store(old)
    with sqlite3.connect(old) as database:
        assert list(database.iterdump()) == before


def test_old_programs_see_that_the_store_is_too_new_for_them(old: Path) -> None:
    Store(old).close()
    with sqlite3.connect(old) as database:
        assert database.execute("SELECT max(version) FROM store_schema").fetchone() == (2,)


def test_migrations_lead_to_the_tables_that_the_program_uses(path: Path) -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    with Store(path) as store:
        found = inspect(create_engine(store.driver_url))
    for table in metadata.tables.values():
        columns = {c["name"]: (str(c["type"]), c["nullable"]) for c in found.get_columns(table.name)}
        wanted = {c.name: (str(c.type.compile(create_engine("sqlite://").dialect)), c.nullable) for c in table.columns}
        assert columns == wanted
    config = Config()
    config.set_main_option("script_location", "device_profiler:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == f"{SCHEMA_VERSION:04}"


def test_a_store_that_can_only_be_read_is_read(path: Path) -> None:
    with Store(path) as store:
        store.add(ONE)
    with Store(f"sqlite:///file:{path}?mode=ro&uri=true") as store:
        assert len(list(store.find())) == 1
        with pytest.raises(InputError, match="can't be written"):
            store.add(ONE)


def test_what_is_no_store_is_told(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("these are notes, not a database" * 100)
    with pytest.raises(InputError, match=r"can't be opened"):
        Store(path)
    assert path.read_text().startswith("these are notes")
    with pytest.raises(InputError, match=r"can't be opened"):
        Store("nosuchdatabase://host/name")
    with pytest.raises(InputError, match="is no database URL") as error:
        Store("postgresql://someone:geheim@host:port/lab")
    assert "geheim" not in str(error.value)
