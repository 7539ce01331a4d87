"""What the store promises on every database that it may use; PostgreSQL is a real server that the tests start."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import postgresql_server
import pytest
from measurement_example import ONE
from postgresql_server import NoServerError, running_server
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from device_profiler import store_engine
from device_profiler.claims import ClaimLostError
from device_profiler.errors import InputError
from device_profiler.measurement import Measurement
from device_profiler.store import Store
from device_profiler.store_schema import SCHEMA_VERSION
from device_profiler.workload import Operator

OPERATOR = Operator("CONV_2D", 100, 10, 20, 30, True)
WRITER = """
import sys
import threading
import msgspec
from device_profiler.measurement import Measurement
from device_profiler.store import Store
one = msgspec.json.decode(sys.argv[2], type=Measurement)
for number in range(10):
    with Store(sys.argv[1]) as store:
        store.add(msgspec.structs.replace(one, key=f"{sys.argv[3]}-{number}"))
        assert store.get(f"{sys.argv[3]}-{number}", "print", "pixel7-cpu", "1 x") is not None
"""

TRIER = """
import sys
import threading
import msgspec
from device_profiler import store_engine
from device_profiler.claims import ClaimLostError
from device_profiler.measurement import Measurement
from device_profiler.store import Store
one = msgspec.json.decode(sys.argv[2], type=Measurement)
with Store(sys.argv[1]) as store:
    tries = [store.claim("job") for _ in range(5)]
    for attempt in tries:
        try:
            if store.get("k", "print", "pixel7-cpu", "1 x") is None and store.add_all([one], attempt):
                print("wrote")
        except ClaimLostError:
            pass
