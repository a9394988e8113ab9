"""What is known about each template, on the data disk: survives restarts of every kind."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from systemvm.engine.sqlite import SharedDatabase
from systemvm.spec import codec
from systemvm.spec.appliances import TemplateSource, TemplateState, TemplateStatus

_COLUMNS = {
    "id": str,
    "source": str,
    "state": str,
    "percent": int,
    "size": int,
    "virtual_size": int,
    "sha256": str,
    "error": str,
}


class Library:
    """The table of templates in the file `path`."""

    def __init__(self, path: Path) -> None:
        # Percents are written many times; what a reset takes of them is downloaded again.
        self._database = SharedDatabase(path, durable=False)
        with self._database.writing() as database:
            database.table("templates").create(_COLUMNS, pk="id", if_not_exists=True)

    def statuses(self) -> list[TemplateStatus]:
        """All templates, by id."""
        with self._database.reading() as database:
            rows = list(database.table("templates").rows_where(order_by="id"))
        return [_status(row) for row in rows]

    def status(self, template: str) -> TemplateStatus | None:
        """One template, None if it is unknown."""
        with self._database.reading() as database:
            rows = list(database.table("templates").rows_where("id = ?", [template]))
        return _status(rows[0]) if rows else None

    def want(self, source: TemplateSource) -> bool:
        """Know about a template; True if it is new or its source changed, so that it begins anew."""
        digest = _digest(source)
        with self._database.writing() as database:
            table = database.table("templates")
            if list(table.rows_where("id = ? and source = ?", [source.id, digest])):
                return False
            table.upsert(_row(TemplateStatus(id=source.id, state=TemplateState.waiting), digest), pk="id")
        return True

    def write(self, status: TemplateStatus) -> None:
        """Record progress; nothing happens for a template that was forgotten meanwhile."""
        with self._database.writing() as database:
            table = database.table("templates")
            rows = list(table.rows_where("id = ?", [status.id]))
            if rows:
                table.upsert(_row(status, rows[0]["source"]), pk="id")

    def forget_all_but(self, wanted: Iterable[str]) -> list[str]:
        """Forget templates that are no longer wanted; their ids."""
        kept = set(wanted)
        with self._database.writing() as database:
            table = database.table("templates")
            gone = [str(row["id"]) for row in table.rows if row["id"] not in kept]
            for template in gone:
                table.delete(template)
        return gone

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _digest(source: TemplateSource) -> str:
    return hashlib.sha256(codec.encode(source)).hexdigest()


def _row(status: TemplateStatus, source: str) -> dict[str, Any]:
    row = {name: getattr(status, name) for name in _COLUMNS if name != "source"}
    return {**row, "state": status.state.value, "source": source}


def _status(row: dict[str, Any]) -> TemplateStatus:
    fields = {name: value for name, value in row.items() if name != "source"}
    return TemplateStatus(**{**fields, "state": TemplateState(row["state"])})
