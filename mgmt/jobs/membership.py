"""This server among those that share the database: its heartbeat, and what it takes over from others."""

import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from mgmt.store import servers
from mgmt.store.database import Database

log = logging.getLogger(__name__)

#: Seconds between two heartbeats, and without one until a server ends itself: before the others let it.
BEAT_EVERY, GIVE_UP_AFTER = 3.0, 12.0


class Membership:
    """Beats in a thread of its own, on a database connection of its own, which no burst of work takes away.

    `take_over` continues what servers that are gone left behind; it may be called twice. `end` ends this
    process: after too long a silence another server does its work.
    """

    def __init__(
        self,
        database: Database,
        me: servers.Incarnation,
        take_over: Callable[[], None],
        end: Callable[[str], None],
    ) -> None:
        self._database = database
        self._me = me
        self._take_over = take_over
        self._end = end
        self._others: set[str] = set()
        self._heard = time.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Beat from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Leave in an orderly way."""
        self._stopping.set()
        self._thread.join()
        servers.leave(self._database, self._me)
        self._database.close()

    def beat(self) -> None:
        """Say that this server lives, and look whether the others do."""
        try:
            if not servers.beat(self._database, self._me):
                raise servers.CutOff("another server declared this one dead")
            self._heard = time.monotonic()
            buried = servers.bury(self._database, self._me.id)
            living = servers.living(self._database)
            if buried or self._others - living:  # also who left, and who died before it had taken over
                self._take_over()
            self._others = living
        except servers.CutOff as reason:
            self._end(str(reason))
        except SQLAlchemyError as error:
            silence = time.monotonic() - self._heard
            log.warning("no heartbeat since %d s, because %s", silence, error)
            if silence > GIVE_UP_AFTER and self._database.engine.dialect.name == "postgresql":
                self._end(f"the database did not answer for {silence:.0f} s")

    def _run(self) -> None:
        while not self._stopping.wait(BEAT_EVERY):
            try:
                self.beat()
            except Exception:
                log.exception("a heartbeat failed; the next one tries again")
