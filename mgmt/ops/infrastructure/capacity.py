"""How much of everything there is and is taken, from a fixed number of statements.

Memory and storage in bytes, CPU in MHz; overprovisioning is counted into the totals.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any

from sqlalchemy import Float, and_, case, cast, func, select
from sqlalchemy.orm import Session, aliased

from mgmt.model.configuration import (
    CPU_OVERPROVISIONING,
    HOST_RESERVED_MEMORY,
    MEMORY_OVERPROVISIONING,
    STORAGE_OVERPROVISIONING,
    Scope,
)
from mgmt.model.notices import CapacityType
from mgmt.model.states import AddressState, VmState
from mgmt.store.configured import all_values, configured_column
from mgmt.store.tables import (
    Cluster,
    ConfigurationValue,
    Host,
    ImageStore,
    Network,
    PhysicalNetwork,
    Pod,
    PublicAddress,
    ServiceOffering,
    Snapshot,
    StoragePool,
    Template,
    Vm,
    Volume,
    Zone,
)

MIB = 1024**2
_TAKING = (VmState.starting, VmState.running, VmState.stopping, VmState.migrating)


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """One kind of capacity at one place. `used` is taken; `subject_id` is whose it is, with `name`."""

    type: CapacityType
    zone_id: str
    used: int
    total: int
    pod_id: str | None = None
    cluster_id: str | None = None
    subject_id: str = ""
    name: str = ""

    @property
    def share(self) -> float:
        """The share that is taken, 0 to 1 or more."""
        return self.used / self.total if self.total else 0.0


_POOL_COLUMNS = (
    StoragePool.id,
    StoragePool.name,
    StoragePool.zone_id,
    StoragePool.pod_id,
    StoragePool.cluster_id,
    StoragePool.used,
    StoragePool.capacity,
)
Key = tuple[CapacityType, str, str | None, str | None]


def all_capacities(session: Session) -> list[Capacity]:
    """Everything, at the smallest places: clusters, pools, pods, zones."""
    return [
        *cluster_capacities(session),
        *pool_capacities(session),
        *pod_capacities(session),
        *zone_capacities(session),
    ]


def summed_capacities(session: Session) -> list[Capacity]:
    """The same with the pools of each cluster added up: there are as many pools as hosts."""
    return [
        *cluster_capacities(session),
        *_pools_of_clusters(session),
        *pod_capacities(session),
        *zone_capacities(session),
    ]


def sum_up(items: Iterable[Capacity], key: Callable[[Capacity], Key]) -> list[Capacity]:
    """Capacities of the places that `key` tells apart, each the sum of its parts."""
    groups: dict[Key, list[Capacity]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return [
        replace(
            group[0],
            pod_id=where[2],
            cluster_id=where[3],
            used=sum(item.used for item in group),
            total=sum(item.total for item in group),
        )
        for where, group in groups.items()
    ]


def cluster_capacities(session: Session) -> list[Capacity]:
    """Memory, CPU and cores of each cluster that has hosts."""
    columns: Any = {Scope.cluster: Cluster.id.expression, Scope.zone: Cluster.zone_id.expression}
    query = (
        select(
            Cluster,
            func.sum(Host.cpus),
            func.sum(Host.cpus * Host.cpu_mhz),
            func.sum(Host.memory_mib),
            func.count(Host.id),
            configured_column(CPU_OVERPROVISIONING, columns),
            configured_column(MEMORY_OVERPROVISIONING, columns),
            configured_column(HOST_RESERVED_MEMORY, columns),
        )
        .join(Host, Host.cluster_id == Cluster.id)
        .where(Cluster.removed.is_(None), Host.removed.is_(None))
        .group_by(Cluster.id)
    )
    taken = _taken(session)
    found = []
    for cluster, cores, mhz, mib, hosts, cpu_factor, memory_factor, reserved in session.execute(query):
        used = taken.get(cluster.id, (0, 0, 0))
        total_mib = max(int(mib * memory_factor) - int(reserved) * hosts, 0)
        sizes = (
            (CapacityType.memory, used[2] * MIB, total_mib * MIB),
            (CapacityType.cpu, used[1], int(mhz * cpu_factor)),
            (CapacityType.cpu_core, used[0], int(cores * cpu_factor)),
        )
        found += [_of_cluster(cluster, kind, amount, total) for kind, amount, total in sizes]
    return found


def _of_cluster(cluster: Cluster, kind: CapacityType, used: int, total: int) -> Capacity:
    return Capacity(
        type=kind,
        zone_id=cluster.zone_id,
        pod_id=cluster.pod_id,
        cluster_id=cluster.id,
        subject_id=cluster.id,
        name=cluster.name,
        used=used,
        total=total,
    )


def _taken(session: Session) -> dict[str, tuple[int, int, int]]:
    """Cores, MHz and MiB that the VMs of each cluster take."""
    cpus = func.coalesce(Vm.cpus, ServiceOffering.cpus)
    speed = func.coalesce(Vm.cpu_speed, ServiceOffering.cpu_speed)
    memory = func.coalesce(Vm.memory, ServiceOffering.memory)
    query = (
        select(Host.cluster_id, func.sum(cpus), func.sum(cpus * speed), func.sum(memory))
        .join_from(Vm, Host, Host.id == Vm.host_id)
        .join(ServiceOffering, ServiceOffering.id == Vm.offering_id)
        .where(Vm.removed.is_(None), Vm.state.in_(_TAKING))
        .group_by(Host.cluster_id)
    )
    return {row[0]: (int(row[1]), int(row[2]), int(row[3])) for row in session.execute(query)}


def pool_capacities(session: Session, only: Sequence[str] | None = None) -> list[Capacity]:
    """Space in use and space promised of each storage pool, or of those with these ids; three statements."""
    factors = all_values(session, [STORAGE_OVERPROVISIONING])
    sizes = select(Volume.pool_id, func.sum(Volume.size)).where(Volume.removed.is_(None))
    pools = select(*_POOL_COLUMNS).where(StoragePool.removed.is_(None))
    if only is not None:
        sizes, pools = sizes.where(Volume.pool_id.in_(only)), pools.where(StoragePool.id.in_(only))
    promised = {row[0]: int(row[1]) for row in session.execute(sizes.group_by(Volume.pool_id))}
    found = []
    for pool in session.execute(pools):
        where: dict[str, Any] = {
            "zone_id": pool.zone_id,
            "pod_id": pool.pod_id,
            "cluster_id": pool.cluster_id,
            "subject_id": pool.id,
            "name": pool.name,
        }
        found.append(Capacity(type=CapacityType.storage, used=pool.used, total=pool.capacity, **where))
        factor = factors.at(STORAGE_OVERPROVISIONING, (Scope.pool, pool.id), (Scope.zone, pool.zone_id))
        total, taken = int(pool.capacity * factor), promised.get(pool.id, 0)
        found.append(Capacity(type=CapacityType.storage_allocated, used=taken, total=total, **where))
    return found


def _pools_of_clusters(session: Session) -> list[Capacity]:
    """Space in use and space promised of all pools of each cluster; two statements.

    Few pools have a factor of their own, so that is joined; what holds for the others is asked once a place.
    """
    item, own = STORAGE_OVERPROVISIONING, aliased(ConfigurationValue)
    is_own = and_(own.name == item.name, own.scope == Scope.pool.value, own.scope_id == StoragePool.id)
    of_zone: Any = {Scope.zone: StoragePool.zone_id.expression}
    factor = func.coalesce(cast(own.value, Float), configured_column(item, of_zone))
    places = (StoragePool.zone_id, StoragePool.pod_id, StoragePool.cluster_id)
    there = StoragePool.removed.is_(None)
    sizes = (
        select(*places, func.sum(Volume.size))
        .join_from(Volume, StoragePool, StoragePool.id == Volume.pool_id)
        .where(Volume.removed.is_(None), there)
        .group_by(*places)
    )
    promised = {(zone, pod, cluster): int(size) for zone, pod, cluster, size in session.execute(sizes)}
    pools = (
        select(*places, factor, func.sum(StoragePool.used), func.sum(StoragePool.capacity))
        .outerjoin(own, is_own)
        .where(there)
        .group_by(*places, own.value)
    )
    found = []
    for zone, pod, cluster, times, used, size in session.execute(pools):
        where: dict[str, Any] = {"zone_id": zone, "pod_id": pod, "cluster_id": cluster}
        found.append(Capacity(type=CapacityType.storage, used=int(used), total=int(size), **where))
        # Pools of one place may have different factors: what is promised there is counted with the first.
        taken = promised.pop((zone, pod, cluster), 0)
        total = int(int(size) * times)  # PostgreSQL sums up to a Decimal
        found.append(Capacity(type=CapacityType.storage_allocated, used=taken, total=total, **where))
    return found


def pod_capacities(session: Session) -> list[Capacity]:
    """Management addresses of each pod."""
    query = select(Vm.zone_id, Vm.management_address).where(
        Vm.removed.is_(None), Vm.management_address.is_not(None)
    )
    addresses = [(zone, int(IPv4Address(address))) for zone, address in session.execute(query)]
    found = []
    for pod in session.scalars(select(Pod).where(Pod.removed.is_(None))):
        first, last = int(IPv4Address(pod.start_ip)), int(IPv4Address(pod.end_ip))
        used = sum(zone == pod.zone_id and first <= address <= last for zone, address in addresses)
        found.append(
            Capacity(
                type=CapacityType.private_address,
                zone_id=pod.zone_id,
                pod_id=pod.id,
                subject_id=pod.id,
                name=pod.name,
                used=used,
                total=last - first + 1,
            )
        )
    return found


def zone_capacities(session: Session) -> list[Capacity]:
    """Public addresses, guest network ids and secondary storage of each zone."""
    taken = func.sum(case((PublicAddress.state != AddressState.free, 1), else_=0))
    addresses = (
        select(PublicAddress.zone_id, taken, func.count())
        .where(PublicAddress.removed.is_(None))
        .group_by(PublicAddress.zone_id)
    )
    networks = (
        select(func.count())
        .where(Network.zone_id == PhysicalNetwork.zone_id, Network.vni.is_not(None))
        .correlate(PhysicalNetwork)
        .scalar_subquery()
    )
    numbers = func.sum(PhysicalNetwork.vni_last - PhysicalNetwork.vni_first + 1)
    vnis = (
        select(PhysicalNetwork.zone_id, func.max(networks), numbers)
        .where(PhysicalNetwork.removed.is_(None))
        .group_by(PhysicalNetwork.zone_id)
    )
    images = (
        select(ImageStore.zone_id, _kept(Template, Template.size), func.sum(ImageStore.capacity))
        .where(ImageStore.removed.is_(None))
        .group_by(ImageStore.zone_id)
    )
    snapshots = select(Snapshot.zone_id, func.sum(Snapshot.physical_size)).where(Snapshot.removed.is_(None))
    names = {row[0]: row[1] for row in session.execute(select(Zone.id, Zone.name))}
    by_zone = {row[0]: row[1] for row in session.execute(snapshots.group_by(Snapshot.zone_id))}
    found = []
    for kind, query in (
        (CapacityType.public_address, addresses),
        (CapacityType.vlan, vnis),
        (CapacityType.secondary_storage, images),
    ):
        for zone_id, used, total in session.execute(query):
            more = int(by_zone.get(zone_id) or 0) if kind is CapacityType.secondary_storage else 0
            amount = int(used or 0) + more
            found.append(
                Capacity(
                    type=kind,
                    zone_id=zone_id,
                    subject_id=zone_id,
                    name=names.get(zone_id, ""),
                    used=amount,
                    total=int(total),
                )
            )
    return found


def _kept(table: Any, size: Any) -> Any:
    return func.max(
        select(func.coalesce(func.sum(size), 0))
        .where(table.zone_id == ImageStore.zone_id, table.removed.is_(None))
        .correlate(ImageStore)
        .scalar_subquery()
    )