"""


def changed(**fields: object) -> Measurement:
    return msgspec.structs.replace(ONE, **fields)


class StoreContract:
    """The tests; `place` is a fixture of the subclass: the URL of a database without tables."""

    def test_what_goes_in_comes_out(self, place: str) -> None:
        with Store(place) as store:
            store.add(ONE)
        with Store(place) as store:
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
    def test_another_question_has_no_answer(self, place: str, question: tuple[str, str, str, str]) -> None:
        with Store(place) as store:
            store.add(ONE)
            assert store.get(*question) is None

    def test_a_newer_figure_answers_and_the_older_one_stays(self, place: str) -> None:
        newer = changed(samples_ns=(12,))
        with Store(place) as store:
            store.add(ONE)
            store.add(newer)
            assert store.get("k", "print", "pixel7-cpu", "1 x") == newer
            assert [kept.measurement for kept in store.find()] == [ONE, newer]

    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE measurements SET record = '' WHERE id = 1",
            "UPDATE measurements SET median_ns = 1",
            "DELETE FROM measurements",
        ],
    )
    def test_the_database_refuses_to_change_a_measurement(self, place: str, change: str) -> None:
        with Store(place) as store:
            store.add(ONE)
            with create_engine(store.driver_url).connect() as connection, pytest.raises(DBAPIError, match="only ever"):
                connection.execute(text(change))
            assert [kept.measurement for kept in store.find()] == [ONE]

    def test_all_of_a_batch_or_none(self, place: str) -> None:
        with Store(place) as store, pytest.raises(InputError, match="versions"):
            store.add_all([ONE, changed(versions={})])
        with Store(place) as store:
            assert list(store.find()) == []

    def test_a_late_try_of_a_job_writes_nothing(self, place: str) -> None:
        with Store(place) as late, Store(place) as store:
            first = late.claim("job")
            second = store.claim("job")
            assert (first.token, second.token) == (1, 2) and store.claim("another").token == 1
            with pytest.raises(ClaimLostError, match=r"try 1 of job job came back too late: try 2 has begun"):
                late.add_all([ONE], first)
            assert store.add_all([ONE], second) == 1
            with pytest.raises(ClaimLostError):
                late.add_all([changed(key="other")], first)
            assert [kept.measurement for kept in store.find()] == [ONE]

    def test_what_another_job_measured_meanwhile_is_not_written_again(self, place: str) -> None:
        new, mine = changed(key="new"), changed(samples_ns=(13,))
        with Store(place) as store:
            store.add(changed(key="earlier"))
            one, other = store.claim("one"), store.claim("other")
            assert store.add_all([ONE], one) == 1
            assert store.add_all([mine, new, changed(key="earlier", samples_ns=(14,))], other) == 2
            assert store.add_all([new], other) == 0, "a try that writes twice has written once"
            assert [kept.measurement.key for kept in store.find()] == ["earlier", "k", "new", "earlier"]
            assert store.get("k", "print", "pixel7-cpu", "1 x") == ONE

    def test_several_processes_try_one_job_and_one_of_them_writes(self, place: str) -> None:
        arguments = [sys.executable, "-c", TRIER, place, msgspec.json.encode(ONE).decode()]
        tries = [subprocess.Popen(arguments, stdout=subprocess.PIPE) for _ in range(3)]
        told = [attempt.communicate(timeout=100)[0].decode() for attempt in tries]
        with Store(place) as store:
            assert len(list(store.find())) == 1
            assert store.claim("job").token == 3 * 5 + 1
        assert "".join(told).split().count("wrote") == 1

    def test_find_selects_and_keeps_the_order(self, place: str) -> None:
        many = [changed(key=f"{n}", target=("pixel7-cpu", "pixel7-npu")[n % 2]) for n in range(450)]
        many[7] = msgspec.structs.replace(many[7], provenance="measured")
        with Store(place) as store:
            store.add_all(many)
            assert [kept.measurement for kept in store.find()] == many
            assert [kept.measurement for kept in store.find(targets=["pixel7-npu"])] == many[1::2]
            assert [kept.measurement for kept in store.find(provenances=["measured"])] == [many[7]]
            assert list(store.find(targets=["pixel7-cpu"], provenances=["measured"])) == []

    def test_who_reads_holds_nobody_up(self, place: str) -> None:
        with Store(place) as store, Store(place) as other:
            store.add_all([changed(key=f"{n}") for n in range(250)])
            reading = store.find()
            next(reading)
            other.add(changed(key="meanwhile"))
            assert sum(1 for _ in reading) == 250

    def test_the_time_of_adding_is_utc(self, place: str) -> None:
        with Store(place) as store:
            store.add(ONE)
            [kept] = store.find()
        assert abs(datetime.now(UTC) - kept.added) < timedelta(minutes=5)

    def test_several_processes_make_and_write_one_store_at_once(self, place: str) -> None:
        arguments = [sys.executable, "-c", WRITER, place, msgspec.json.encode(ONE).decode()]
        writers = [subprocess.Popen([*arguments, name], stderr=subprocess.PIPE) for name in "abc"]
        for writer in writers:
            _, errors = writer.communicate(timeout=100)
            assert writer.returncode == 0, errors.decode()
        with Store(place) as store:
            keys = [kept.measurement.key for kept in store.find()]
        assert sorted(keys) == sorted(f"{name}-{number}" for name in "abc" for number in range(10))

    def test_operators_are_kept_by_key(self, place: str) -> None:
        with Store(place) as store:
            assert store.operators("k") is None
            store.keep_operators("k", [OPERATOR, OPERATOR])
            store.keep_operators("k", [OPERATOR, OPERATOR])
            assert store.operators("k") == (OPERATOR, OPERATOR)

    def test_a_newer_store_is_left_alone(self, place: str) -> None:
        with Store(place) as store:
            url = store.driver_url
        with create_engine(url).begin() as connection:
            connection.execute(text(f"UPDATE alembic_version SET version_num = '{SCHEMA_VERSION + 1:04}'"))
        told = rf"schema {SCHEMA_VERSION + 1}, this program knows {SCHEMA_VERSION}.*newer"
        with pytest.raises(InputError, match=told):
            Store(place)

    def test_a_record_that_nobody_understands_is_told(self, place: str) -> None:
        with Store(place) as store:
            store.add(ONE)
            columns = "key, device, target, protocol, added, record"
            with create_engine(store.driver_url).begin() as connection:
                connection.execute(
                    text(f"INSERT INTO measurements ({columns}) SELECT 'odd', device, target, protocol, added, :r "
                         "FROM measurements"), {"r": b'{"key": 3}'})
            with pytest.raises(InputError, match="does not understand"):
                store.get("odd", "print", "pixel7-cpu", "1 x")
            assert store.get("k", "print", "pixel7-cpu", "1 x") == ONE


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A PostgreSQL server for this module's tests."""
    pytest.importorskip("psycopg", reason="the extra 'lab' is not installed")
    try:
        with running_server() as url:
            yield url
    except NoServerError as error:
        pytest.skip(str(error))


