"""Hosts, primary and secondary storage on the wire."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import func, select

from mgmt.alloc.sizes import CPUS, MEMORY, SPEED
from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import rows_by_id, wire_time
from mgmt.model.configuration import CPU_OVERPROVISIONING, MEMORY_OVERPROVISIONING, Scope
from mgmt.model.states import VmState
from mgmt.store.configured import Values, all_values
from mgmt.store.tables import Cluster, Host, ImageStore, Pod, ServiceOffering, StoragePool, Vm, Zone

MIB = 1024**2


class HostResponse(Response):
    """A hypervisor host. Memory in bytes, CPU in MHz; shares are of all that overprovisioning gives away."""

    id: str
    name: str
    type: str
    state: str
    resourcestate: str
    hypervisor: str
    ipaddress: str
    zoneid: str
    zonename: str
    podid: str
    podname: str
    clusterid: str
    clustername: str
    clustertype: str
    cpunumber: int
    cpuspeed: int
    cpuwithoverprovisioning: str
    cpuallocatedvalue: int
    cpuallocated: str
    cpuallocatedpercentage: str
    cpuallocatedwithoverprovisioning: str
    memorytotal: int
    memorywithoverprovisioning: str
    memoryallocated: int
    memoryallocatedbytes: int
    memoryallocatedpercentage: str
    version: str
    created: str | None
    lastpinged: str | None
    islocalstorageactive: bool
    details: dict[str, str]
    hosttags: str | None = None


def host_responses(call: Call, rows: Sequence[Host]) -> list[HostResponse]:
    """Hosts on the wire, with what their running VMs take."""
    zones = rows_by_id(call, Zone, (row.zone_id for row in rows))
    pods = rows_by_id(call, Pod, (row.pod_id for row in rows))
    clusters = rows_by_id(call, Cluster, (row.cluster_id for row in rows))
    taken = _taken(call, rows)
    factors = all_values(call.session, (CPU_OVERPROVISIONING, MEMORY_OVERPROVISIONING))
    return [
        _host(
            row,
            zones[row.zone_id],
            pods[row.pod_id],
            clusters[row.cluster_id],
            _load(row, factors, *taken.get(row.id, (0, 0))),
        )
        for row in rows
    ]


def _load(row: Host, factors: Values, mhz: int, memory: int) -> dict[str, Any]:
    """What a host's VMs hold, and of how much."""
    places = ((Scope.cluster, row.cluster_id), (Scope.zone, row.zone_id))
    all_mhz = int(row.cpus * row.cpu_mhz * factors.at(CPU_OVERPROVISIONING, *places))
    all_memory = int(row.memory_mib * factors.at(MEMORY_OVERPROVISIONING, *places)) * MIB
    cpu_share = f"{100 * mhz / all_mhz:.2f}%" if all_mhz else "0%"
    return {
        "cpuwithoverprovisioning": str(all_mhz),
        "cpuallocatedvalue": mhz,
        "cpuallocated": cpu_share,
        "cpuallocatedpercentage": cpu_share,
        "cpuallocatedwithoverprovisioning": cpu_share,
        "memorytotal": row.memory_mib * MIB,
        "memorywithoverprovisioning": str(all_memory),
        "memoryallocated": memory,
        "memoryallocatedbytes": memory,
        "memoryallocatedpercentage": f"{100 * memory / all_memory:.2f}%" if all_memory else "0%",
    }


def _taken(call: Call, rows: Sequence[Host]) -> dict[str, tuple[int, int]]:
    """MHz and bytes that VMs hold, by host."""
    query = (
        select(
            Vm.host_id,
            func.sum(CPUS * SPEED),
            func.sum(MEMORY),
        )
        .join(ServiceOffering, ServiceOffering.id == Vm.offering_id)
        .where(Vm.host_id.in_([row.id for row in rows]), Vm.removed.is_(None), Vm.state != VmState.stopped)
        .group_by(Vm.host_id)
    )
    return {str(host): (int(mhz), int(mib) * MIB) for host, mhz, mib in call.session.execute(query)}


def _host(row: Host, zone: Zone, pod: Pod, cluster: Cluster, load: Mapping[str, Any]) -> HostResponse:
    return HostResponse(
        id=row.id,
        name=row.name,
        type="Routing",
        state=row.state,
        resourcestate=row.resource_state,
        hypervisor=cluster.hypervisor,
        ipaddress=row.address,
        zoneid=zone.id,
        zonename=zone.name,
        podid=pod.id,
        podname=pod.name,
        clusterid=cluster.id,
        clustername=cluster.name,
        clustertype=cluster.cluster_type,
        cpunumber=row.cpus,
        cpuspeed=row.cpu_mhz,
        **load,
        version=row.version,
        created=wire_time(row.created),
        lastpinged=wire_time(row.last_seen),
        islocalstorageactive=True,
        details={"acceleration": row.acceleration},
        hosttags=",".join(row.tags) or None,
    )


