"""What simulated hosts have, from the rows: a management server that starts again finds all as it was.

Hosts, tenants' VMs and volumes are put together in bulk, from a few statements; system VMs boot and are
configured through the same doors as ever, because their documents are not simple.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.alloc.sizes import CPUS, MEMORY
from mgmt.desired.domain import Disk, Plug, VmInput, compile_guest
from mgmt.desired.host import PlacedNetwork, compile_host, guest_bridge
from mgmt.drivers.simulated_host import Files, SharedFolder, SimulatedHost
from mgmt.drivers.simulator import Simulator
from mgmt.model.states import VmKind, VmState, VolumeKind, VolumeState
from mgmt.ops.compute.domains import compile_domain, host_pool
from mgmt.ops.endpoints import host_endpoint, machine_agent, placed_host
from mgmt.ops.machines.documents import compile_document
from mgmt.ops.runtime import Runtime
from mgmt.store.tables import Host, Network, Nic, PoolHost, ServiceOffering, StoragePool, Vm, Volume
from systemvm.spec.host import DomainStatus, HostVolume

DRIVER = "simulator"


def fill_memory(runtime: Runtime) -> None:
    """Let the runtime's simulator have what the rows of its hosts say."""
    simulator = runtime.drivers[DRIVER]
    assert isinstance(simulator, Simulator)  # noqa: S101 (its name says so; this tells the type checker)
    with runtime.database.reading() as session:
        hosts = _hosts(session, runtime.authority.ticket_public_key)
        simulator.hosts.update({host.address: host for host in hosts.values()})
        _add_guests(session, hosts)
        _add_volumes(session, hosts, _add_shared(session, simulator, hosts))
        running = select(Vm).where(Vm.kind != VmKind.user, Vm.state == VmState.running, Vm.removed.is_(None))
        for vm in session.scalars(running).all():
            _boot(runtime, simulator, session, vm)


def _hosts(session: Session, ticket_key: str) -> dict[str, SimulatedHost]:
    """Hosts with their networks, by id."""
    rows = session.scalars(select(Host).where(Host.driver == DRIVER, Host.removed.is_(None))).all()
    pools: defaultdict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for pool in session.scalars(select(StoragePool).where(StoragePool.removed.is_(None))):
        pools[pool.host_id or ""][host_pool(pool)] = (pool.capacity, pool.capacity - pool.used)
    networks = _networks(session, {row.id: row.address for row in rows})
    return {
        row.id: SimulatedHost(
            name=row.name,
            address=row.address,
            cpus=row.cpus,
            memory_mib=row.memory_mib,
            pools=pools[row.id],
            state=compile_host(row.id, row.address, max(row.generation, 1), networks[row.id], ticket_key),
        )
        for row in rows
    }


def _networks(session: Session, addresses: dict[str, str]) -> defaultdict[str, list[PlacedNetwork]]:
    """The networks of each host, by its id, with the addresses of all hosts that have a VM of them."""
    query = (
        select(Vm.host_id, Network.id, Network.vni)
        .join_from(Vm, Nic, Nic.vm_id == Vm.id)
        .join(Network, Network.id == Nic.network_id)
        .where(Vm.removed.is_(None), Nic.removed.is_(None))
        .distinct()
    )
    there: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    for host_id, network_id, vni in session.execute(query):
        if host_id is not None and vni is not None:
            there[network_id, vni].append(host_id)
    found: defaultdict[str, list[PlacedNetwork]] = defaultdict(list)
    for (network_id, vni), hosts in there.items():
        known = tuple(addresses[host] for host in hosts if host in addresses)
        network = PlacedNetwork(id=network_id, vni=vni, hosts=known)
        for host in hosts:
            found[host].append(network)
    return found


