"""VM snapshots on the wire."""

from collections.abc import Sequence

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import Owners, TagResponse, rows_by_id, tags_of, wire_time
from mgmt.store.tables import Vm, VmSnapshot, Zone


class VmSnapshotResponse(Response, kw_only=True):
    """A VM snapshot; `name` is the cloud's own, `displayname` its owner's."""

    id: str
    name: str
    displayname: str
    description: str
    account: str | None = None
    project: str | None = None
    projectid: str | None = None
    domainid: str | None = None
    domain: str | None = None
    domainpath: str | None = None
    zoneid: str
    zonename: str | None = None
    virtualmachineid: str
    virtualmachinename: str | None = None
    hypervisor: str
    state: str
    type: str
    current: bool
    parent: str | None = None
    parentName: str | None = None  # noqa: N815 (the wire's spelling)
    created: str | None = None
    tags: list[TagResponse]


def build_vm_snapshots(call: Call, rows: Sequence[VmSnapshot]) -> list[VmSnapshotResponse]:
    """Answers for VM snapshots; a fixed number of statements."""
    owners = Owners(call, rows)
    zones = rows_by_id(call, Zone, (row.zone_id for row in rows))
    vms = rows_by_id(call, Vm, (row.vm_id for row in rows))
    parents = rows_by_id(call, VmSnapshot, (row.parent_id for row in rows))
    tags = tags_of(call, "VMSnapshot", rows)
    return [
        VmSnapshotResponse(
            id=row.id,
            name=row.name,
            displayname=row.display_name,
            description=row.description,
            zoneid=row.zone_id,
            zonename=zones[row.zone_id].name if row.zone_id in zones else None,
            virtualmachineid=row.vm_id,
            virtualmachinename=vms[row.vm_id].name if row.vm_id in vms else None,
            hypervisor="KVM",
            state=row.state,
            type=row.kind,
            current=row.is_current,
            parent=row.parent_id,
            parentName=parents[row.parent_id].display_name if row.parent_id in parents else None,
            created=wire_time(row.created),
            tags=tags.get(row.id, []),
            **owners.names(row),
        )
        for row in rows
    ]


VM_SNAPSHOT = Entity(VmSnapshot, VmSnapshotResponse, "vmsnapshot", build_vm_snapshots)
