"""What hosts have, against what the rows say they should have."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.agents.errors import AgentError
from mgmt.doctor.finding import Finding
from mgmt.model.errors import CloudError
from mgmt.model.states import VmState, VolumeState
from mgmt.ops.compute.domains import host_pool
from mgmt.ops.endpoints import driver_of, host_endpoint
from mgmt.ops.network.host_networks import networks_of_host
from mgmt.ops.runtime import Runtime
from mgmt.store.tables import Host, StoragePool, Vm, Volume
from systemvm.spec.host import DomainStatus, HostState, HostVolume


@dataclass(frozen=True)
class Report:
    """What one host says it has; `silence` says why it says nothing."""

    host: Host
    domains: tuple[DomainStatus, ...] = ()
    volumes: tuple[HostVolume, ...] = ()
    state: HostState | None = None
    silence: str = ""


def ask_host(runtime: Runtime, host: Host) -> Report:
    """Ask a host for all it has."""
    try:
        driver, endpoint = driver_of(runtime, host), host_endpoint(host)
        return Report(
            host=host,
            domains=tuple(driver.all_domains(endpoint)),
            volumes=tuple(driver.all_volumes(endpoint)),
            state=driver.state(endpoint),
        )
    except (AgentError, CloudError) as error:
        return Report(host=host, silence=str(error))


def examine_host(session: Session, report: Report, busy: set[str]) -> Iterator[Finding]:
    """Contradictions between one host and the rows."""
    host = report.host
    if report.silence:
        repair = "see that it is powered and its agent runs; `pileus status` there"
        yield Finding("host", host.id, host.name, f"does not answer: {report.silence}", repair)
        return
    yield from _domains(session, report, busy)
    yield from _volumes(session, report, busy)
    yield from _networks(session, report, busy)


def _domains(session: Session, report: Report, busy: set[str]) -> Iterator[Finding]:
    host = report.host
    placed = select(Vm).where(Vm.host_id == host.id, Vm.removed.is_(None))
    here = {vm.id: vm for vm in session.scalars(placed)}
    known = set(session.scalars(select(Vm.id).where(Vm.removed.is_(None))))
    running = {status.id for status in report.domains if status.state == "running"}
    worked_on = {status.id for status in report.domains if status.state == "preparing"}
    for status in report.domains:
        if status.id in busy:
            continue
        if status.id not in known:
            problem = f"is on host {host.name}, but no VM of the cloud"
            yield Finding("VM", status.id, status.name, problem, "destroy it on the host, if it is nobody's")
        elif status.id in running and status.id not in here:
            problem = f"runs on host {host.name}, where it should not be"
            yield Finding("VM", status.id, status.name, problem, "stop it with forced=true, start it")
    for vm in here.values():
        if vm.state == VmState.running and vm.id not in running | worked_on | busy:
            problem = f"is Running, but host {host.name} does not run it"
            yield Finding("VM", vm.id, vm.name, problem, "wait for the next look, or start it")


def _volumes(session: Session, report: Report, busy: set[str]) -> Iterator[Finding]:
    host = report.host
    shared = set(session.scalars(select(StoragePool.id).where(StoragePool.host_id.is_(None))))
    files = {volume.id: volume for volume in report.volumes}
    known = {row.id: row for row in session.scalars(select(Volume).where(Volume.removed.is_(None)))}
    for volume in files.values():
        if volume.id not in known and volume.pool not in shared and not {volume.id, volume.domain} & busy:
            problem = f"is a file of {volume.bytes} bytes on host {host.name}, but no volume of the cloud"
            yield Finding("volume", volume.id, volume.id, problem, "delete it on the host, if it is nobody's")
        row = known.get(volume.id)
        if row is not None and volume.domain not in ("", row.vm_id) and not {volume.id, volume.domain} & busy:
            problem = f"is attached to VM {volume.domain} on host {host.name}, which does not have it"
            yield Finding("volume", volume.id, row.name, problem, "wait for the next look, or stop that VM")
    yield from _copies(session, report, known, busy)
    pools = set(session.scalars(select(StoragePool.id).where(StoragePool.host_id == host.id)))
    for row in known.values():
        is_due = row.pool_id in pools and row.state == VolumeState.ready
        if is_due and row.id not in files and not {row.id, row.vm_id} & busy:
            problem = f"is Ready, but host {host.name} has no file of it"
            yield Finding("volume", row.id, row.name, problem, "restore it from a snapshot, or delete it")


def _copies(
    session: Session, report: Report, known: Mapping[str, Volume], busy: set[str]
) -> Iterator[Finding]:
    """Files of volumes that are in another pool, by their rows; a move may have them in two."""
    host = report.host
    here = [(known[volume.id], volume) for volume in report.volumes if volume.id in known]
    ids = {pool_id for row, _ in here for pool_id in (row.pool_id, row.target_pool_id)}
    pools = {pool.id: pool for pool in session.scalars(select(StoragePool).where(StoragePool.id.in_(ids)))}
    for row, volume in here:
        places = [pools[key] for key in (row.pool_id, row.target_pool_id) if key is not None]
        if not places or _has(places[0], host, volume) or {row.id, row.vm_id} & busy:
            continue
        where = f"pool {volume.pool} of host {host.name}"
        if any(_has(pool, host, volume) for pool in places):
            if volume.domain and volume.domain == row.vm_id:
                problem = f"moved to {where} while its VM ran, but its row says {places[0].name}"
                repair = "wait for the next look: what the VM has counts"
                yield Finding("volume", row.id, row.name, problem, repair)
        else:
            problem = f"has an old copy in {where}: it is in {places[0].name}"
            repair = "wait ten minutes: the copy goes once the host of that pool is seen to have the volume"
            yield Finding("volume", row.id, row.name, problem, repair)


def _has(pool: StoragePool, host: Host, volume: HostVolume) -> bool:
    """Whether a file is where a volume of the pool belongs; a shared pool is on all hosts."""
    return pool.host_id in (None, host.id) and host_pool(pool) == volume.pool


def _networks(session: Session, report: Report, busy: set[str]) -> Iterator[Finding]:
    if busy:  # any job may be between a VM's row and its bridge
        return
    host = report.host
    wanted = networks_of_host(session, host.id)
    there = {network.id for network in report.state.networks} if report.state else set()
    for network_id in sorted(wanted ^ there):
        problem = f"{'lacks its' if network_id in wanted else 'still has a'} bridge on host {host.name}"
        yield Finding("network", network_id, network_id, problem, "start or stop a VM of it there")
