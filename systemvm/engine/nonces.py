"""One-use tickets: their nonces are remembered, in SQLite, for as long as the tickets could still be good."""

import sqlite3
from pathlib import Path

from systemvm.engine.sqlite import SharedDatabase
from systemvm.engine.ticket import TicketUsed
from systemvm.spec.ticket import Ticket

#: Seconds that a nonce is kept beyond its ticket's life, against a clock that is set back.
MARGIN = 3600


class Nonces:
    """The nonces that were spent, in the file `path`; safe to share between threads and processes."""

    def __init__(self, path: Path) -> None:
        self._database = SharedDatabase(path)
        with self._database.writing() as database:
            database.table("spent").create({"nonce": str, "expires": int}, pk="nonce", if_not_exists=True)

    def spend(self, ticket: Ticket, now: float) -> None:
        """Use the ticket up. Raises TicketUsed when that was done before."""
        try:
            with self._database.writing() as database:
                spent = database.table("spent")
                spent.delete_where("expires < ?", [int(now) - MARGIN])
                spent.insert({"nonce": ticket.nonce, "expires": ticket.expires})
        except sqlite3.IntegrityError:
            raise TicketUsed("the ticket was used before: ask for a new one") from None

    def count(self) -> int:
        """How many are remembered."""
        with self._database.reading() as database:
            return int(database.table("spent").count)

    def close(self) -> None:
        """Close the file."""
        self._database.close()
