"""Locks that several servers respect: each has a connection of its own, whose end gives them back."""

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from mgmt.config import default_config
from mgmt.ops.locks import SharedLocks
from mgmt.store import servers
from mgmt.store.database import Database
from tests.mgmt_server import eventually
from tests.unit.mgmt.frozen_cloud import NewDatabase

pytestmark = pytest.mark.contract


class Server:
    """The locks of a management server, and why it would have ended itself."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.ends: list[str] = []
        self.locks = SharedLocks(self.database.engine, self.ends.append)

    def close(self) -> None:
        self.locks.close()
        self.database.close()


@pytest.fixture
def pair(new_database: NewDatabase) -> Iterator[tuple[Server, Server]]:
    url = new_database()
    first, second = Server(url), Server(url)
    yield first, second
    first.close()
    second.close()


def is_free(server: Server, name: str) -> bool:
    with server.locks.try_hold(name) as is_ours:
        return is_ours


def test_one_holds_what_the_other_waits_for(pair: tuple[Server, Server]) -> None:
    first, second = pair
    got = threading.Event()

    def wait() -> None:
        with second.locks.hold("network:1"):
            got.set()

    with first.locks.hold("network:1"):
        with first.locks.hold("network:1"), first.locks.try_hold("network:1") as is_ours:
            assert is_ours, "as often as one likes in one thread"
        assert not is_free(second, "network:1")
        assert is_free(second, "network:2")
        waiter = threading.Thread(target=wait)
        waiter.start()
        assert not got.is_set()
    waiter.join(30)
    assert got.is_set()
    assert is_free(first, "network:1")


def test_a_duty_is_one_servers_until_it_is_gone(pair: tuple[Server, Server]) -> None:
    first, second = pair
    assert [first.locks.keep("loop"), second.locks.keep("loop"), first.locks.keep("loop")] == [
        True,
        False,
        True,
    ]
    first.locks.close()
    eventually(lambda: second.locks.keep("loop"))  # PostgreSQL notices the end a moment later
    assert first.ends == second.ends == []


def test_a_server_whose_locks_are_lost_ends(pair: tuple[Server, Server]) -> None:
    first, second = pair
    with second.database.engine.connect() as connection:
        ended = text(
            "select count(pg_terminate_backend(pid, 10000)) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        assert connection.scalar(ended) == 2
    with pytest.raises(DBAPIError):
        is_free(first, "network:1")
    assert "the connection that holds its locks broke" in first.ends[0]


def declare_dead(database: Database, incarnation: servers.Incarnation) -> None:
    with database.beside_writers() as session:
        session.execute(text("update management_server set last_seen = last_seen - interval '21 s'"))
    assert servers.bury(database, incarnation.id) == []  # nobody buries itself, however long it waited
    assert len(servers.bury(database)) == 1
    servers.cut_off(database, [incarnation.id])


def test_who_is_declared_dead_is_cut_off(
    new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its connections end, it gets no more, and its transaction under way comes to nothing."""
    url, config = new_database(), default_config(tmp_path_factory.mktemp("home"))
    slow, other = Database(url), Database(url)
    me = servers.join(slow, config)
    for engine in slow.engines:
        servers.fence(engine, me)
    assert servers.living(slow) == {me.id}

    def write_slowly() -> None:
        with slow.writing() as session:
            session.execute(text("insert into setting values ('written by', 'the slow one')"))
            declare_dead(other, me)
            with other.writing() as free:  # the turn to write is free again
                free.execute(text("insert into setting values ('written by', 'the other')"))
            session.execute(text("select 1"))

    with pytest.raises(DBAPIError):
        write_slowly()
    with pytest.raises(servers.CutOff), slow.reading() as session:
        session.execute(text("select 1"))
    with other.reading() as session:
        assert session.scalar(text("select value from setting where name = 'written by'")) == "the other"
    assert not servers.beat(other, me)
    again = servers.join(other, config)
    assert servers.living(other) == {again.id}
    assert again.server == me.server
    slow.close()
    other.close()
