"""Puts one management server together: store, jobs, drivers, loops. The only module that knows all parts."""

import atexit
from collections.abc import Callable
from pathlib import Path

from mgmt.agents.tls import Credentials
from mgmt.api.call import Context
from mgmt.bootstrap import Opened
from mgmt.config import MgmtConfig
from mgmt.drivers.kvm import KvmDriver
from mgmt.drivers.protocol import Driver
from mgmt.drivers.simulator import Simulator
from mgmt.jobs.durable import DurableJobs
from mgmt.ops.runtime import Runtime
from mgmt.pki.authority import Authority
from mgmt.reconcile.loop import Reconciler

_SQLITE = "sqlite:///"


def start_runtime(opened: Opened, prepare: Callable[[Runtime], None] | None = None) -> Context:
    """Start what runs in the background, and give the API its context. Ends with the process.

    `prepare` is called before the first job runs and before the loop looks at the hosts.
    """
    authority = Authority(opened.config.pki_dir)
    credentials = Credentials(authority.server_ca, authority.management_file)
    drivers: dict[str, Driver] = {"kvm": KvmDriver(credentials)}
    if opened.config.simulated_hosts:
        drivers["simulator"] = Simulator()
    runtime = Runtime(database=opened.database, seal=opened.seal, authority=authority, drivers=drivers)
    if prepare is not None:
        prepare(runtime)
    jobs = DurableJobs(runtime, records_url(opened.config))
    jobs.launch()
    loop = Reconciler(runtime, jobs.sweep)
    loop.start()
    atexit.register(jobs.close)
    atexit.register(loop.stop)
    return Context(
        database=opened.database,
        seal=opened.seal,
        jobs=jobs,
        config=opened.config,
        parts={Runtime: runtime},
    )


def records_url(config: MgmtConfig) -> str:
    """Where the workflow engine keeps its records: beside an SQLite store, in the same PostgreSQL server."""
    url = config.database_url
    if not url.startswith(_SQLITE):
        return url
    return f"{_SQLITE}{Path(url.removeprefix(_SQLITE)).with_name('jobs.db')}"
