"""Resources with what they use, as the lists for dashboards show them: figures with their units."""

from collections.abc import Sequence
from typing import Any

from msgspec import structs
from sqlalchemy import case, func, select

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.hosts import (
    HostResponse,
    StoragePoolResponse,
    host_responses,
    storage_pool_responses,
)
from mgmt.api.responses.infra import ClusterResponse, ZoneResponse, cluster_responses, zone_responses
from mgmt.api.responses.volumes import VOLUME, VolumeResponse
from mgmt.model.notices import CapacityType
from mgmt.model.states import VmKind, VmState
from mgmt.ops.infrastructure.capacity import Capacity, cluster_capacities, pool_capacities
from mgmt.store.tables import Cluster, Host, StoragePool, Vm, Volume, Zone

GIB = 1024**3
UP = "Up"


class HostMetricsResponse(HostResponse):
    """A host with what its VMs take; `instances` are those that run, of all that are there."""

    cputotalghz: str = ""
    cpuallocatedghz: str = ""
    memorytotalgb: str = ""
    memoryallocatedgb: str = ""
    instances: str = ""


def host_metrics(call: Call, rows: Sequence[Host]) -> list[HostMetricsResponse]:
    """Hosts with figures."""
    running = func.sum(case((Vm.state == VmState.running, 1), else_=0))
    query = select(Vm.host_id, running, func.count()).where(
        Vm.host_id.in_([row.id for row in rows]), Vm.kind == VmKind.user, Vm.removed.is_(None)
    )
    counts = {host: (up, there) for host, up, there in call.session.execute(query.group_by(Vm.host_id))}
    return [
        HostMetricsResponse(
            **structs.asdict(host),
            cputotalghz=_ghz(host.cpunumber * host.cpuspeed),
            cpuallocatedghz=_ghz(host.cpuallocatedvalue),
            memorytotalgb=_gb(host.memorytotal),
            memoryallocatedgb=_gb(host.memoryallocatedbytes),
            instances="{} / {}".format(*counts.get(host.id, (0, 0))),
        )
        for host in host_responses(call, rows)
    ]


HOST_METRICS = Entity(Host, HostMetricsResponse, "host", host_metrics)


class ClusterMetricsResponse(ClusterResponse):
    """A cluster with what its VMs take; `hosts` are those that are Up, of all."""

    state: str = ""
    hosts: str = ""
    cputotal: str = ""
    cpuallocated: str = ""
    memorytotal: str = ""
    memoryallocated: str = ""


def cluster_metrics(call: Call, rows: Sequence[Cluster]) -> list[ClusterMetricsResponse]:
    """Clusters with figures."""
    hosts = _hosts(call)
    sizes = {(item.cluster_id, item.type): item for item in cluster_capacities(call.session)}
    return [
        ClusterMetricsResponse(
            **structs.asdict(cluster),
            state=cluster.allocationstate,
            hosts="{} / {}".format(*hosts.get(cluster.id, (0, 0))),
            **_figures([item for (owner, _), item in sizes.items() if owner == cluster.id]),
        )
        for cluster in cluster_responses(call, rows)
    ]


CLUSTER_METRICS = Entity(Cluster, ClusterMetricsResponse, "cluster", cluster_metrics)


class ZoneMetricsResponse(ZoneResponse):
    """A zone with what its VMs take; `clusters` are those that are enabled, of all."""

    state: str = ""
    clusters: str = ""
    cputotal: str = ""
    cpuallocated: str = ""
    memorytotal: str = ""
    memoryallocated: str = ""


def zone_metrics(call: Call, rows: Sequence[Zone]) -> list[ZoneMetricsResponse]:
    """Zones with figures."""
    enabled = func.sum(case((Cluster.allocation == "Enabled", 1), else_=0))
    query = select(Cluster.zone_id, enabled, func.count()).where(Cluster.removed.is_(None))
    counts = {zone: (up, all_) for zone, up, all_ in call.session.execute(query.group_by(Cluster.zone_id))}
    sizes = cluster_capacities(call.session)
    return [
        ZoneMetricsResponse(
            **structs.asdict(zone),
            state=zone.allocationstate,
            clusters="{} / {}".format(*counts.get(zone.id, (0, 0))),
            **_figures([item for item in sizes if item.zone_id == zone.id]),
        )
        for zone in zone_responses(call, rows)
    ]


ZONE_METRICS = Entity(Zone, ZoneMetricsResponse, "zone", zone_metrics)


class PoolMetricsResponse(StoragePoolResponse):
    """A storage pool with what is in use and promised."""

    disksizetotalgb: str = ""
    disksizeusedgb: str = ""
    disksizeallocatedgb: str = ""
    disksizeunallocatedgb: str = ""
    disksizeallocated: int = 0


def pool_metrics(call: Call, rows: Sequence[StoragePool]) -> list[PoolMetricsResponse]:
    """Pools with figures."""
    promised = {
        item.subject_id: item
        for item in pool_capacities(call.session, [row.id for row in rows])
        if item.type is CapacityType.storage_allocated
    }
    return [
        PoolMetricsResponse(
            **structs.asdict(pool),
            disksizetotalgb=_gb(pool.disksizetotal),
            disksizeusedgb=_gb(pool.disksizeused),
            disksizeallocated=promised[pool.id].used,
            disksizeallocatedgb=_gb(promised[pool.id].used),
            disksizeunallocatedgb=_gb(max(promised[pool.id].total - promised[pool.id].used, 0)),
        )
        for pool in storage_pool_responses(call, rows)
    ]


POOL_METRICS = Entity(StoragePool, PoolMetricsResponse, "storagepool", pool_metrics)


class VolumeMetricsResponse(VolumeResponse):
    """A volume with its size in words."""

    sizegb: str = ""


def volume_metrics(call: Call, rows: Sequence[Volume]) -> list[VolumeMetricsResponse]:
    """Volumes with figures."""
    return [
        VolumeMetricsResponse(**structs.asdict(volume), sizegb=_gb(volume.size))
        for volume in VOLUME.build(call, rows)
    ]


VOLUME_METRICS = Entity(Volume, VolumeMetricsResponse, "volume", volume_metrics)


class InfrastructureResponse(Response):
    """How many there are of everything."""

    zones: int
    pods: int
    clusters: int
    hosts: int
    storagepools: int
    imagestores: int
    systemvms: int
    routers: int
    managementservers: int
    alerts: int


def _hosts(call: Call) -> dict[str, tuple[int, int]]:
    up = func.sum(case((Host.state == UP, 1), else_=0))
    query = select(Host.cluster_id, up, func.count()).where(Host.removed.is_(None)).group_by(Host.cluster_id)
    return {row[0]: (row[1], row[2]) for row in call.session.execute(query)}


def _figures(items: Sequence[Capacity]) -> dict[str, Any]:
    def total(kind: CapacityType) -> tuple[int, int]:
        found = [item for item in items if item.type is kind]
        return sum(item.used for item in found), sum(item.total for item in found)

    mhz, most_mhz = total(CapacityType.cpu)
    memory, most_memory = total(CapacityType.memory)
    return {
        "cputotal": _ghz(most_mhz),
        "cpuallocated": _percent(mhz, most_mhz),
        "memorytotal": _gb(most_memory),
        "memoryallocated": _percent(memory, most_memory),
    }


def _percent(used: int, total: int) -> str:
    return f"{100 * used / total:.2f}%" if total else "0.00%"


def _ghz(mhz: int) -> str:
    return f"{mhz / 1000:.2f} GHz"


def _gb(size: int) -> str:
    return f"{size / GIB:.2f} GB"