HOST = Entity(Host, HostResponse, "host", host_responses)


class CandidateResponse(HostResponse, kw_only=True):
    """A host that a VM might move to."""

    hasenoughcapacity: bool
    suitableformigration: bool
    requiresStorageMotion: bool  # noqa: N815 (the wire's spelling)


def candidate_responses(
    call: Call, found: Sequence[tuple[Host, bool]], *, moves_disks: bool
) -> list[CandidateResponse]:
    """Hosts and whether each would take a VM, on the wire."""
    answers = host_responses(call, [host for host, _is_fit in found])
    return [
        CandidateResponse(
            **msgspec.structs.asdict(answer),
            hasenoughcapacity=is_fit,
            suitableformigration=is_fit,
            requiresStorageMotion=moves_disks,
        )
        for answer, (_host_row, is_fit) in zip(answers, found, strict=True)
    ]


class StoragePoolResponse(Response):
    """Primary storage. Sizes in bytes."""

    id: str
    name: str
    type: str
    scope: str
    state: str
    path: str
    zoneid: str
    zonename: str
    podid: str | None
    podname: str | None
    clusterid: str | None
    clustername: str | None
    ipaddress: str | None
    hypervisor: str
    disksizetotal: int
    disksizeused: int
    capacitybytes: int
    created: str | None
    provider: str = "DefaultPrimary"
    tags: str | None = None


def storage_pool_responses(call: Call, rows: Sequence[StoragePool]) -> list[StoragePoolResponse]:
    """Pools on the wire."""
    zones = rows_by_id(call, Zone, (row.zone_id for row in rows))
    pods = rows_by_id(call, Pod, (row.pod_id for row in rows))
    clusters = rows_by_id(call, Cluster, (row.cluster_id for row in rows))
    hosts = rows_by_id(call, Host, (row.host_id for row in rows))
    return [
        _pool(
            row,
            zones[row.zone_id],
            pods.get(row.pod_id or ""),
            clusters.get(row.cluster_id or ""),
            hosts.get(row.host_id or ""),
        )
        for row in rows
    ]


def _pool(
    row: StoragePool, zone: Zone, pod: Pod | None, cluster: Cluster | None, host: Host | None
) -> StoragePoolResponse:
    return StoragePoolResponse(
        id=row.id,
        name=row.name,
        type=row.type,
        scope=row.scope,
        state=row.state,
        path=row.path,
        zoneid=zone.id,
        zonename=zone.name,
        podid=pod.id if pod else None,
        podname=pod.name if pod else None,
        clusterid=cluster.id if cluster else None,
        clustername=cluster.name if cluster else None,
        ipaddress=host.address if host else None,
        hypervisor=cluster.hypervisor if cluster else "KVM",
        disksizetotal=row.capacity,
        disksizeused=row.used,
        capacitybytes=row.capacity,
        created=wire_time(row.created),
        tags=",".join(row.tags) or None,
    )


STORAGE_POOL = Entity(StoragePool, StoragePoolResponse, "storagepool", storage_pool_responses)


class CandidatePoolResponse(StoragePoolResponse, kw_only=True):
    """A storage pool that a volume might move to."""

    suitableformigration: bool


def candidate_pool_responses(
    call: Call, found: Sequence[tuple[StoragePool, bool]]
) -> list[CandidatePoolResponse]:
    """Pools and whether each would take a volume, on the wire."""
    answers = storage_pool_responses(call, [pool for pool, _is_fit in found])
    return [
        CandidatePoolResponse(**msgspec.structs.asdict(answer), suitableformigration=is_fit)
        for answer, (_pool_row, is_fit) in zip(answers, found, strict=True)
    ]


class ImageStoreResponse(Response):
    """Secondary storage. Size in bytes."""

    id: str
    name: str
    zoneid: str
    zonename: str
    url: str
    providername: str
    disksizetotal: int
    protocol: str = "disk"
    scope: str = "ZONE"
    readonly: bool = False


def image_store_responses(call: Call, rows: Sequence[ImageStore]) -> list[ImageStoreResponse]:
    """Image stores on the wire."""
    zones = rows_by_id(call, Zone, (row.zone_id for row in rows))
    return [
        ImageStoreResponse(
            id=row.id,
            name=row.name,
            zoneid=row.zone_id,
            zonename=zones[row.zone_id].name,
            url=row.url,
            providername=row.provider,
            disksizetotal=row.capacity,
        )
        for row in rows
    ]


IMAGE_STORE = Entity(ImageStore, ImageStoreResponse, "imagestore", image_store_responses)
