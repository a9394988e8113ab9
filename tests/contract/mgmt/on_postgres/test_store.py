"""The store's tests on PostgreSQL, and what its connections are for."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from mgmt.store.database import Database
from tests.unit.mgmt.frozen_cloud import NewDatabase
from tests.unit.mgmt.store.test_store import *  # noqa: F403

pytestmark = pytest.mark.contract
SAY = text("insert into setting values ('said by', 'a reader')")


def test_connections_that_postgresql_ends_are_replaced(new_database: NewDatabase) -> None:
    """As when it starts anew: who asks next does not notice."""
    database = Database(new_database())
    end = text(
        "select count(pg_terminate_backend(pid, 10000)) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )
    with database.writing() as session, database.reading() as one, database.reading() as other:
        assert one.scalar(text("select 1")) == other.scalar(text("select 1"))
        assert session.scalar(end) == 2
    with database.reading() as session, database.reading() as other:
        assert session.scalar(text("select 1")) == other.scalar(text("select 1"))
        assert session.scalar(end) == 2  # the one that wrote, and the other reader
    with database.writing() as session:
        assert session.scalar(text("select 1")) == 1
    database.close()


def test_who_reads_writes_nothing(new_database: NewDatabase) -> None:
    database = Database(new_database())
    with pytest.raises(DBAPIError, match="read-only"), database.reading() as session:
        session.execute(SAY)
    database.close()


def test_plans_outlive_the_session(new_database: NewDatabase) -> None:
    """psycopg forgets what it has prepared when a transaction is rolled back: who reads must have none."""
    database = Database(new_database())
    prepared = text("select count(*) from pg_prepared_statements where statement like 'select 23%'")
    for _ in range(10):
        with database.reading() as session:
            session.scalar(text("select 23"))
    with database.reading() as session:
        assert session.scalar(prepared) == 1
    database.close()


def test_what_is_written_is_on_the_disk_although_the_turn_ends_before(new_database: NewDatabase) -> None:
    database = Database(new_database())
    written = text("select pg_current_wal_insert_lsn()::text")
    for number in range(5):
        with database.writing() as session:
            session.execute(text("insert into setting values (:name, 'x')"), {"name": f"x{number}"})
            position = session.scalar(written)
            assert session.scalar(text("show synchronous_commit")) == "off"
        with database.reading() as session:
            flushed = text("select pg_current_wal_flush_lsn() > cast(:position as pg_lsn)")
            assert session.scalar(flushed, {"position": position})
    with database.beside_writers() as session:
        assert session.scalar(text("show synchronous_commit")) == "on"
    database.close()


def test_many_rows_that_came_at_once_are_counted_when_asked(new_database: NewDatabase) -> None:
    """PostgreSQL would do so a minute later, and plan as if there were none until then."""
    database = Database(new_database())
    rows = text("insert into setting select 'n' || n, 'x' from generate_series(1, 1000) n")
    counted = text("select reltuples::int from pg_class where relname = 'setting'")
    with database.writing() as session:
        session.execute(rows)
    with database.reading() as session:
        before = session.scalar(counted)
        database.analyze()
        assert (before < 1000, session.scalar(counted)) == (True, 1000)
    database.close()
