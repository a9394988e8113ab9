"""What a host still has although it is decided that it goes: an answer was lost, or an undo failed.

Only what the database knows, and calls removed or somewhere else, is taken away; what it has never heard of
is the doctor's.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.agents.errors import AgentError
from mgmt.model.errors import CloudError
from mgmt.ops.endpoints import HOST_COLUMNS, driver_of, host_endpoint
from mgmt.ops.network.host_networks import networks_of_hosts, push_host
from mgmt.ops.runtime import Runtime
from mgmt.reconcile.look import busy_subjects
from mgmt.reconcile.stale import remove_stale, with_misplaced
from mgmt.store.tables import Host, Vm, Volume
from systemvm.spec.host import DomainStatus, HostVolume

log = logging.getLogger(__name__)
#: Time between two looks; and how long ago something must have been removed: its job is over then.
PAUSE = timedelta(minutes=10)
#: So many hosts are compared with the rows by the same few statements.
_PORTION = 50
_NOT_TIDIED = "host %s is not tidied this time, because %s"


@dataclass(frozen=True)
class _Kept:
    """A host and what it has; of networks the ids."""

    host: Any
    domains: Sequence[DomainStatus]
    volumes: Sequence[HostVolume]
    networks: frozenset[str]


def tidy(runtime: Runtime) -> None:
    """Look at all hosts that are up, some at a time. One that fails is looked at the next time."""
    with runtime.database.reading() as session:
        query = select(*HOST_COLUMNS).where(Host.state == "Up", Host.removed.is_(None))
        hosts: Sequence[Any] = session.execute(query).all()
    for first in range(0, len(hosts), _PORTION):
        asked = (_ask(runtime, host) for host in hosts[first : first + _PORTION])
        _tidy_hosts(runtime, [kept for kept in asked if kept is not None])


def _ask(runtime: Runtime, host: Any) -> _Kept | None:
    """What a host has; None if it does not say."""
    try:
        driver, endpoint = driver_of(runtime, host), host_endpoint(host)
        domains, volumes = driver.all_domains(endpoint), driver.all_volumes(endpoint)
        state = driver.state(endpoint)
    except (AgentError, CloudError) as error:
        log.info(_NOT_TIDIED, host.name, error)
        return None
    return _Kept(
        host=host,
        domains=domains,
        volumes=volumes,
        networks=frozenset(network.id for network in state.networks) if state else frozenset(),
    )


def _tidy_hosts(runtime: Runtime, asked: Sequence[_Kept]) -> None:
    limit = runtime.now() - PAUSE
    with runtime.database.reading() as session:
        gone_vms = _removed(session, Vm, (each.id for kept in asked for each in kept.domains), limit)
        gone_volumes = _removed(session, Volume, (each.id for kept in asked for each in kept.volumes), limit)
        misplaced = with_misplaced(session, [(kept.host.id, kept.domains, kept.volumes) for kept in asked])
        wanted = networks_of_hosts(session, [kept.host.id for kept in asked])
        strange = [kept for kept in asked if kept.networks != wanted[kept.host.id]]
        untidy = _without_jobs(session, strange) if strange else set()
    for kept in asked:
        try:
            _clean(runtime, kept, gone_vms, gone_volumes)
            if kept.host.id in misplaced:
                remove_stale(runtime, kept.host, kept.domains, kept.volumes)
            if kept.host.id in untidy:
                log.warning("host %s is told its networks, because it has others", kept.host.name)
                push_host(runtime, kept.host.id)
        except (AgentError, CloudError) as error:
            log.info(_NOT_TIDIED, kept.host.name, error)


def _clean(runtime: Runtime, kept: _Kept, gone_vms: set[str], gone_volumes: set[str]) -> None:
    """Remove what is gone from one host."""
    driver, endpoint, name = driver_of(runtime, kept.host), host_endpoint(kept.host), kept.host.name
    for vm_id in sorted(gone_vms & {status.id for status in kept.domains}):
        log.warning("VM %s is removed from host %s, because it is expunged", vm_id, name)
        driver.delete_domain(endpoint, vm_id)
    loose = {volume.id for volume in kept.volumes if not volume.domain or volume.domain in gone_vms}
    for volume_id in sorted(gone_volumes & loose):
        log.warning("volume %s is removed from host %s, because it is deleted", volume_id, name)
        driver.delete_volume(endpoint, volume_id)


def _removed(
    session: Session, table: type[Vm] | type[Volume], ids: Iterable[str], limit: datetime
) -> set[str]:
    """Those of the ids whose rows were removed before `limit`."""
    return set(session.scalars(select(table.id).where(table.id.in_(ids), table.removed < limit)))


def _without_jobs(session: Session, hosts: Sequence[_Kept]) -> set[str]:
    """Ids of the hosts with no job about a VM there or a network they have: what one does may be half-way."""
    ids = [kept.host.id for kept in hosts]
    here: defaultdict[str, set[str]] = defaultdict(set)
    for host_id, vm_id in session.execute(
        select(Vm.host_id, Vm.id).where(Vm.host_id.in_(ids), Vm.removed.is_(None))
    ):
        here[host_id or ""].add(vm_id)
    busy = busy_subjects(session)
    return {kept.host.id for kept in hosts if busy.isdisjoint(here[kept.host.id] | kept.networks)}
