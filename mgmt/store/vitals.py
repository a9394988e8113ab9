"""How the database is, in its own words."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True)
class Vitals:
    """`connections` of all servers that use it, `uptime` in seconds; None where it is part of the process."""

    name: str
    version: str
    connections: int | None = None
    uptime: int | None = None


def vitals(session: Session) -> Vitals:
    """Of the database that a session is on; one statement."""
    if session.get_bind().dialect.name == "sqlite":
        return Vitals("SQLite", str(session.scalar(text("select sqlite_version()"))))
    row = session.execute(
        text(
            "select current_setting('server_version'),"
            " (select count(*) from pg_stat_activity where datname = current_database()),"
            " extract(epoch from now() - pg_postmaster_start_time())"
        )
    ).one()
    return Vitals("PostgreSQL", str(row[0]), int(row[1]), int(row[2]))
