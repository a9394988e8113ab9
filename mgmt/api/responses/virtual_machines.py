"""Tenants' VMs on the wire."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import aliased

from mgmt.alloc.sizes import size_of
from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.affinity_groups import AffinityGroupResponse, groups_of_vms
from mgmt.api.responses.lookup import Owners, TagResponse, tags_of, wire_time
from mgmt.api.responses.nics import NicResponse, nics_of_vms
from mgmt.model.os_types import os_type_by_name
from mgmt.store.tables import Host, InstanceGroup, ServiceOffering, Template, UserData, Vm, Zone


class VirtualMachineResponse(Response, kw_only=True):
    """A tenant's VM. `password` is there once: in the result of the job that made it, for its owner."""

    id: str
    name: str
    displayname: str
    account: str | None = None
    project: str | None = None
    projectid: str | None = None
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
    isoid: str | None = None
    isoname: str | None = None
    isodisplaytext: str | None = None
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
    keypair: str | None = None
    ipaddress: str | None = None
    publicip: str | None = None
    publicipid: str | None = None
    password: str | None = None
    userdataid: str | None = None
    userdataname: str | None = None
    deleteprotection: bool
    details: dict[str, str] | None = None
    displayvm: bool
    isdynamicallyscalable: bool
    vmtype: str
    nic: list[NicResponse]
    securitygroup: list[str]
    affinitygroup: list[AffinityGroupResponse]
    tags: list[TagResponse]


@dataclass(frozen=True)
class _Around:
    """What a VM's answer shows besides its own row."""

    zone: str
    host: str | None
    template: Template | None
    offering: ServiceOffering
    group: str | None
    user_data: str | None
    iso: tuple[str | None, str | None]


@dataclass(frozen=True)
class _Many:
    """What there are several of, by the VMs' ids."""

    nics: dict[str, list[NicResponse]]
    tags: dict[str, list[TagResponse]]
    affinity: dict[str, list[AffinityGroupResponse]]


def build_vms(call: Call, rows: Sequence[Vm]) -> list[VirtualMachineResponse]:
    """Answers for VMs; a fixed number of statements."""
    ids = [row.id for row in rows]
    owners = Owners(call, rows)
    around = _surroundings(call, ids)
    many = _Many(nics_of_vms(call, ids), tags_of(call, "UserVm", rows), groups_of_vms(call, ids, owners))
    return [_build(call, row, owners.names(row), around[row.id], many) for row in rows]


_ISO = aliased(Template)
#: Made once: making it takes longer than running it.
_SURROUNDINGS = (
    select(
        *(Vm.id, Zone.name, Host.name, Template, ServiceOffering, InstanceGroup.name, UserData.name),
        *(_ISO.name, _ISO.display_text),
    )
    .join(Zone, Zone.id == Vm.zone_id)
    .join(ServiceOffering, ServiceOffering.id == Vm.offering_id)
    .outerjoin(Host, Host.id == Vm.host_id)
    .outerjoin(Template, Template.id == Vm.template_id)
    .outerjoin(_ISO, _ISO.id == Vm.iso_id)
    .outerjoin(InstanceGroup, InstanceGroup.id == Vm.group_id)
    .outerjoin(UserData, UserData.id == Vm.user_data_id)
    .where(Vm.id.in_(bindparam("ids", expanding=True)))
)


def _surroundings(call: Call, ids: Sequence[str]) -> dict[str, _Around]:
    found = call.session.execute(_SURROUNDINGS, {"ids": ids})
    return {row[0]: _Around(*row[1:7], iso=(row[7], row[8])) for row in found}


def _build(
    call: Call, row: Vm, owner: dict[str, Any], around: _Around, many: _Many
) -> VirtualMachineResponse:
    nics = many.nics.get(row.id, [])
    default = next((nic for nic in nics if nic.isdefault), None)
    public = next((nic for nic in nics if nic.publicip), None)
    return VirtualMachineResponse(
        id=row.id,
        name=row.name,
        displayname=row.display_name or row.name,
        created=wire_time(row.created),
        state=row.state,
        haenable=False,
        group=around.group,
        groupid=row.group_id,
        zoneid=row.zone_id,
        zonename=around.zone,
        hypervisor="KVM",
        isoid=row.iso_id,
        isoname=around.iso[0],
        isodisplaytext=around.iso[1],
        rootdeviceid=0,
        rootdevicetype="ROOT",
        keypairs=",".join(row.key_names) or None,
        keypair=next(iter(row.key_names), None),
        ipaddress=default.ipaddress if default else None,
        publicip=public.publicip if public else None,
        publicipid=public.publicipid if public else None,
        userdataid=row.user_data_id,
        userdataname=around.user_data,
        deleteprotection=row.delete_protection,
        details={key: str(value) for key, value in row.details.items()} or None,
        displayvm=True,
        isdynamicallyscalable=False,
        vmtype="User",
        nic=nics,
        securitygroup=[],
        affinitygroup=many.affinity.get(row.id, []),
        tags=many.tags.get(row.id, []),
        **owner,
        **_size(row, around.offering),
        **(_on_host(row, around.host) if call.caller.is_root else {}),
        **_template(row, around.template),
    )


def _size(row: Vm, offering: ServiceOffering) -> dict[str, Any]:
    size = size_of(row, offering)
    return {
        "serviceofferingid": offering.id,
        "serviceofferingname": offering.name,
        "cpunumber": size.cpus,
        "cpuspeed": size.speed,
        "memory": size.memory,
    }


def _on_host(row: Vm, host: str | None) -> dict[str, Any]:
    """What is an administrator's to know."""
    where = {"hostid": row.host_id, "hostname": host} if host else {}
    return {"instancename": row.instance_name, **where}


def _template(row: Vm, template: Template | None) -> dict[str, Any]:
    shown: dict[str, Any] = {"passwordenabled": row.password_id is not None}
    if template is not None:
        shown = {
            "templateid": template.id,
            "templatename": template.name,
            "templatedisplaytext": template.display_text,
            "templateformat": template.format,
            "passwordenabled": template.password_enabled,
        }
    name = row.os_type or (template.os_type if template else None)
    kind = os_type_by_name(name) if name else None
    kind_id = kind.id if kind else None
    return shown | {"osdisplayname": name, "ostypeid": kind_id, "guestosid": kind_id}


VIRTUAL_MACHINE = Entity(Vm, VirtualMachineResponse, "virtualmachine", build_vms)