class TestSqlite(StoreContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/store.sqlite"


class TestPostgresql(StoreContract):
    @pytest.fixture
    def place(self, server: str) -> str:
        name = f"store_{uuid4().hex}"
        engine = create_engine(f"{server.replace('postgresql:', 'postgresql+psycopg:')}/postgres",
                               isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template0"))
        engine.dispose()
        return f"{server}/{name}"

    def test_nothing_can_be_emptied(self, place: str) -> None:
        with Store(place) as store:
            store.add(ONE)
            with create_engine(store.driver_url).connect() as connection, pytest.raises(DBAPIError, match="only ever"):
                connection.execute(text("TRUNCATE measurements"))

    def test_a_server_that_is_not_there_is_told_without_the_password(self) -> None:
        with pytest.raises(InputError, match="can't be opened") as error:
            Store("postgresql://someone:geheim@127.0.0.1:9/lab")
        assert "geheim" not in str(error.value)

    def test_a_connection_that_was_cut_is_made_anew(self, place: str) -> None:
        with Store(place) as store:
            store.add(ONE)
            with create_engine(store.driver_url).connect() as connection:
                connection.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                                        "WHERE pid <> pg_backend_pid() AND datname = current_database()"))
            store.add(ONE)
            assert len(list(store.find())) == 2

    def test_a_server_that_is_started_again_is_waited_for(self) -> None:
        """A store that is open goes on when it is back; what is asked meanwhile waits."""
        try:
            with postgresql_server.server() as own, Store(f"{own.url}/postgres") as store:
                store.add(ONE)
                own.stop()
                back = threading.Timer(2.0, own.start)
                back.start()
                store.add(changed(key="meanwhile"))
                back.join()
                assert [kept.measurement.key for kept in store.find()] == [ONE.key, "meanwhile"]
                own.stop()
                back = threading.Timer(2.0, own.start)
                back.start()
                with Store(f"{own.url}/postgres", patient=True) as patient:
                    assert len(list(patient.find())) == 2
                back.join()
        except NoServerError as error:
            pytest.skip(str(error))

    def test_a_server_that_refuses_is_not_waited_for(self, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Patience would hide a wrong name or password for a minute."""
        naps: list[float] = []
        monkeypatch.setattr(store_engine.time, "sleep", naps.append)
        with pytest.raises(InputError, match='database "nowhere" does not exist'):
            Store(f"{place.rpartition('/')[0]}/nowhere", patient=True)
        assert not naps

    def test_what_was_written_when_the_server_went_is_not_written_again(
        self, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The connection is cut between the commit and its answer: nobody can tell whether it was written."""
        with Store(place) as store:
            dialect = store._engine.dialect
            commit, cut = dialect.do_commit, list[str]()

            def cut_once(connection: Any) -> None:
                commit(connection)
                if not cut:
                    cut.append("here")
                    connection.dbapi_connection.close()
                    raise dialect.loaded_dbapi.OperationalError("the server closed the connection")

            monkeypatch.setattr(dialect, "do_commit", cut_once)
            store.add_all([ONE, changed(key="other")])
            assert cut and [kept.measurement.key for kept in store.find()] == [ONE.key, "other"]

    def test_a_write_that_was_cut_is_done_again(self, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with Store(place) as store:
            dialect = store._engine.dialect
            commit, cut = dialect.do_commit, list[str]()

            def cut_once(connection: Any) -> None:
                if not cut:
                    cut.append("here")
                    connection.dbapi_connection.close()
                    raise dialect.loaded_dbapi.OperationalError("the server closed the connection")
                commit(connection)

            monkeypatch.setattr(dialect, "do_commit", cut_once)
            store.add(ONE)
            assert cut and [kept.measurement.key for kept in store.find()] == [ONE.key]
