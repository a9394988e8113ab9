"""Tenants' VMs on the wire."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from mgmt.alloc.sizes import size_of
from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import Owners, TagResponse, rows_by_id, tags_of, wire_time
from mgmt.api.responses.nics import NicResponse, nics_of_vms
from mgmt.store.tables import Host, InstanceGroup, PublicAddress, ServiceOffering, Template, Vm, Zone


class VirtualMachineResponse(Response, kw_only=True):
    """A tenant's VM. `password` is there once: in the result of the job that made it, for its owner."""

    id: str
    name: str
    displayname: str
    account: str | None = None
    domainid: str | None = None
    domain: str | None = None
    domainpath: str | None = None
    created: str | None = None
    state: str
    haenable: bool
    group: str | None = None
    groupid: str | None = None
    zoneid: str
    zonename: str | None = None
    hostid: str | None = None
    hostname: str | None = None
    templateid: str | None = None
    templatename: str | None = None
    templatedisplaytext: str | None = None
    templateformat: str | None = None
    passwordenabled: bool
    serviceofferingid: str
    serviceofferingname: str | None = None
    cpunumber: int | None = None
    cpuspeed: int | None = None
    memory: int | None = None
    cpuused: str | None = None
    hypervisor: str
    instancename: str | None = None
    ostypeid: str | None = None
    osdisplayname: str | None = None
    guestosid: str | None = None
    rootdeviceid: int
    rootdevicetype: str
    keypairs: str | None = None
    ipaddress: str | None = None
    publicip: str | None = None
    publicipid: str | None = None
    password: str | None = None
    details: dict[str, str] | None = None
    displayvm: bool
    isdynamicallyscalable: bool
    vmtype: str
    nic: list[NicResponse]
    securitygroup: list[str]
    affinitygroup: list[str]
    tags: list[TagResponse]


@dataclass(frozen=True)
class _Around:
    """Everything the answers show besides the VM's own row."""

    owners: Owners
    groups: dict[str, InstanceGroup]
    zones: dict[str, Zone]
    hosts: dict[str, Host]
    templates: dict[str, Template]
    offerings: dict[str, ServiceOffering]
    nics: dict[str, list[NicResponse]]
    tags: dict[str, list[TagResponse]]
    public: dict[str, PublicAddress]


def build_vms(call: Call, rows: Sequence[Vm]) -> list[VirtualMachineResponse]:
    """Answers for VMs; a fixed number of statements."""
    ids = [row.id for row in rows]
    around = _Around(
        owners=Owners(call, rows),
        groups=rows_by_id(call, InstanceGroup, (row.group_id for row in rows)),
        zones=rows_by_id(call, Zone, (row.zone_id for row in rows)),
        hosts=rows_by_id(call, Host, (row.host_id for row in rows)) if call.caller.is_root else {},
        templates=rows_by_id(call, Template, (row.template_id for row in rows)),
        offerings=rows_by_id(call, ServiceOffering, (row.offering_id for row in rows)),
        nics=nics_of_vms(call, ids),
        tags=tags_of(call, "UserVm", rows),
        public=_static_nat(call, ids),
    )
    return [_build(call, row, around) for row in rows]


def _static_nat(call: Call, ids: Sequence[str]) -> dict[str, PublicAddress]:
    query = select(PublicAddress).where(
        PublicAddress.vm_id.in_(ids), PublicAddress.is_static_nat, PublicAddress.removed.is_(None)
    )
    return {row.vm_id: row for row in call.session.scalars(query) if row.vm_id}


def _build(call: Call, row: Vm, around: _Around) -> VirtualMachineResponse:
    zone = around.zones.get(row.zone_id)
    host = around.hosts.get(row.host_id or "")
    nics = around.nics.get(row.id, [])
    public = around.public.get(row.id)
    group = around.groups.get(row.group_id or "")
    shown: dict[str, Any] = {**around.owners.names(row), **_template(around, row), **_offering(around, row)}
    return VirtualMachineResponse(
        id=row.id,
        name=row.name,
        displayname=row.display_name or row.name,
        created=wire_time(row.created),
        state=row.state,
        haenable=False,
        group=group.name if group else None,
        groupid=row.group_id,
        zoneid=row.zone_id,
        zonename=zone.name if zone else None,
        hostid=host.id if host else None,
        hostname=host.name if host else None,
        instancename=row.instance_name if call.caller.is_root else None,
        hypervisor="KVM",
        rootdeviceid=0,
        rootdevicetype="ROOT",
        keypairs=",".join(row.key_names) or None,
        ipaddress=nics[0].ipaddress if nics else None,
        publicip=public.address if public else None,
        publicipid=public.id if public else None,
        details={key: str(value) for key, value in row.details.items()} or None,
        displayvm=True,
        isdynamicallyscalable=False,
        vmtype="User",
        nic=nics,
        securitygroup=[],
        affinitygroup=[],
        tags=around.tags.get(row.id, []),
        **shown,
    )


def _template(around: _Around, row: Vm) -> dict[str, Any]:
    template = around.templates.get(row.template_id or "")
    if template is None:
        return {"passwordenabled": row.password_id is not None}
    return {
        "templateid": template.id,
        "templatename": template.name,
        "templatedisplaytext": template.display_text,
        "templateformat": template.format,
        "passwordenabled": template.password_enabled,
        "osdisplayname": template.os_type,
    }


def _offering(around: _Around, row: Vm) -> dict[str, Any]:
    offering = around.offerings.get(row.offering_id)
    shown: dict[str, Any] = {"serviceofferingid": row.offering_id}
    if offering is not None:
        size = size_of(row, offering)
        shown |= {
            "serviceofferingname": offering.name,
            "cpunumber": size.cpus,
            "cpuspeed": size.speed,
            "memory": size.memory,
        }
    return shown


VIRTUAL_MACHINE = Entity(Vm, VirtualMachineResponse, "virtualmachine", build_vms)
