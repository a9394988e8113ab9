"""Offerings on the wire."""

from collections.abc import Sequence

from sqlalchemy import select

from mgmt.api.call import Call
from mgmt.api.offering_domains import DomainNames, domains_of
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import wire_time
from mgmt.api.responses.networks import NetworkService, services
from mgmt.store.tables import DiskOffering, NetworkOffering, ServiceOffering

GIB = 1024**3
ROUTER_OFFERING = "domainrouter"


class ServiceOfferingResponse(Response):
    """Size of a VM. Memory in MB, speed in MHz, root disk in GB."""

    id: str
    name: str
    displaytext: str
    cpunumber: int
    cpuspeed: int
    memory: int
    created: str | None
    storagetype: str
    provisioningtype: str
    issystem: bool
    defaultuse: bool
    iscustomized: bool
    offerha: bool
    limitcpuuse: bool
    isvolatile: bool
    state: str
    systemvmtype: str | None = None
    rootdisksize: int | None = None
    hosttags: str | None = None
    storagetags: str | None = None
    serviceofferingdetails: dict[str, str] | None = None
    domain: str | None = None
    domainid: str | None = None


def service_offering_responses(call: Call, rows: Sequence[ServiceOffering]) -> list[ServiceOfferingResponse]:
    """Service offerings on the wire."""
    domains = domains_of(call.session, [row.id for row in rows])
    return [
        ServiceOfferingResponse(
            id=row.id,
            name=row.name,
            displaytext=row.display_text,
            cpunumber=row.cpus,
            cpuspeed=row.cpu_speed,
            memory=row.memory,
            created=wire_time(row.created),
            storagetype=row.storage_type,
            provisioningtype="thin",
            issystem=row.system_vm_type is not None,
            defaultuse=row.default_use,
            iscustomized=row.customized,
            hosttags=",".join(row.host_tags) or None,
            storagetags=",".join(row.storage_tags) or None,
            serviceofferingdetails=_limits(row),
            offerha=False,
            limitcpuuse=False,
            isvolatile=False,
            state=row.state,
            systemvmtype=row.system_vm_type,
            rootdisksize=row.root_disk_bytes // GIB or None,
            **domains.get(row.id, {}),
        )
        for row in rows
    ]


def _limits(row: ServiceOffering) -> dict[str, str] | None:
    """Between what a custom offering leaves the choice, as CloudStack's own forms read it."""
    if not row.customized:
        return None
    most = {"maxcpunumber": row.max_cpus, "maxmemory": row.max_memory}
    limits = {"mincpunumber": row.cpus, "minmemory": row.memory, **most}
    return {name: str(value) for name, value in limits.items() if value is not None}


SERVICE_OFFERING = Entity(
    ServiceOffering, ServiceOfferingResponse, "serviceoffering", service_offering_responses
)


class DiskOfferingResponse(Response):
    """Size of a data disk, in GB; 0 if the user says."""

    id: str
    name: str
    displaytext: str
    disksize: int
    iscustomized: bool
    created: str | None
    storagetype: str
    provisioningtype: str
    displayoffering: bool
    state: str
    domain: str | None = None
    domainid: str | None = None
    tags: str | None = None


def disk_offering_responses(call: Call, rows: Sequence[DiskOffering]) -> list[DiskOfferingResponse]:
    """Disk offerings on the wire."""
    domains = domains_of(call.session, [row.id for row in rows])
    return [
        DiskOfferingResponse(
            id=row.id,
            name=row.name,
            displaytext=row.display_text,
            disksize=row.disk_bytes // GIB,
            iscustomized=row.customized,
            created=wire_time(row.created),
            storagetype=row.storage_type,
            provisioningtype="thin",
            displayoffering=True,
            state=row.state,
            **domains.get(row.id, {}),
            tags=",".join(row.tags) or None,
        )
        for row in rows
    ]


DISK_OFFERING = Entity(DiskOffering, DiskOfferingResponse, "diskoffering", disk_offering_responses)


class NetworkOfferingResponse(Response):
    """What a guest network offers."""

    id: str
    name: str
    displaytext: str
    traffictype: str
    guestiptype: str
    availability: str
    state: str
    isdefault: bool
    egressdefaultpolicy: bool
    specifyvlan: bool
    specifyipranges: bool
    conservemode: bool
    ispersistent: bool
    forvpc: bool
    created: str | None
    service: list[NetworkService]
    networkrate: int | None = None
    serviceofferingid: str | None = None
    domain: str | None = None
    domainid: str | None = None


def network_offering_responses(call: Call, rows: Sequence[NetworkOffering]) -> list[NetworkOfferingResponse]:
    """Network offerings on the wire, with the service offering of their routers."""
    query = select(ServiceOffering.id).where(
        ServiceOffering.system_vm_type == ROUTER_OFFERING, ServiceOffering.removed.is_(None)
    )
    router = call.session.scalars(query.order_by(ServiceOffering.created)).first()
    domains = domains_of(call.session, [row.id for row in rows])
    return [_network_offering(row, router, domains.get(row.id, {})) for row in rows]


def _network_offering(
    row: NetworkOffering, router: str | None, domains: DomainNames
) -> NetworkOfferingResponse:
    return NetworkOfferingResponse(
        id=row.id,
        name=row.name,
        displaytext=row.display_text,
        traffictype=row.traffic_type,
        guestiptype=row.guest_type,
        availability=row.availability,
        state=row.state,
        isdefault=row.is_default,
        egressdefaultpolicy=row.egress_default,
        specifyvlan=False,
        specifyipranges=False,
        conservemode=True,
        ispersistent=False,
        forvpc=False,
        created=wire_time(row.created),
        service=services(row),
        serviceofferingid=router,
        **domains,
    )


NETWORK_OFFERING = Entity(
    NetworkOffering, NetworkOfferingResponse, "networkoffering", network_offering_responses
)
