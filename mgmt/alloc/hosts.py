"""Which host takes a VM: chosen in SQL, by the order of a planner; or a sentence about those that do not.

The number of statements is fixed, however many hosts and VMs there are, and first fit reads the hosts in
the order of their index until one fits.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    String,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy.orm import Session, aliased

from mgmt.alloc.affinity import Affinity
from mgmt.alloc.pools import Wish
from mgmt.alloc.refusals import HostView, why_none
from mgmt.alloc.room import Demand, Room, Settings, settings_of
from mgmt.model.errors import NoCapacity
from mgmt.model.pools import StorageType
from mgmt.model.states import Allocation, VmKind
from mgmt.store.tables import (
    Cluster,
    Dedication,
    Domain,
    Host,
    Pod,
    PoolHost,
    StoragePool,
    Vm,
    Zone,
)

#: What a demand compares with, and what it does not name where it is None.
_VALUES = (
    "zone_id",
    "cpus",
    "memory",
    "host_id",
    "before",
    "beside",
    "acceleration",
    "account_id",
    "domain_id",
)


def place(session: Session, demand: Demand) -> Host:
    """The first host that fits, in the planner's order. Raises NoCapacity with what the hosts lack."""
    settings = settings_of(session, demand.zone_id)
    values = {name: value for name in _VALUES if (value := getattr(demand, name)) is not None}
    alike: dict[str, Any] = dict.fromkeys(values, "")
    query = _choice(settings, replace(demand, **alike))
    host: Host | None = session.scalars(query, values).first()
    if host is not None:
        return host
    zone = session.get_one(Zone, demand.zone_id)
    views, is_tied = _views(session, demand, Room(settings, demand, goes_by_all=True)), bool(demand.host_id)
    raise NoCapacity(why_none(views, demand.cpus, demand.memory, zone.name, is_tied=is_tied))


@lru_cache(maxsize=256)
def _choice(settings: Settings, like: Demand) -> Select[Any]:
    """The statement for all demands that differ only in values, which have parameters of their names.

    It is kept, because building it takes longer than running it.
    """
    named: dict[str, Any] = {name: bindparam(name) for name in _VALUES if getattr(like, name) is not None}
    demand = replace(like, **named)
    room = Room(settings, demand, goes_by_all=settings.planner == "firstfitleastconsumed")
    query: Select[Any] = (
        room.hosts(select(Host))
        .where(*_conditions(room, demand))
        .order_by(*_wishes(demand), *_order(settings.planner, room, demand), Host.created, Host.name)
    )
    return query.limit(1)


def candidates(session: Session, demand: Demand) -> list[tuple[Host, bool]]:
    """All hosts of the zone but the demand's `beside`, and whether each would take the VM."""
    room = Room(settings_of(session, demand.zone_id), demand, goes_by_all=True)
    fits = and_(*_conditions(room, demand))
    query = room.hosts(select(Host, fits)).where(Host.id != demand.beside).order_by(Host.created, Host.name)
    return [(host, bool(is_fit)) for host, is_fit in session.execute(query)]


def _conditions(room: Room, demand: Demand) -> list[ColumnElement[bool]]:
    """What a host must be to take the VM."""
    return [
        Host.state == "Up",
        Host.resource_state == "Enabled",
        _is_open(Cluster, Host.cluster_id),
        _is_open(Pod, Host.pod_id),
        room.free_cpus >= demand.cpus,
        room.free_memory >= demand.memory,
        _may_use(demand),
        *(_has_pool(wish) for wish in sorted(demand.storage)),
        *([Host.id.in_(_reaching(demand.pools))] if demand.pools else []),
        *(_tagged(Host.tags, tag) for tag in demand.tags),
        *([Host.id != demand.beside] if demand.beside is not None else []),
        *([or_(Host.pod_id == demand.within, Host.cluster_id == demand.within)] if demand.within else []),
        *([Host.acceleration == demand.acceleration] if demand.acceleration is not None else []),
        *_must(demand.affinity),
    ]


def _by_host(query: Select[Any]) -> ColumnElement[bool]:
    """Whether there is a row, asked for each host that is looked at, so that the search ends with the first.

    Without OFFSET PostgreSQL makes a join of it, over all hosts, and sorts them: minutes for 25,000.
    """
    return query.correlate(Host).offset(0).exists()


def _is_open(place: type[Cluster | Pod], place_id: Any) -> ColumnElement[bool]:
    return _by_host(select(place.id).where(place.id == place_id, place.allocation == Allocation.enabled))


