"""What users bring: signed permissions to send to a storage VM, and volumes until a host has them.

A volume is fetched by URL or sent, judged by the zone's storage VM as templates are, and kept there under its
own id until it is attached for the first time: then its content becomes its file on the host.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.alloc import limits
from mgmt.model.configuration import UPLOAD_MINUTES
from mgmt.model.resources import ResourceType
from mgmt.model.states import TemplateState, VolumeState
from mgmt.ops.images.templates import touch_storage
from mgmt.ops.runtime import Runtime
from mgmt.ops.storage.downloads import PORT, storage_address
from mgmt.pki import tickets
from mgmt.store.configured import configured
from mgmt.store.tables import Account, Template, Volume, VolumeUpload
from systemvm.spec.appliances import TemplateState as Fetched
from systemvm.spec.appliances import TemplateStatus
from systemvm.spec.ticket import TicketPurpose

#: Bytes that users may send at a time; the most that a storage VM takes by URL, too.
LARGEST = 50 << 30
#: How long something may be sent after its ticket has ended, which counts when sending begins.
PATIENCE = timedelta(hours=24)
_SECTOR = 512


@dataclass(frozen=True)
class UploadPermission:
    """Where to send something, and the halves of the ticket for it, which are secrets while it lives."""

    url: str
    metadata: str = field(repr=False)
    signature: str = field(repr=False)
    expires: datetime


def permit_upload(runtime: Runtime, session: Session, *, zone_id: str, image_id: str) -> UploadPermission:
    """Let whoever is told send an image to a zone's storage VM. Raises Unavailable while none runs."""
    seconds = configured(session, UPLOAD_MINUTES) * 60
    moment = runtime.now().timestamp()
    token = tickets.sign(
        runtime.authority.ticket_key, TicketPurpose.upload, image_id, moment, max_bytes=LARGEST, life=seconds
    )
    metadata, _, signature = token.partition(".")
    url = f"https://{storage_address(session, zone_id)}:{PORT}/upload/{image_id}"
    expires = datetime.fromtimestamp(int(moment) + seconds, UTC)
    return UploadPermission(url, metadata, signature, expires)


def store_volume_status(session: Session, volume: Volume, status: TemplateStatus) -> None:
    """Take over what the storage VM says of a volume that is pending."""
    upload = session.get_one(VolumeUpload, volume.id)
    account = session.get_one(Account, volume.account_id)
    upload.percent, upload.reason = status.percent, status.error
    if status.state is Fetched.failed:
        volume.state = VolumeState.error
        touch_storage(session, volume.zone_id)
    elif status.state is Fetched.ready:
        upload.percent, upload.size, upload.sha256 = 100, status.size, status.sha256
        volume.state = VolumeState.uploaded
        volume.size = -(-status.virtual_size // _SECTOR) * _SECTOR
        # Known only now; an owner over the limit brings no other one.
        amounts = {ResourceType.primary_storage: volume.size, ResourceType.secondary_storage: status.size}
        limits.count_all(session, account, amounts)
        touch_storage(session, volume.zone_id)
    elif not upload.url and status.state is Fetched.checking:
        volume.state = VolumeState.uploading


def forget_upload(session: Session, volume: Volume) -> bool:
    """The storage VM need not keep a volume any longer: a host has it, or nobody wants it. Whether it did."""
    upload = session.get(VolumeUpload, volume.id)
    if upload is None:
        return False
    account = session.get_one(Account, volume.account_id)
    limits.release_all(session, account, {ResourceType.secondary_storage: upload.size})
    session.delete(upload)
    touch_storage(session, volume.zone_id)
    return True


def abandon_unsent(session: Session, moment: datetime) -> None:
    """Give up what was to be sent, and was not, long after the permission has ended."""
    since = moment - timedelta(minutes=configured(session, UPLOAD_MINUTES)) - PATIENCE
    volumes = select(Volume).where(
        Volume.state == VolumeState.not_uploaded, Volume.removed.is_(None), Volume.created < since
    )
    for volume in session.scalars(volumes):
        volume.state = VolumeState.abandoned
        session.get_one(VolumeUpload, volume.id).reason = "nothing was sent in time"
        touch_storage(session, volume.zone_id)
    templates = select(Template).where(
        Template.state == TemplateState.downloading,
        Template.url == "",
        Template.source_id.is_(None),
        Template.removed.is_(None),
        Template.created < since,
    )
    for template in session.scalars(templates):
        template.state, template.reason = TemplateState.failed, "nothing was sent in time"
        touch_storage(session, template.zone_id)
