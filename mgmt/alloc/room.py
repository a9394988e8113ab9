"""What a VM needs of a host, and what hosts have left, in SQL, by the configuration of their clusters."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Subquery,
    case,
    func,
    literal,
    or_,
    select,
    union_all,
)
from sqlalchemy.orm import Session

from mgmt.alloc.affinity import Affinity
from mgmt.alloc.pools import Wish
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
from mgmt.model.states import VmState
from mgmt.store.configured import all_values
from mgmt.store.tables import Host, ServiceOffering, Vm

_TAKING = (VmState.starting, VmState.running, VmState.stopping, VmState.migrating)
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

    Its host must reach all `pools`, and one for each wish in `storage`, of disks that have none yet.
    Of hosts that fit `before` comes first: where it was. For a VM that moves, `beside` is
    the host where it is, and `acceleration` what it runs by: another cannot go on with it. `within` is
    the pod or cluster that its owner named.

    `account_id` and `domain_id` are a tenant's; without them (system VMs) dedications do not count.
    """

    zone_id: str
    cpus: int
    memory: int
    host_id: str | None = None
    pools: tuple[str, ...] = ()
    storage: frozenset[Wish] = frozenset()
    before: str | None = None
    beside: str | None = None
    acceleration: str | None = None
    tags: tuple[str, ...] = ()
    within: str = ""
    account_id: str | None = None
    domain_id: str | None = None
    affinity: Affinity = field(default_factory=Affinity)


@dataclass(frozen=True)
class Settings:
    """The configuration of a zone, by item, and of clusters: (item, id of the cluster, value)."""

    planner: str
    zone: tuple[tuple[str, Any], ...]
    clusters: frozenset[tuple[str, str, Any]]

    def of_cluster(self, item: Item[Any]) -> ColumnElement[Any]:
        """The value that holds for a host, in SQL."""
        own = {cluster_id: value for name, cluster_id, value in self.clusters if name == item.name}
        base = literal(dict(self.zone)[item.name])
        return case(own, value=Host.cluster_id, else_=base) if own else base


def settings_of(session: Session, zone_id: str) -> Settings:
    """What is configured for hosts of a zone; one statement."""
    items: dict[str, Item[Any]] = {item.name: item for item in _SETTINGS}
    values = all_values(session, _SETTINGS)
    return Settings(
        planner=values.at(ALLOCATION_ALGORITHM, (Scope.zone, zone_id)),
        zone=tuple((name, values.at(item, (Scope.zone, zone_id))) for name, item in items.items()),
        clusters=frozenset(
            (name, scope_id, items[name].read(value))
            for (name, scope, scope_id), value in values.found.items()
            if scope == Scope.cluster
        ),
    )


class Room:
    """What hosts have and have left, in SQL.

    With `goes_by_all` the VMs of all hosts are added up at once; else those of each host that is looked at,
    which is less as long as few are.
    """

    def __init__(self, settings: Settings, demand: Demand, *, goes_by_all: bool) -> None:
        self._demand = demand
        self._used = _added_up(demand.zone_id) if goes_by_all else None
        reserve = settings.of_cluster(HOST_RESERVED_MEMORY)
        cpus = Host.cpus * settings.of_cluster(CPU_OVERPROVISIONING)
        memory = Host.memory_mib * settings.of_cluster(MEMORY_OVERPROVISIONING) - reserve
        self.most_cpus = cpus * settings.of_cluster(CLUSTER_CPU_LIMIT)
        self.most_memory = memory * settings.of_cluster(CLUSTER_MEMORY_LIMIT)
        self.free_cpus = self.most_cpus - self._taken("cpus", CPUS)
        self.free_memory = self.most_memory - self._taken("memory", MEMORY)

    def hosts(self, query: Any) -> Any:
        """The query, about the hosts that the demand may be for."""
        demand = self._demand
        query = query.where(Host.zone_id == demand.zone_id, Host.removed.is_(None))
        if self._used is not None:
            query = query.outerjoin(self._used, self._used.c.host_id == Host.id)
        return query if demand.host_id is None else query.where(Host.id == demand.host_id)

    def _taken(self, name: str, amount: ColumnElement[Any]) -> ColumnElement[Any]:
        if self._used is not None:
            return func.coalesce(self._used.c[name], 0)
        query: Select[Any] = _vms(select(func.coalesce(func.sum(amount), 0)))
        return query.where(_is_on(Host.id)).correlate(Host).scalar_subquery()


def _vms(query: Any) -> Any:
    """The query, about the VMs that take something of their hosts."""
    joined = query.join_from(Vm, ServiceOffering, ServiceOffering.id == Vm.offering_id)
    return joined.where(Vm.removed.is_(None), Vm.state.in_(_TAKING))


def _is_on(host_id: Any) -> ColumnElement[bool]:
    """Whether a VM takes room there: it is there, or on its way."""
    return or_(Vm.host_id == host_id, Vm.target_host_id == host_id)


def _added_up(zone_id: str) -> Subquery:
    there = [
        _vms(select(column.label("host_id"), CPUS.label("cpus"), MEMORY.label("memory"))).where(
            Vm.zone_id == zone_id, column.is_not(None)
        )
        for column in (Vm.host_id, Vm.target_host_id)
    ]
    each = union_all(*there).subquery()
    sums = (func.sum(each.c.cpus).label("cpus"), func.sum(each.c.memory).label("memory"))
    return select(each.c.host_id, *sums).group_by(each.c.host_id).subquery("used")
