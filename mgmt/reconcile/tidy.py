"""What a host still has although it is decided that it goes: an answer was lost, or an undo failed.

Only what the database knows, and calls removed or somewhere else, is taken away; what it has never heard of
is the doctor's.
"""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.agents.errors import AgentError
from mgmt.model.errors import CloudError
from mgmt.ops.endpoints import driver_of, host_endpoint
from mgmt.ops.network.host_networks import networks_of_host, push_host
from mgmt.ops.runtime import Runtime
from mgmt.reconcile.look import busy_subjects
from mgmt.reconcile.stale import remove_stale
from mgmt.store.tables import Host, Vm, Volume

log = logging.getLogger(__name__)
#: Time between two looks; and how long ago something must have been removed: its job is over then.
PAUSE = timedelta(minutes=10)


def tidy(runtime: Runtime) -> None:
    """Look at all hosts that are up, one after the other. One that fails is looked at the next time."""
    with runtime.database.reading() as session:
        hosts = session.scalars(select(Host).where(Host.state == "Up", Host.removed.is_(None))).all()
    for host in hosts:
        try:
            _tidy_host(runtime, host)
        except (AgentError, CloudError) as error:
            log.info("host %s is not tidied this time, because %s", host.name, error)


def _tidy_host(runtime: Runtime, host: Host) -> None:
    driver, endpoint = driver_of(runtime, host), host_endpoint(host)
    domains, volumes = driver.all_domains(endpoint), driver.all_volumes(endpoint)
    state = driver.state(endpoint)
    limit = runtime.now() - PAUSE
    with runtime.database.reading() as session:
        gone_vms = _removed(session, Vm, [status.id for status in domains], limit)
        gone_volumes = _removed(session, Volume, [volume.id for volume in volumes], limit)
        there = {network.id for network in state.networks} if state else set()
        is_tidy = there == networks_of_host(session, host.id) or _has_jobs(session, host.id, there)
    for vm_id in sorted(gone_vms):
        log.warning("VM %s is removed from host %s, because it is expunged", vm_id, host.name)
        driver.delete_domain(endpoint, vm_id)
    attached = {volume.id for volume in volumes if volume.domain and volume.domain not in gone_vms}
    for volume_id in sorted(gone_volumes - attached):
        log.warning("volume %s is removed from host %s, because it is deleted", volume_id, host.name)
        driver.delete_volume(endpoint, volume_id)
    remove_stale(runtime, host, domains, volumes)
    if not is_tidy:
        log.warning("host %s is told its networks, because it has others", host.name)
        push_host(runtime, host.id)


def _removed(
    session: Session, table: type[Vm] | type[Volume], ids: Iterable[str], limit: datetime
) -> set[str]:
    """Those of the ids whose rows were removed before `limit`."""
    return set(session.scalars(select(table.id).where(table.id.in_(ids), table.removed < limit)))


def _has_jobs(session: Session, host_id: str, networks: set[str]) -> bool:
    """Whether a job is about a VM of the host or one of the networks: it may be half-way."""
    here = set(session.scalars(select(Vm.id).where(Vm.host_id == host_id, Vm.removed.is_(None))))
    return bool(busy_subjects(session) & (here | networks))
