"""Volumes that a zone's storage VM has: what users bring, until a host has it; copies that they download."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.desired.storage import Template as Image
from mgmt.model.states import AccountType, VolumeState
from mgmt.store.tables import Account, Volume, VolumeExport, VolumeUpload

#: States in which the storage VM is still to say what became of a volume, and those in which it keeps it.
PENDING = (VolumeState.upload_op, VolumeState.not_uploaded, VolumeState.uploading)
KEPT = (*PENDING, VolumeState.uploaded)
#: Bytes of the largest disk that is copied out of a pool.
LARGEST_COPY = 1 << 42


def volumes_kept(session: Session, zone_id: str) -> list[Image]:
    """The volumes that a zone's storage VM is to have, as it is told of them."""
    query = (
        select(VolumeUpload, Volume.state, Account.type)
        .join(Volume, Volume.id == VolumeUpload.volume_id)
        .join(Account, Account.id == Volume.account_id)
        .where(Volume.zone_id == zone_id, Volume.removed.is_(None), Volume.state.in_(KEPT))
    )
    brought = [
        Image(
            id=upload.volume_id,
            url=upload.url,
            format=upload.format,
            checksum=upload.checksum,
            is_trusted=kind == AccountType.root_admin and state == VolumeState.upload_op,
        )
        for upload, state, kind in session.execute(query)
    ]
    exports = select(VolumeExport.id).where(VolumeExport.zone_id == zone_id, VolumeExport.removed.is_(None))
    return brought + [
        Image(id=export_id, url="", format="qcow2", max_bytes=LARGEST_COPY)
        for export_id in session.scalars(exports)
    ]
