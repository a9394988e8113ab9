"""Zones, pods, clusters, physical networks and their kin on the wire."""

from collections.abc import Sequence

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.alerts import CapacityResponse
from mgmt.api.responses.lookup import Owners, TagResponse, plain_tags_of, rows_by_id
from mgmt.model.configuration import CPU_OVERPROVISIONING, MEMORY_OVERPROVISIONING, Item, Scope
from mgmt.store.configured import all_values
from mgmt.store.tables import Cluster, PhysicalNetwork, Pod, TrafficType, VlanRange, Zone


class ZoneResponse(Response):
    """A zone. Addresses of its inside are for administrators only, and so is `capacity`."""

    id: str
    name: str
    networktype: str
    allocationstate: str
    securitygroupsenabled: bool
    localstorageenabled: bool
    tags: list[TagResponse]
    type: str = "Core"
    dns1: str | None = None
    dns2: str | None = None
    internaldns1: str | None = None
    internaldns2: str | None = None
    guestcidraddress: str | None = None
    domain: str | None = None
    dhcpprovider: str | None = None
    zonetoken: str | None = None
    capacity: list[CapacityResponse] | None = None


def zone_responses(call: Call, rows: Sequence[Zone]) -> list[ZoneResponse]:
    """Zones on the wire."""
    tags = plain_tags_of(call, "Zone", rows)
    return [_zone(row, tags[row.id], inside=call.caller.is_root) for row in rows]


def _zone(row: Zone, tags: list[TagResponse], *, inside: bool) -> ZoneResponse:
    return ZoneResponse(
        id=row.id,
        name=row.name,
        networktype=row.network_type,
        allocationstate=row.allocation,
        securitygroupsenabled=False,
        localstorageenabled=row.local_storage,
        tags=tags,
        domain=row.network_domain,
        dns1=row.dns1 if inside else None,
        dns2=row.dns2 if inside else None,
        internaldns1=row.internal_dns1 if inside else None,
        internaldns2=row.internal_dns2 if inside else None,
        guestcidraddress=row.guest_cidr if inside else None,
        dhcpprovider="VirtualRouter" if inside else None,
    )


ZONE = Entity(Zone, ZoneResponse, "zone", zone_responses)


class TrafficTypeResponse(Response):
    """A kind of traffic on a physical network."""

    id: str
    physicalnetworkid: str
    traffictype: str
    kvmnetworklabel: str | None = None


def traffic_type_responses(call: Call, rows: Sequence[TrafficType]) -> list[TrafficTypeResponse]:
    """Traffic types on the wire."""
    return [
        TrafficTypeResponse(
            id=row.id,
            physicalnetworkid=row.physical_network_id,
            traffictype=row.type,
            kvmnetworklabel=row.label,
        )
        for row in rows
    ]


TRAFFIC_TYPE = Entity(TrafficType, TrafficTypeResponse, "traffictype", traffic_type_responses)


class PhysicalNetworkResponse(Response):
    """A physical network."""

    id: str
    name: str
    zoneid: str
    zonename: str
    state: str
    isolationmethods: str
    vlan: str
    broadcastdomainrange: str = "Zone"


def physical_network_responses(call: Call, rows: Sequence[PhysicalNetwork]) -> list[PhysicalNetworkResponse]:
    """Physical networks on the wire."""
    zones = rows_by_id(call, Zone, (row.zone_id for row in rows))
    return [
        PhysicalNetworkResponse(
            id=row.id,
            name=row.name,
            zoneid=row.zone_id,
            zonename=zones[row.zone_id].name,
            state=row.state,
            isolationmethods=row.isolation,
            vlan=f"{row.vni_first}-{row.vni_last}",
        )
        for row in rows
    ]


PHYSICAL_NETWORK = Entity(
    PhysicalNetwork, PhysicalNetworkResponse, "physicalnetwork", physical_network_responses
)


class PodResponse(Response):
    """A pod; the three lists describe its address ranges, one here."""

    id: str
    name: str
    zoneid: str
    zonename: str
    gateway: str
    netmask: str
    startip: list[str]
    endip: list[str]
    vlanid: list[str]
    allocationstate: str
    capacity: list[CapacityResponse] | None = None


def pod_responses(call: Call, rows: Sequence[Pod]) -> list[PodResponse]:
    """Pods on the wire."""
    zones = rows_by_id(call, Zone, (row.zone_id for row in rows))
    return [
        PodResponse(
            id=row.id,
            name=row.name,
            zoneid=row.zone_id,
            zonename=zones[row.zone_id].name,
            gateway=row.gateway,
            netmask=row.netmask,
            startip=[row.start_ip],
            endip=[row.end_ip],
            vlanid=["vlan://untagged"],
            allocationstate=row.allocation,
        )
        for row in rows
    ]


POD = Entity(Pod, PodResponse, "pod", pod_responses)


class ClusterResponse(Response):
    """A cluster."""

    id: str
    name: str
    zoneid: str
    zonename: str
    podid: str
    podname: str
    hypervisortype: str
    clustertype: str
    allocationstate: str
    cpuovercommitratio: str
    memoryovercommitratio: str
    managedstate: str = "Managed"
    capacity: list[CapacityResponse] | None = None


def cluster_responses(call: Call, rows: Sequence[Cluster]) -> list[ClusterResponse]:
    """Clusters on the wire."""
    zones = rows_by_id(call, Zone, (row.zone_id for row in rows))
    pods = rows_by_id(call, Pod, (row.pod_id for row in rows))
    values = all_values(call.session, (CPU_OVERPROVISIONING, MEMORY_OVERPROVISIONING))

    def ratio(row: Cluster, item: Item[float]) -> str:
        return str(values.at(item, (Scope.cluster, row.id), (Scope.zone, row.zone_id)))

    return [
        ClusterResponse(
            id=row.id,
            name=row.name,
            zoneid=row.zone_id,
            zonename=zones[row.zone_id].name,
            podid=row.pod_id,
            podname=pods[row.pod_id].name,
            hypervisortype=row.hypervisor,
            clustertype=row.cluster_type,
            allocationstate=row.allocation,
            cpuovercommitratio=ratio(row, CPU_OVERPROVISIONING),
            memoryovercommitratio=ratio(row, MEMORY_OVERPROVISIONING),
        )
        for row in rows
    ]


CLUSTER = Entity(Cluster, ClusterResponse, "cluster", cluster_responses)


class VlanRangeResponse(Response):
    """A range of public addresses."""

    id: str
    zoneid: str
    physicalnetworkid: str
    vlan: str
    gateway: str
    netmask: str
    startip: str
    endip: str
    forvirtualnetwork: bool = True
    forsystemvms: bool = False
    account: str | None = None
    project: str | None = None
    projectid: str | None = None
    domain: str | None = None
    domainid: str | None = None
    domainpath: str | None = None


def vlan_range_responses(call: Call, rows: Sequence[VlanRange]) -> list[VlanRangeResponse]:
    """Ranges on the wire, with those whom they are dedicated to."""
    owners = Owners(call, rows)
    return [
        VlanRangeResponse(
            id=row.id,
            zoneid=row.zone_id,
            physicalnetworkid=row.physical_network_id,
            vlan=row.vlan,
            gateway=row.gateway,
            netmask=row.netmask,
            startip=row.start_ip,
            endip=row.end_ip,
            **owners.names(row),
        )
        for row in rows
    ]


VLAN_RANGE = Entity(VlanRange, VlanRangeResponse, "vlan", vlan_range_responses)
