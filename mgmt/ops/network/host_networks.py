"""The networks of hosts: compiled from where VMs are, pushed before a VM starts there.

A host that gets its first VM of a network is one more peer of all others that have it: `spread_networks`
notes that in the transaction that puts the VM there, `prepare_networks` tells the hosts. Many VMs at once are
told together, and a VM whose network is on its host already costs two reads.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, bindparam, exists, select, update
from sqlalchemy.orm import Session, aliased

from mgmt.agents.errors import AgentError
from mgmt.desired.host import PlacedNetwork, compile_host
from mgmt.model.errors import CloudError
from mgmt.ops.endpoints import driver_of, host_endpoint
from mgmt.ops.runtime import Runtime
from mgmt.store.tables import Host, Network, Nic, Vm
from systemvm.spec.host import HostState

log = logging.getLogger(__name__)
#: Where a VM is, and where it moves.
PLACES: tuple[Any, ...] = (Vm.host_id, Vm.target_host_id)
_NEIGHBOUR, _OWN = aliased(Vm), aliased(Nic)
_IS_THERE = (
    exists()
    .where(Nic.network_id == Network.id, Nic.removed.is_(None), Nic.vm_id == _NEIGHBOUR.id)
    .where(_NEIGHBOUR.host_id == bindparam("at_host"), _NEIGHBOUR.removed.is_(None))
    .where(_NEIGHBOUR.id != bindparam("of_vm"))
)
_MINE = select(_OWN.network_id).where(_OWN.vm_id == bindparam("of_vm"), _OWN.removed.is_(None))
#: Built once, because each VM that is placed needs it: building it takes far longer than running it.
_SPREAD = update(Network).where(Network.id.in_(_MINE), ~_IS_THERE).values(spread=Network.spread + 1)
_KNOWN = (
    select(Network.id, Network.spread, Network.told, Host.networks)
    .join_from(Network, Host, Host.id == bindparam("host_id"))
    .where(Network.id.in_(bindparam("network_ids", expanding=True)))
)


def spread_networks(session: Session, vm: Vm) -> None:
    """Note the networks that a VM, placed just now, brings to a host which did not have them."""
    session.flush()
    session.execute(
        _SPREAD,
        {"at_host": vm.host_id, "of_vm": vm.id},
        execution_options={"synchronize_session": False},
    )


def prepare_networks(runtime: Runtime, host_id: str, network_ids: list[str]) -> None:
    """See that a host has these networks, and that all who have them know of each other.

    Raises AgentError, or CloudError.
    """
    for network_id in _unprepared(runtime, host_id, network_ids):
        with runtime.locks.hold(f"spread:{network_id}"):
            spread = _unprepared(runtime, host_id, [network_id]).get(network_id)
            if spread is None:
                continue
            push_hosts_of(runtime, network_id)
            with runtime.database.writing() as session:
                network = session.get_one(Network, network_id)
                network.told = max(network.told, spread)


def push_host(runtime: Runtime, host_id: str) -> None:
    """Bring a host's networks up to date. Raises AgentError, or CloudError."""
    with runtime.locks.hold(f"host:{host_id}"):
        with runtime.database.writing() as session:
            host = session.get_one(Host, host_id)
            host.generation += 1
            host.networks = []
            session.flush()
            document = _compile(session, host, runtime.authority.ticket_public_key)
            driver, endpoint = driver_of(runtime, host), host_endpoint(host)
        driver.put_state(endpoint, document)
        with runtime.database.writing() as session:
            is_last = (Host.id == host_id, Host.generation == document.generation)
            taken = [network.id for network in document.networks]
            session.execute(update(Host).where(*is_last).values(networks=taken))


def tidy_host(runtime: Runtime, host_id: str | None) -> None:
    """Take networks from a host that a VM has left. One that does not answer is tidied by the next push."""
    if host_id is None:
        return
    with runtime.database.reading() as session:
        known = session.scalars(select(Host.networks).where(Host.id == host_id)).one()
        if known and set(known) == networks_of_host(session, host_id):
            return
    try:
        push_host(runtime, host_id)
    except (AgentError, CloudError) as error:
        log.warning("host %s keeps networks that it no longer needs, because %s", host_id, error)


def networks_of_host(session: Session, host_id: str) -> set[str]:
    """Ids of the networks that a host should have: those of the VMs on it."""
    return networks_of_hosts(session, [host_id])[host_id]


def networks_of_hosts(session: Session, host_ids: Sequence[str]) -> defaultdict[str, set[str]]:
    """The same of many hosts, by their ids; two statements."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for place in PLACES:
        for host_id, network_id in session.execute(_placements(place).where(place.in_(host_ids))):
            found[host_id or ""].add(network_id or "")
    return found


def push_hosts_of(runtime: Runtime, network_id: str) -> None:
    """Bring all hosts up to date that have a VM of the network: they are each other's peers."""
    with runtime.database.reading() as session:
        queries = (
            _placements(place).with_only_columns(place).where(Nic.network_id == network_id)
            for place in PLACES
        )
        hosts = {host_id for query in queries for host_id in session.scalars(query) if host_id}
    for host_id in sorted(hosts):
        push_host(runtime, host_id)


def _unprepared(runtime: Runtime, host_id: str, network_ids: list[str]) -> dict[str, int]:
    """The networks that a host does not have, or whose peers do not know; and how far each is spread."""
    with runtime.database.reading() as session:
        found = session.execute(_KNOWN, {"network_ids": network_ids, "host_id": host_id}).all()
    rows = {network_id: (spread, told, known) for network_id, spread, told, known in found}
    return {
        network_id: rows[network_id][0]
        for network_id in network_ids
        if rows[network_id][1] < rows[network_id][0] or network_id not in rows[network_id][2]
    }


def _compile(session: Session, host: Host, ticket_key: str) -> HostState:
    here = networks_of_host(session, host.id)
    placed: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    for place in PLACES:
        query = (
            _placements(place)
            .join(Host, Host.id == place)
            .join(Network, Network.id == Nic.network_id)
            .with_only_columns(Network.id, Network.vni, Host.address)
            .where(Nic.network_id.in_(here), Network.vni.is_not(None))
        )
        for network_id, vni, address in session.execute(query):
            placed[network_id, vni or 0].add(address)
    wanted = [
        PlacedNetwork(id=network_id, vni=vni, hosts=tuple(hosts))
        for (network_id, vni), hosts in placed.items()
    ]
    return compile_host(host.id, host.address, host.generation, wanted, ticket_key)


def _placements(place: Any) -> Select[str | None, str | None]:
    """Pairs of host and network: each VM that is on a host, or on its way, brings its networks there.

    `place` is one of `PLACES`: two statements, because each uses an index.
    """
    return (
        select(place, Nic.network_id)
        .join(Nic, Nic.vm_id == Vm.id)
        .where(
            place.is_not(None),
            Vm.removed.is_(None),
            Nic.removed.is_(None),
            Nic.network_id.is_not(None),
        )
        .distinct()
    )
