"""Which passwords were taken, in SQLite."""

import time
from pathlib import Path
from typing import Any

from systemvm.engine.sqlite import SharedDatabase

TABLE = "taken"


class TakenPasswords:
    """Identities of passwords that their guests confirmed to have; no password is ever in here."""

    def __init__(self, path: Path) -> None:
        self._database = SharedDatabase(path)
        with self._database.writing() as database:
            columns = {"id": str, "address": str, "at": float}
            database.table(TABLE).create(columns, pk="id", if_not_exists=True)

    def take(self, identity: str, address: str) -> None:
        """Note that the guest at `address` has the password; idempotent."""
        row = {"id": identity, "address": address, "at": time.time()}
        with self._database.writing() as database:
            database.table(TABLE).insert(row, ignore=True)

    def is_taken(self, identity: str) -> bool:
        """Whether it was confirmed once."""
        with self._database.reading() as database:
            return bool(database.table(TABLE).count_where("id = ?", [identity]))

    def all(self) -> list[dict[str, Any]]:
        """Identity, address and Unix time of each, oldest first."""
        with self._database.reading() as database:
            return list(database.table(TABLE).rows_where(order_by="at"))

    def forget_others(self, identities: set[str]) -> None:
        """Drop those that no document speaks of any more."""
        gone = [row["id"] for row in self.all() if row["id"] not in identities]
        with self._database.writing() as database:
            for identity in gone:
                database.table(TABLE).delete(identity)

    def close(self) -> None:
        """Close the file."""
        self._database.close()
