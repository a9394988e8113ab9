"""The networks of hosts: compiled from where VMs are, pushed before a VM starts there."""

import logging
from collections import defaultdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.agents.errors import AgentError
from mgmt.desired.host import PlacedNetwork, compile_host
from mgmt.model.errors import CloudError
from mgmt.ops.endpoints import driver_of, host_endpoint
from mgmt.ops.runtime import Runtime
from mgmt.store.tables import Host, Network, Nic, Vm
from systemvm.spec.host import HostState

log = logging.getLogger(__name__)


def push_host(runtime: Runtime, host_id: str) -> None:
    """Bring a host's networks up to date. Raises AgentError, or CloudError."""
    with runtime.locks.hold(f"host:{host_id}"):
        with runtime.database.writing() as session:
            host = session.get_one(Host, host_id)
            host.generation += 1
            document = _compile(session, host, runtime.authority.ticket_public_key)
            driver, endpoint = driver_of(runtime, host), host_endpoint(host)
        driver.put_state(endpoint, document)


def tidy_host(runtime: Runtime, host_id: str | None) -> None:
    """Take networks from a host that a VM has left. One that does not answer is tidied by the next push."""
    if host_id is None:
        return
    try:
        push_host(runtime, host_id)
    except (AgentError, CloudError) as error:
        log.warning("host %s keeps networks that it no longer needs, because %s", host_id, error)


def networks_of_host(session: Session, host_id: str) -> set[str]:
    """Ids of the networks that a host should have: those of the VMs on it."""
    return {network_id for host, network_id in _placements(session) if host == host_id}


def push_hosts_of(runtime: Runtime, network_id: str) -> None:
    """Bring all hosts up to date that have a VM of the network: they are each other's peers."""
    with runtime.database.reading() as session:
        hosts = [host_id for host_id, network in _placements(session) if network == network_id]
    for host_id in sorted(set(hosts)):
        push_host(runtime, host_id)


def _compile(session: Session, host: Host, ticket_key: str) -> HostState:
    addresses: dict[str, str] = {row.id: row.address for row in session.scalars(select(Host))}
    placed: defaultdict[str, list[str]] = defaultdict(list)
    for host_id, network_id in _placements(session):
        placed[network_id].append(host_id)
    here = [network_id for network_id, hosts in placed.items() if host.id in hosts]
    networks = session.scalars(select(Network).where(Network.id.in_(here), Network.vni.is_not(None)))
    wanted = [
        PlacedNetwork(
            id=network.id,
            vni=network.vni or 0,
            hosts=tuple(addresses[other] for other in placed[network.id]),
        )
        for network in networks
    ]
    return compile_host(host.id, host.address, host.generation, wanted, ticket_key)


def _placements(session: Session) -> list[tuple[str, str]]:
    """Pairs of host and network: each VM that is on a host brings its networks there."""
    query = (
        select(Vm.host_id, Nic.network_id)
        .join(Nic, Nic.vm_id == Vm.id)
        .where(
            Vm.host_id.is_not(None),
            Vm.removed.is_(None),
            Nic.removed.is_(None),
            Nic.network_id.is_not(None),
        )
        .distinct()
    )
    return [(host_id, network_id) for host_id, network_id in session.execute(query) if host_id and network_id]
