"""Volumes on the wire. Sizes in bytes."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, select

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import Owners, TagResponse, tags_of, wire_time
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


#: What volumes' answers show besides their own rows. Made once: making it takes longer than running it.
_SURROUNDINGS = (
    select(
        Volume.id,
        Zone.name.label("zone"),
        *(Vm.name.label("vm"), Vm.display_name.label("vm_text"), Vm.state.label("vm_state")),
        *(DiskOffering.name.label("offering"), DiskOffering.display_text.label("offering_text")),
        *(Template.name.label("template"), Template.display_text.label("template_text")),
        *(Template.is_extractable, StoragePool.name.label("pool"), StoragePool.host_id.label("pool_host")),
    )
    .outerjoin(Zone, Zone.id == Volume.zone_id)
    .outerjoin(Vm, Vm.id == Volume.vm_id)
    .outerjoin(DiskOffering, DiskOffering.id == Volume.offering_id)
    .outerjoin(Template, Template.id == Volume.template_id)
    .outerjoin(StoragePool, StoragePool.id == Volume.pool_id)
    .where(Volume.id.in_(bindparam("ids", expanding=True)))
)


def build_volumes(call: Call, rows: Sequence[Volume]) -> list[VolumeResponse]:
    """Answers for volumes; a fixed number of statements."""
    owners = Owners(call, rows)
    found = call.session.execute(_SURROUNDINGS, {"ids": [row.id for row in rows]})
    around = {each.id: each for each in found}
    uploads = _uploads(call, rows)
    tags = tags_of(call, "Volume", rows)
    return [
        VolumeResponse(
            id=row.id,
            name=row.name,
            zoneid=row.zone_id,
            zonename=around[row.id].zone,
            type=row.kind,
            size=row.size,
            virtualsize=row.size,
            state=row.state,
            created=wire_time(row.created),
            snapshotid=row.snapshot_id,
            hypervisor="KVM",
            provisioningtype="thin",
            destroyed=row.state == "Destroy",
            # What is made of a template may leave the cloud as that may.
            isextractable=around[row.id].is_extractable is not False,
            displayvolume=True,
            quiescevm=False,
            tags=tags.get(row.id, []),
            **owners.names(row),
            **_attachment(row, around[row.id]),
            **_origin(row, around[row.id]),
            **_upload(row, uploads.get(row.id)),
            **_pool(row, around[row.id], is_shown=call.caller.is_root),
        )
        for row in rows
    ]


def _attachment(row: Volume, around: Any) -> dict[str, Any]:
    if around.vm is None:
        return {}
    return {
        "attached": wire_time(row.created),
        "deviceid": row.device,
        "virtualmachineid": row.vm_id,
        "vmname": around.vm,
        "vmdisplayname": around.vm_text or around.vm,
        "vmstate": around.vm_state,
    }


def _origin(row: Volume, around: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if around.offering is not None:
        shown |= {
            "diskofferingid": row.offering_id,
            "diskofferingname": around.offering,
            "diskofferingdisplaytext": around.offering_text,
        }
    if around.template is not None:
        shown |= {
            "templateid": row.template_id,
            "templatename": around.template,
            "templatedisplaytext": around.template_text,
        }
    return shown


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


def _pool(row: Volume, around: Any, *, is_shown: bool) -> dict[str, Any]:
    is_shared = around.pool is not None and around.pool_host is None
    kind = {"storagetype": StorageType.shared if is_shared else StorageType.local}
    if around.pool is None or not is_shown:
        return kind
    return {**kind, "storageid": row.pool_id, "storage": around.pool}


VOLUME = Entity(Volume, VolumeResponse, "volume", build_volumes)
