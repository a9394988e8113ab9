"""Which host takes a VM: chosen in SQL, by the order of a planner; or a sentence about those that do not.

The number of statements is fixed, however many hosts and VMs there are, and first fit reads the hosts in
the order of their index until one fits.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, String, and_, case, cast, func, literal, or_, select, true
from sqlalchemy.orm import Session, aliased

from mgmt.alloc.affinity import Affinity
from mgmt.alloc.refusals import HostView, why_none
from mgmt.alloc.sizes import CPUS, MEMORY
from mgmt.model.configuration import (
    ALLOCATION_ALGORITHM,
    CLUSTER_CPU_LIMIT,
    CLUSTER_MEMORY_LIMIT,
    CPU_OVERPROVISIONING,
    HOST_RESERVED_MEMORY,
    MEMORY_OVERPROVISIONING,
    Item,
    Scope,
)
from mgmt.model.errors import NoCapacity
from mgmt.model.states import Allocation, VmKind, VmState
from mgmt.store.configured import configured_items
from mgmt.store.tables import (
    Cluster,
    ConfigurationValue,
    Dedication,
    Domain,
    Host,
    Pod,
    ServiceOffering,
    Vm,
    Zone,
)

_TAKING = (VmState.starting, VmState.running, VmState.stopping)

_SETTINGS = (
    ALLOCATION_ALGORITHM,
    CPU_OVERPROVISIONING,
    MEMORY_OVERPROVISIONING,
    HOST_RESERVED_MEMORY,
    CLUSTER_CPU_LIMIT,
    CLUSTER_MEMORY_LIMIT,
)


@dataclass(frozen=True)
class Demand:
    """What a VM needs; memory in MiB. `host_id` where its disks or its owner tie it to one host.

    `account_id` and `domain_id` are a tenant's; without them (system VMs) dedications do not count.
    """

    zone_id: str
    cpus: int
    memory: int
    host_id: str | None = None
    tags: tuple[str, ...] = ()
    account_id: str | None = None
    domain_id: str | None = None
    affinity: Affinity = field(default_factory=Affinity)


def place(session: Session, demand: Demand) -> Host:
    """The first host that fits, in the planner's order. Raises NoCapacity with what the hosts lack."""
    room = _Room(session, demand.zone_id)
    query = (
        _hosts(select(Host), demand)
        .where(Host.state == "Up", Host.resource_state == "Enabled")
        .where(Cluster.allocation == Allocation.enabled, Pod.allocation == Allocation.enabled)
        .where(room.free_cpus >= demand.cpus, room.free_memory >= demand.memory)
        .where(_may_use(demand), *(_has_tag(tag) for tag in demand.tags), *_must(demand.affinity))
        .order_by(*_wishes(demand.affinity), *_order(room, demand), Host.created, Host.name)
    )
    host: Host | None = session.scalars(query.limit(1)).first()
    if host is not None:
        return host
    zone = session.get_one(Zone, demand.zone_id)
    views, is_tied = _views(session, demand, room), demand.host_id is not None
    raise NoCapacity(why_none(views, demand.cpus, demand.memory, zone.name, is_tied=is_tied))


def _hosts(query: Any, demand: Demand) -> Any:
    query = (
        query.join(Cluster, Cluster.id == Host.cluster_id)
        .join(Pod, Pod.id == Host.pod_id)
        .where(Host.zone_id == demand.zone_id, Host.removed.is_(None))
    )
    return query if demand.host_id is None else query.where(Host.id == demand.host_id)


def _used(amount: ColumnElement[Any]) -> ColumnElement[Any]:
    """What the VMs of a host take."""
    return (
        select(func.coalesce(func.sum(amount), 0))
        .join_from(Vm, ServiceOffering, ServiceOffering.id == Vm.offering_id)
        .where(Vm.host_id == Host.id, Vm.removed.is_(None), Vm.state.in_(_TAKING))
        .correlate(Host)
        .scalar_subquery()
    )


class _Room:
    """What hosts have and have left, in SQL, by the configuration of their clusters."""

    def __init__(self, session: Session, zone_id: str) -> None:
        self._everywhere = configured_items(session, _SETTINGS, {Scope.zone: zone_id})
        names = list(self._everywhere)
        query = select(ConfigurationValue).where(
            ConfigurationValue.scope == Scope.cluster, ConfigurationValue.name.in_(names)
        )
        self._by_cluster = session.scalars(query).all()
        self.planner: str = self._everywhere[ALLOCATION_ALGORITHM.name]
        reserve = self._setting(HOST_RESERVED_MEMORY)
        cpus = Host.cpus * self._setting(CPU_OVERPROVISIONING)
        memory = Host.memory_mib * self._setting(MEMORY_OVERPROVISIONING) - reserve
        self.most_cpus = cpus * self._setting(CLUSTER_CPU_LIMIT)
        self.most_memory = memory * self._setting(CLUSTER_MEMORY_LIMIT)
        self.free_cpus = self.most_cpus - _used(CPUS)
        self.free_memory = self.most_memory - _used(MEMORY)

    def _setting(self, item: Item[Any]) -> ColumnElement[Any]:
        own = {row.scope_id: item.read(row.value) for row in self._by_cluster if row.name == item.name}
        base = literal(self._everywhere[item.name])
        return case(own, value=Host.cluster_id, else_=base) if own else base