def _add_guests(session: Session, hosts: dict[str, SimulatedHost]) -> None:
    """Tenants' VMs that run, and those that a host still knows since it stopped them."""
    plugs: defaultdict[str, list[Plug]] = defaultdict(list)
    nics = select(Nic.vm_id, Nic.mac, Network.vni).join(Network, Network.id == Nic.network_id)
    for vm_id, mac, vni in session.execute(nics.where(Nic.removed.is_(None)).order_by(Nic.position)):
        plugs[vm_id].append(Plug(mac=mac, bridge=guest_bridge(vni or 0)))
    disks: defaultdict[str, list[Disk]] = defaultdict(list)
    for volume, pool in _volumes(session):
        disks[volume.vm_id or ""].append(Disk(id=volume.id, pool=host_pool(pool), bytes=volume.size))
    query = (
        select(Vm.id, Vm.instance_name, Vm.host_id, Vm.last_host_id, Vm.state, Vm.reboots, CPUS, MEMORY)
        .join_from(Vm, ServiceOffering, ServiceOffering.id == Vm.offering_id)
        .where(Vm.kind == VmKind.user, Vm.removed.is_(None))
    )
    for vm_id, name, host_id, last_host_id, state, reboots, cpus, memory in session.execute(query):
        host = hosts.get(host_id or last_host_id or "")
        if host is None:
            continue
        power = "running" if state == VmState.running else "stopped"
        host.domains[vm_id] = compile_guest(
            VmInput(
                id=vm_id,
                name=name,
                power=power,
                cpus=cpus,
                memory=memory,
                plugs=tuple(plugs[vm_id]),
                disks=tuple(disks[vm_id]),
                reboots=reboots,
            )
        )
        host.status[vm_id] = DomainStatus(id=vm_id, name=name, state=power, reboots=reboots)


def _add_shared(
    session: Session, simulator: Simulator, hosts: dict[str, SimulatedHost]
) -> dict[str, SharedFolder]:
    """The shared folders by the ids of the pools in them, and who is connected to them."""
    query = select(StoragePool).where(StoragePool.host_id.is_(None), StoragePool.removed.is_(None))
    paths = {pool.id: pool.path for pool in session.scalars(query)}
    for pool_id, path in paths.items():
        simulator.folders[path].pool = pool_id
    for row in session.scalars(select(PoolHost)):
        if row.host_id in hosts and row.pool_id in paths:
            path = paths[row.pool_id]
            hosts[row.host_id].shared[row.pool_id] = (path, simulator.folders[path])
    return {pool_id: simulator.folders[path] for pool_id, path in paths.items()}


def _add_volumes(
    session: Session, hosts: dict[str, SimulatedHost], shared: Mapping[str, SharedFolder]
) -> None:
    for volume, pool in _volumes(session):
        host = hosts.get(pool.host_id or "")
        files: Files | None = shared.get(pool.id)
        if host is not None:
            files = host.files(host_pool(pool))
        if files is None:
            continue
        files.volumes[volume.id] = HostVolume(
            id=volume.id, pool=host_pool(pool), bytes=volume.size, allocated=0, domain=volume.vm_id or ""
        )
        if volume.kind == VolumeKind.data:
            files.kept.add(volume.id)


def _volumes(session: Session) -> Iterator[tuple[Any, Any]]:
    """All volumes that are files, in the order of their VMs' disks, with their pools: of both what is needed.

    There may be tens of thousands: whole rows of all would be most of what the server ever takes of memory.
    """
    there = select(StoragePool.id, StoragePool.host_id, StoragePool.path)
    pools = {pool.id: pool for pool in session.execute(there)}
    query = (
        select(Volume.id, Volume.vm_id, Volume.size, Volume.kind, Volume.pool_id)
        .join(StoragePool, StoragePool.id == Volume.pool_id)
        .where(Volume.removed.is_(None), Volume.state == VolumeState.ready)
    )
    for volume in session.execute(query.order_by(Volume.device)):
        yield volume, pools[volume.pool_id or ""]


def _boot(runtime: Runtime, simulator: Simulator, session: Session, vm: Vm) -> None:
    """A system VM that runs, with the last document it was given."""
    host = host_endpoint(placed_host(session, vm))
    simulator.put_domain(host, compile_domain(runtime, session, vm, "running"))
    if vm.applied:
        machine_agent(runtime, session, vm).put_state(compile_document(runtime, session, vm))
