"""Volumes on the wire. Sizes in bytes."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import Owners, TagResponse, rows_by_id, tags_of, wire_time
from mgmt.model.pools import StorageType
from mgmt.model.states import VolumeState
from mgmt.ops.storage.kept_volumes import PENDING
from mgmt.store.tables import DiskOffering, StoragePool, Template, Vm, Volume, VolumeUpload, Zone

#: States of volumes that their owners bring.
BROUGHT = (
    VolumeState.upload_op,
    VolumeState.not_uploaded,
    VolumeState.uploading,
    VolumeState.error,
    VolumeState.abandoned,
)


class VolumeResponse(Response, kw_only=True):
    """A disk; `attached`, `virtualmachineid` and `deviceid` are absent while it is not attached."""

    id: str
    name: str
    account: str | None = None
    project: str | None = None
    projectid: str | None = None
    domainid: str | None = None
    domain: str | None = None
    domainpath: str | None = None
    zoneid: str
    zonename: str | None = None
    type: str
    size: int
    virtualsize: int
    state: str
    status: str | None = None
    created: str | None = None
    attached: str | None = None
    deviceid: int | None = None
    virtualmachineid: str | None = None
    vmname: str | None = None
    vmdisplayname: str | None = None
    vmstate: str | None = None
    diskofferingid: str | None = None
    diskofferingname: str | None = None
    diskofferingdisplaytext: str | None = None
    templateid: str | None = None
    templatename: str | None = None
    templatedisplaytext: str | None = None
    snapshotid: str | None = None
    storageid: str | None = None
    storage: str | None = None
    storagetype: str
    hypervisor: str
    provisioningtype: str
    destroyed: bool
    isextractable: bool
    displayvolume: bool
    quiescevm: bool
    tags: list[TagResponse]


def build_volumes(call: Call, rows: Sequence[Volume]) -> list[VolumeResponse]:
    """Answers for volumes; a fixed number of statements."""
    owners = Owners(call, rows)
    zones = rows_by_id(call, Zone, (row.zone_id for row in rows))
    vms = rows_by_id(call, Vm, (row.vm_id for row in rows))
    offerings = rows_by_id(call, DiskOffering, (row.offering_id for row in rows))
    templates = rows_by_id(call, Template, (row.template_id for row in rows))
    uploads = _uploads(call, rows)
    pools = rows_by_id(call, StoragePool, (row.pool_id for row in rows))
    tags = tags_of(call, "Volume", rows)
    return [
        VolumeResponse(
            id=row.id,
            name=row.name,
            zoneid=row.zone_id,
            zonename=zones[row.zone_id].name if row.zone_id in zones else None,
            type=row.kind,
            size=row.size,
            virtualsize=row.size,
            state=row.state,
            created=wire_time(row.created),
            snapshotid=row.snapshot_id,
            hypervisor="KVM",
            provisioningtype="thin",
            destroyed=row.state == "Destroy",
            isextractable=_is_extractable(templates.get(row.template_id or "")),
            displayvolume=True,
            quiescevm=False,
            tags=tags.get(row.id, []),
            **owners.names(row),
            **_attachment(row, vms.get(row.vm_id or "")),
            **_origin(offerings.get(row.offering_id or ""), templates.get(row.template_id or "")),
            **_upload(row, uploads.get(row.id)),
            **_pool(pools.get(row.pool_id or ""), is_shown=call.caller.is_root),
        )
        for row in rows
    ]


def _attachment(row: Volume, vm: Vm | None) -> dict[str, Any]:
    if vm is None:
        return {}
    return {
        "attached": wire_time(row.created),
        "deviceid": row.device,
        "virtualmachineid": vm.id,
        "vmname": vm.name,
        "vmdisplayname": vm.display_name or vm.name,
        "vmstate": vm.state,
    }


def _origin(offering: DiskOffering | None, template: Template | None) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if offering is not None:
        shown |= {
            "diskofferingid": offering.id,
            "diskofferingname": offering.name,
            "diskofferingdisplaytext": offering.display_text,
        }
    if template is not None:
        shown |= {
            "templateid": template.id,
            "templatename": template.name,
            "templatedisplaytext": template.display_text,
        }
    return shown


def _is_extractable(template: Template | None) -> bool:
    """What is made of a template may leave the cloud as that may."""
    return template is None or template.is_extractable


def _uploads(call: Call, rows: Sequence[Volume]) -> dict[str, VolumeUpload]:
    """How far volumes are that their owners bring; no statement on pages without any."""
    ids = [row.id for row in rows if row.state in BROUGHT]
    if not ids:
        return {}
    query = select(VolumeUpload).where(VolumeUpload.volume_id.in_(ids))
    return {upload.volume_id: upload for upload in call.session.scalars(query)}


def _upload(row: Volume, upload: VolumeUpload | None) -> dict[str, Any]:
    if upload is None:
        return {}
    if upload.reason:
        how = "Upload waits and is tried again" if row.state in PENDING else "Upload failed"
        return {"status": f"{how}: {upload.reason}"}
    return {"status": f"{upload.percent}% Downloaded" if upload.url else f"{upload.percent}% Uploaded"}


def _pool(pool: StoragePool | None, *, is_shown: bool) -> dict[str, Any]:
    is_shared = pool is not None and pool.host_id is None
    kind = {"storagetype": StorageType.shared if is_shared else StorageType.local}
    return kind if pool is None or not is_shown else {**kind, "storageid": pool.id, "storage": pool.name}


VOLUME = Entity(Volume, VolumeResponse, "volume", build_volumes)
