"""Management servers that share the database: who is there, since when, who fell silent.

All deadlines are by the database's clock, so servers need not agree on the time. A server that is declared
dead is cut off: its connections end, and it gets no new ones. So whatever it still does, because it was only
slow, changes nothing; it must start anew, as another incarnation.
"""

import logging
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from sqlalchemy import Engine, delete, event, func, select, text, update
from sqlalchemy.orm import Session

from mgmt.config import MgmtConfig
from mgmt.store.database import Database
from mgmt.store.tables import ManagementServer
from mgmt.store.tables.base import new_id

log = logging.getLogger(__name__)

#: Seconds of silence after which a server is dead.
DEAD_AFTER = 20
#: How long a dead server is listed, unless it comes back.
FORGET_AFTER = timedelta(days=7)
UP, DOWN = "Up", "Down"


class CutOff(Exception):
    """This server was declared dead; its work is done by another one."""


@dataclass(frozen=True)
class Incarnation:
    """One life of a management server: `server` is the same for all of its lives, `id` is not."""

    server: str
    id: str

    @property
    def connections(self) -> str:
        """What PostgreSQL calls this one's connections."""
        return f"pileus {self.id}"


def server_id(port: int) -> str:
    """The id of this machine's server that listens on `port`; the same for all of its lives."""
    return str(uuid5(NAMESPACE_DNS, f"{platform.node()}:{port}"))


def join(database: Database, config: MgmtConfig) -> Incarnation:
    """Enter this server, in place of what it was before."""
    name = platform.node() or "management"
    server = server_id(config.listen_port)
    with database.writing() as session:
        moment = clock(session)
        row = session.get(ManagementServer, server)
        facts: dict[str, Any] = {
            "name": name,
            "version": config.version,
            "incarnation": new_id(),
            "address": config.listen_address,
            "kernel": platform.release(),
            "processors": os.cpu_count() or 1,
            "state": UP,
            "started": moment,
            "last_seen": moment,
            "removed": None,
        }
        if row is None:
            row = ManagementServer(id=server, **facts)
            session.add(row)
        for field, value in facts.items():
            setattr(row, field, value)
        return Incarnation(server, row.incarnation)


def beat(database: Database, me: Incarnation) -> bool:
    """Say that this server lives; whether the others still think so."""
    with database.beside_writers() as session:
        query = update(ManagementServer).where(_is(me), ManagementServer.state == UP)
        return bool(
            session.scalars(query.values(last_seen=clock(session)).returning(ManagementServer.id)).all()
        )


def leave(database: Database, me: Incarnation) -> None:
    """Say that this server stops; what it did not end is for the others."""
    with database.beside_writers() as session:
        moment = clock(session)
        session.execute(update(ManagementServer).where(_is(me)).values(state=DOWN, removed=moment))


def bury(database: Database, me: str = "") -> Sequence[str]:
    """Declare dead who fell silent; their names. Those that are dead for long are forgotten.

    Never `me`, an incarnation: who took long to start, or waited for this very statement, lives.
    """
    with database.beside_writers() as session:
        moment = clock(session)
        silent = ManagementServer.last_seen < moment - timedelta(seconds=DEAD_AFTER)
        others = ManagementServer.incarnation != me
        query = update(ManagementServer).where(ManagementServer.state == UP, silent, others)
        query = query.values(state=DOWN)
        buried = session.scalars(query.returning(ManagementServer.name)).all()
        old = ManagementServer.last_seen < moment - FORGET_AFTER
        session.execute(delete(ManagementServer).where(ManagementServer.state == DOWN, old))
    for name in buried:
        log.error("management server %s is dead: it was silent for more than %d s", name, DEAD_AFTER)
    return buried


def living(database: Database) -> set[str]:
    """The incarnations that are up."""
    with database.reading() as session:
        query = select(ManagementServer.incarnation).where(ManagementServer.state == UP)
        return set(session.scalars(query))


def cut_off(database: Database, incarnations: Iterable[str]) -> None:
    """End the connections of dead incarnations, and with them the transactions and locks they hold."""
    if database.engine.dialect.name != "postgresql":
        return
    query = text(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity"
        " where application_name = :name and datname = current_database() and pid <> pg_backend_pid()"
    )
    with database.engine.connect() as connection:
        for incarnation in incarnations:
            connection.execute(query, {"name": Incarnation("", incarnation).connections})


def fence(engine: Engine, me: Incarnation) -> None:
    """Mark the engine's connections as this incarnation's, and make no more of them once it is dead.

    Who is cut off was declared dead before, so it finds no gap between the end of the old and a new one.
    """

    @event.listens_for(engine, "do_connect")
    def name(dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> None:
        parameters["application_name"] = me.connections

    @event.listens_for(engine, "connect")
    def admit(connection: Any, record: Any) -> None:
        query = "select 1 from management_server where id = %s and incarnation = %s and state = 'Up'"
        is_alive = connection.execute(query, (me.server, me.id)).fetchone()
        connection.rollback()
        if is_alive is None:
            connection.close()
            raise CutOff("this management server was declared dead, because it was silent for too long")

    engine.dispose()


def clock(session: Session) -> datetime:
    """The database's clock."""
    moment: datetime = session.scalars(select(func.now())).one()
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _is(me: Incarnation) -> Any:
    return (ManagementServer.id == me.server) & (ManagementServer.incarnation == me.id)