def _has_tag(tag: str) -> ColumnElement[bool]:
    return cast(Host.tags, String).contains(json.dumps(tag), autoescape=True)


def _may_use(demand: Demand) -> ColumnElement[bool]:
    """Whether the host, its pod, cluster and zone are dedicated to nobody else than the owner."""
    if demand.account_id is None:
        return true()
    path = select(Domain.path).where(Domain.id == demand.domain_id).scalar_subquery()
    is_ours = and_(
        func.substr(path, 1, func.length(Domain.path)) == Domain.path,
        or_(Dedication.account_id.is_(None), Dedication.account_id == demand.account_id),
    )
    others = (
        select(literal(1))
        .join_from(Dedication, Domain, Domain.id == Dedication.domain_id)
        .where(Dedication.resource_id.in_([Host.id, Host.cluster_id, Host.pod_id, Host.zone_id]))
        .where(Dedication.removed.is_(None), ~is_ours)
        .correlate(Host)
    )
    return ~others.exists()


def _must(affinity: Affinity) -> list[ColumnElement[bool]]:
    never = [Host.id.not_in(affinity.never)] if affinity.never else []
    return [*(Host.id.in_(group) for group in affinity.among), *never]


def _wishes(affinity: Affinity) -> list[ColumnElement[Any]]:
    first = [case((Host.id.in_(affinity.prefer), 0), else_=1)] if affinity.prefer else []
    last = [case((Host.id.in_(affinity.avoid), 1), else_=0)] if affinity.avoid else []
    return [*first, *last]


def _order(room: _Room, demand: Demand) -> list[ColumnElement[Any]]:
    planner = room.planner
    if planner == "random":
        return [func.random()]
    if planner == "firstfitleastconsumed":
        return [room.free_memory.desc()]
    if planner == "userdispersing":
        return [_own_vms(demand, Vm.host_id == Host.id)]
    if planner.startswith("userconcentratedpod"):
        most = _own_vms(demand, Vm.host_id.in_(_pod_hosts())).desc()
        return [most, func.random()] if planner.endswith("random") else [most]
    return []


def _pod_hosts() -> Select[Any]:
    neighbour = aliased(Host)
    return select(neighbour.id).where(neighbour.pod_id == Host.pod_id).correlate(Host)


def _own_vms(demand: Demand, where: ColumnElement[bool]) -> ColumnElement[Any]:
    """How many of the owner's VMs are there."""
    return (
        select(func.count(Vm.id))
        .where(Vm.account_id == demand.account_id, Vm.kind == VmKind.user, Vm.removed.is_(None), where)
        .correlate(Host)
        .scalar_subquery()
    )


def _views(session: Session, demand: Demand, room: _Room) -> list[HostView]:
    """All hosts of the zone as they look to the demand, by one statement."""
    query = _hosts(
        select(
            Host,
            Cluster,
            Pod,
            _may_use(demand),
            room.most_cpus,
            room.free_cpus,
            room.most_memory,
            room.free_memory,
        ),
        demand,
    ).order_by(Host.created, Host.name)
    return [
        HostView(
            name=host.name,
            obstacle=_obstacle(demand, host, cluster, pod, is_ours),
            most_cpus=int(sizes[0]),
            free_cpus=int(sizes[1]),
            most_memory=int(sizes[2]),
            free_memory=int(sizes[3]),
        )
        for host, cluster, pod, is_ours, *sizes in session.execute(query)
    ]


def _obstacle(demand: Demand, host: Host, cluster: Cluster, pod: Pod, is_ours: bool) -> str:
    """Why the host is out of the question, whatever is free there; empty if it is not."""
    missing = sorted(set(demand.tags) - set(host.tags))
    obstacles = (
        (host.state != "Up", f"is {host.state}"),
        (host.resource_state != "Enabled", f"is {host.resource_state}"),
        (cluster.allocation != Allocation.enabled, f"is in cluster {cluster.name}, which is disabled"),
        (pod.allocation != Allocation.enabled, f"is in pod {pod.name}, which is disabled"),
        (not is_ours, "is dedicated to somebody else"),
        (bool(missing), f"lacks the offering's host tags {', '.join(missing)}"),
        (
            not all(host.id in group for group in demand.affinity.among),
            "has no VM of an affinity group that wants its VMs on one host",
        ),
        (host.id in demand.affinity.never, "has a VM of an anti-affinity group that this VM is in"),
    )
    return next((words for is_so, words in obstacles if is_so), "")
