"""What is in shared pools, by the word of all hosts that reach them, against the rows."""

from collections.abc import Iterator, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.doctor.finding import Finding
from mgmt.doctor.hosts import Report
from mgmt.model.states import VolumeState
from mgmt.ops.storage.shared_pools import is_due
from mgmt.store.tables import PoolHost, StoragePool, Volume


def examine_shared_pools(session: Session, reports: Sequence[Report], busy: set[str]) -> Iterator[Finding]:
    """Contradictions between shared pools and the rows, each named once, however many hosts see it."""
    pools = select(StoragePool).where(StoragePool.host_id.is_(None), StoragePool.removed.is_(None))
    known = set(session.scalars(select(Volume.id).where(Volume.removed.is_(None))))
    for pool in session.scalars(pools).all():
        reaching = set(session.scalars(select(PoolHost.host_id).where(PoolHost.pool_id == pool.id)))
        answered = [report for report in reports if not report.silence]
        for report in answered:
            if is_due(pool, report.host) and report.host.id not in reaching:
                problem = f"is not reached by host {report.host.name}"
                repair = f"mount {pool.path} there"
                yield Finding("storage pool", pool.id, pool.name, problem, repair)
        seen = [report for report in answered if report.host.id in reaching]
        if seen:
            yield from _files(session, pool, seen, known, busy)


def _files(
    session: Session, pool: StoragePool, reports: Sequence[Report], known: set[str], busy: set[str]
) -> Iterator[Finding]:
    files = {volume.id: volume for report in reports for volume in report.volumes if volume.pool == pool.id}
    owners = {volume.id: volume.domain for report in reports for volume in report.volumes if volume.domain}
    for volume in files.values():
        if volume.id not in known and not {volume.id, owners.get(volume.id, "")} & busy:
            problem = (
                f"is a file of {volume.bytes} bytes in storage pool {pool.name}, but no volume of the cloud"
            )
            repair = f"delete it in {pool.path}, if it is nobody's"
            yield Finding("volume", volume.id, volume.id, problem, repair)
    due = select(Volume).where(
        Volume.pool_id == pool.id, Volume.state == VolumeState.ready, Volume.removed.is_(None)
    )
    for row in session.scalars(due):
        if row.id not in files and not {row.id, row.vm_id} & busy:
            problem = f"is Ready, but storage pool {pool.name} has no file of it"
            yield Finding("volume", row.id, row.name, problem, "restore it from a snapshot, or delete it")
