"""Puts one management server together: store, jobs, drivers, loops. The only module that knows all parts."""

import atexit
import logging
import os
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine

from mgmt.agents.tls import Credentials
from mgmt.api.call import Context
from mgmt.bootstrap import Opened
from mgmt.drivers.kvm import KvmDriver
from mgmt.drivers.protocol import Driver
from mgmt.drivers.simulator import Simulator
from mgmt.jobs.durable import DurableJobs
from mgmt.jobs.membership import Membership
from mgmt.ops.locks import Locks, SharedLocks
from mgmt.ops.runtime import Runtime
from mgmt.pki.authority import Authority
from mgmt.reconcile.loop import Reconciler
from mgmt.store import servers
from mgmt.store.database import Database, is_sqlite, open_engine

log = logging.getLogger(__name__)

_SQLITE = "sqlite:///"
_START = "start"


def start_runtime(opened: Opened, prepare: Callable[[Runtime], None] | None = None) -> Context:
    """Start what runs in the background, and give the API its context. Ends with the process.

    `prepare` is called before the first job runs and before the loop looks at the hosts.
    """
    config = opened.config
    me = servers.join(opened.database, config)
    beating = Database(config.database_url)
    records: str | Engine = records_url(config.database_url)
    locks = Locks()
    if not is_sqlite(config.database_url):
        records = open_engine(config.database_url)
        for engine in (*opened.database.engines, *beating.engines, records):
            servers.fence(engine, me)
        locks = SharedLocks(opened.database.engine, end)
    authority = Authority(config.pki_dir)
    credentials = Credentials(authority.server_ca, authority.management_file)
    drivers: dict[str, Driver] = {"kvm": KvmDriver(credentials)}
    if config.simulated_hosts:
        drivers["simulator"] = Simulator()
    runtime = Runtime(
        database=opened.database, seal=opened.seal, authority=authority, drivers=drivers, locks=locks
    )
    if prepare is not None:
        prepare(runtime)
    jobs = DurableJobs(runtime, records, me.id)
    membership = Membership(beating, me, jobs.recover, end)
    membership.start()
    with locks.hold(_START):  # of servers that start together, one makes the tables of the workflows
        jobs.launch()
    loop = Reconciler(runtime, jobs.sweep)
    loop.start()

    def stop() -> None:
        loop.stop()
        jobs.close()
        membership.stop()
        locks.close()

    atexit.register(stop)
    return Context(
        database=opened.database,
        seal=opened.seal,
        jobs=jobs,
        config=config,
        parts={Runtime: runtime},
    )


def end(reason: str) -> None:
    """End this process at once, with all its threads, because another server may do its work already.

    Gunicorn then starts a new one, which joins anew.
    """
    log.critical("this management server ends itself and starts anew, because %s", reason)
    os._exit(1)


def records_url(url: str) -> str:
    """Where the workflow engine keeps its records: beside an SQLite store, else in the same database."""
    if not url.startswith(_SQLITE):
        return url
    return f"{_SQLITE}{Path(url.removeprefix(_SQLITE)).with_name('jobs.db')}"
