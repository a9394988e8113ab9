"""What hosts tell by themselves: a VM ended that nobody ordered to. A thread for each host waits for it.

The loop finds the same every few seconds; but a round takes as long as its slowest host, and here nobody
waits for another host. In clouds of more than `MOST` hosts the rest of them is looked at by the loop alone.
"""

import logging
import threading
from collections.abc import Callable, Collection

from sqlalchemy import select

from mgmt.agents.errors import AgentError
from mgmt.model.errors import CloudError
from mgmt.ops.endpoints import driver_of, host_endpoint
from mgmt.ops.runtime import Runtime
from mgmt.store.tables import Host

log = logging.getLogger(__name__)

#: Threads at most: each holds a connection and waits.
MOST = 256
#: Longest wait for one answer, and the pause after a host did not answer, in seconds.
WAIT, PAUSE = 20.0, 5.0


class Listener:
    """Calls `look` with a host's id whenever a VM ended there, or may have; from threads of its own."""

    def __init__(self, runtime: Runtime, look: Callable[[str], object]) -> None:
        self._runtime = runtime
        self._look = look
        self._followed: dict[str, threading.Event] = {}

    def follow_all(self) -> None:
        """Listen to all hosts that there are now, and to no others."""
        with self._runtime.database.reading() as session:
            query = select(Host.id).where(Host.removed.is_(None)).order_by(Host.created, Host.id)
            self._follow(session.scalars(query.limit(MOST)).all())

    def stop(self) -> None:
        """Listen to nobody any more; threads end with the answer that they wait for."""
        self._follow(())

    def _follow(self, host_ids: Collection[str]) -> None:
        for gone in self._followed.keys() - set(host_ids):
            self._followed.pop(gone).set()
        for host_id in host_ids:
            if host_id not in self._followed:
                stopped = self._followed[host_id] = threading.Event()
                name = f"listen {host_id}"
                threading.Thread(target=self._listen, args=(host_id, stopped), name=name, daemon=True).start()

    def _listen(self, host_id: str, stopped: threading.Event) -> None:
        seen = ""
        while not stopped.is_set():
            try:
                mark = self._ask(host_id, seen)
                is_news = bool(seen) and mark != seen
                if is_news and not stopped.is_set():
                    self._look(host_id)
                seen = mark
            except (AgentError, CloudError) as error:
                log.debug("host %s tells nothing at the moment, because %s", host_id, error)
                stopped.wait(PAUSE)
            except Exception:
                log.exception("what host %s tells is lost; the loop finds it", host_id)
                stopped.wait(PAUSE)

    def _ask(self, host_id: str, seen: str) -> str:
        with self._runtime.database.reading() as session:
            host = session.get_one(Host, host_id)
        return driver_of(self._runtime, host).wait_for_change(host_endpoint(host), seen, WAIT)