def _has_pool(wish: Wish) -> ColumnElement[bool]:
    fits = (
        StoragePool.state == "Up",
        StoragePool.removed.is_(None),
        *(_tagged(StoragePool.tags, tag) for tag in wish.tags),
    )
    own = _by_host(select(StoragePool.id).where(StoragePool.host_id == Host.id, *fits))
    shares = select(PoolHost.pool_id).join(StoragePool, StoragePool.id == PoolHost.pool_id)
    shared = _by_host(shares.where(PoolHost.host_id == Host.id, *fits))
    if wish.storage == StorageType.local:
        return own
    return shared if wish.storage == StorageType.shared else or_(own, shared)


def _reaching(pools: Sequence[str]) -> Select[Any]:
    """Ids of the hosts that reach all these shared pools."""
    query = select(PoolHost.host_id).where(PoolHost.pool_id.in_(pools)).group_by(PoolHost.host_id)
    return query.having(func.count() == len(pools))


def _tagged(column: Any, tag: str) -> ColumnElement[bool]:
    return cast(column, String).contains(json.dumps(tag), autoescape=True)


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
    )
    return ~_by_host(others)


def _must(affinity: Affinity) -> list[ColumnElement[bool]]:
    never = [Host.id.not_in(affinity.never)] if affinity.never else []
    return [*(Host.id.in_(group) for group in affinity.among), *never]


def _wishes(demand: Demand) -> list[ColumnElement[Any]]:
    affinity = demand.affinity
    here = [case((Host.id == demand.before, 0), else_=1)] if demand.before is not None else []
    first = [case((Host.id.in_(affinity.prefer), 0), else_=1)] if affinity.prefer else []
    last = [case((Host.id.in_(affinity.avoid), 1), else_=0)] if affinity.avoid else []
    return [*first, *last, *here]


def _order(planner: str, room: Room, demand: Demand) -> list[ColumnElement[Any]]:
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


def _views(session: Session, demand: Demand, room: Room) -> list[HostView]:
    """All hosts of the zone as they look to the demand, by one statement."""
    query = room.hosts(
        select(
            Host.id,
            Host.name,
            Host.state,
            Host.acceleration,
            Host.resource_state,
            Host.tags,
            Host.pod_id,
            Host.cluster_id,
            Cluster.name.label("cluster"),
            (Cluster.allocation == Allocation.enabled).label("is_cluster_open"),
            Pod.name.label("pod"),
            (Pod.allocation == Allocation.enabled).label("is_pod_open"),
            _may_use(demand).label("is_ours"),
            and_(true(), *map(_has_pool, sorted(demand.storage))).label("has_pools"),
            (Host.id.in_(_reaching(demand.pools)) if demand.pools else true()).label("reaches_disks"),
            room.most_cpus.label("most_cpus"),
            room.free_cpus.label("free_cpus"),
            room.most_memory.label("most_memory"),
            room.free_memory.label("free_memory"),
        )
        .join(Cluster, Cluster.id == Host.cluster_id)
        .join(Pod, Pod.id == Host.pod_id)
    ).order_by(Host.created, Host.name)
    return [
        HostView(
            name=row.name,
            obstacle=_obstacle(demand, row),
            most_cpus=int(row.most_cpus),
            free_cpus=int(row.free_cpus),
            most_memory=int(row.most_memory),
            free_memory=int(row.free_memory),
        )
        for row in session.execute(query)
    ]


def _obstacle(demand: Demand, host: Row[Any]) -> str:
    """Why the host is out of the question, whatever is free there; empty if it is not."""
    missing = sorted(set(demand.tags) - set(host.tags))
    obstacles = (
        (demand.beside == host.id, "is where it runs"),
        (
            demand.within not in ("", host.pod_id, host.cluster_id),
            "is not in the pod or cluster that was asked for",
        ),
        (
            demand.acceleration not in (None, host.acceleration),
            f"runs VMs by {host.acceleration}, not by {demand.acceleration}",
        ),
        (host.state != "Up", f"is {host.state}"),
        (host.resource_state != "Enabled", f"is {host.resource_state}"),
        (not host.is_cluster_open, f"is in cluster {host.cluster}, which is disabled"),
        (not host.is_pod_open, f"is in pod {host.pod}, which is disabled"),
        (not host.is_ours, "is dedicated to somebody else"),
        (not host.has_pools, f"has no {_words(demand.storage)} that is Up"),
        (not host.reaches_disks, "does not reach the storage pools of its disks"),
        (bool(missing), f"lacks the offering's host tags {', '.join(missing)}"),
        (
            not all(host.id in group for group in demand.affinity.among),
            "has no VM of an affinity group that wants its VMs on one host",
        ),
        (host.id in demand.affinity.never, "has a VM of an anti-affinity group that this VM is in"),
    )
    return next((words for is_so, words in obstacles if is_so), "")


def _words(storage: frozenset[Wish]) -> str:
    """The kinds of storage pools that disks need."""
    return " and no ".join(map(str, sorted(storage)))
