"""What every operation needs: the database, the drivers, the keys, the clock."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mgmt.drivers.protocol import Driver
from mgmt.ops.locks import Locks
from mgmt.pki.authority import Authority
from mgmt.store.database import Database
from mgmt.store.sealing import Seal


def utc_now() -> datetime:
    """The current moment in UTC, whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class Runtime:
    """The management server's parts, as operations see them. `drivers` by `Host.driver`.

    `now` and `sleep` are the clock; tests bring their own. `wake` is set when the reconcile loop should
    look at once.
    """

    database: Database
    seal: Seal
    authority: Authority
    drivers: Mapping[str, Driver]
    now: Callable[[], datetime] = utc_now
    sleep: Callable[[float], None] = time.sleep
    locks: Locks = field(default_factory=Locks)
    wake: threading.Event = field(default_factory=threading.Event)
