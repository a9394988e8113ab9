"""The whole examination."""

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select

from mgmt.doctor.finding import Finding
from mgmt.doctor.hosts import ask_host, examine_host
from mgmt.doctor.machines import examine_machines
from mgmt.doctor.rows import examine_rows
from mgmt.doctor.shared_pools import examine_shared_pools
from mgmt.doctor.storage import examine_storage
from mgmt.ops.runtime import Runtime
from mgmt.reconcile.look import busy_subjects
from mgmt.store.tables import Host

HOSTS_AT_ONCE = 16


def examine(runtime: Runtime) -> list[Finding]:
    """All contradictions, sorted. Hosts are asked first: what they say is then compared with one snapshot."""
    with runtime.database.reading() as session:
        hosts = session.scalars(select(Host).where(Host.removed.is_(None)).order_by(Host.name)).all()
    with ThreadPoolExecutor(max_workers=HOSTS_AT_ONCE, thread_name_prefix="doctor") as pool:
        reports = list(pool.map(lambda host: ask_host(runtime, host), hosts))
    with runtime.database.reading() as session:
        busy = busy_subjects(session)
        found = set(examine_rows(session, busy))
        for report in reports:
            found |= set(examine_host(session, report, busy))
        found |= set(examine_shared_pools(session, reports, busy))
        found |= set(examine_machines(runtime, session, busy))
        found |= set(examine_storage(runtime, session, busy))
    return sorted(found)
