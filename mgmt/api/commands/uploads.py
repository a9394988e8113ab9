"""What users bring: volumes fetched by URL, and volumes, templates and ISOs that they send themselves."""

from typing import Annotated

from msgspec import Meta

from mgmt.alloc.counted import amounts_of_volumes
from mgmt.alloc.limits import require, reserve_all
from mgmt.api.absent import StoreId
from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.commands.templates import FORMATS, NewTemplate
from mgmt.api.images import (
    LONGEST_URL,
    check_store,
    os_type_named,
    read_checksum,
    read_url,
    register,
)
from mgmt.api.ownership import OwnerAccount, OwnerDomain, OwnerProject
from mgmt.api.params import wrong_value
from mgmt.api.registry import AsyncCommand, Response, Spec, SyncCommand
from mgmt.api.responses.lookup import wire_time
from mgmt.api.responses.volumes import VOLUME
from mgmt.model.resources import ResourceType
from mgmt.model.states import ImageKind, VolumeState
from mgmt.ops.images.templates import touch_storage
from mgmt.ops.runtime import Runtime
from mgmt.ops.storage.uploads import permit_upload
from mgmt.store.tables import DiskOffering, Job, Volume, VolumeUpload, Zone

CHECKSUM_WORDS = "<algorithm>:<hex> with md5, sha256 or sha512; hex alone is told by length"


class UploadParams(Response, kw_only=True):
    """Where to POST a file, and what to send with it as X-metadata, X-signature and X-expires."""

    id: str
    postURL: str  # noqa: N815 (the original's spelling)
    metadata: str
    expires: str
    signature: str


def _spec(event: str, envelope: str) -> Spec:
    return Spec(
        answer=UploadParams,
        access=EVERYONE,
        event=event,
        key="getuploadparams",
        envelope=envelope,
        writes=True,
        wakes=True,
    )


class UploadVolume(AsyncCommand, kw_only=True, frozen=True):
    """Brings a data volume by URL: the storage VM downloads it; once Uploaded it can be attached."""

    spec = Spec(answer=VOLUME, access=EVERYONE, event="VOLUME.UPLOAD", wakes=True)

    name: str
    url: Annotated[str, "where it is: http or https", Meta(max_length=LONGEST_URL)]
    format: Annotated[str, "QCOW2 or RAW"]
    zoneid: Annotated[str, Ref(Zone, use=True)]
    checksum: Annotated[str | None, CHECKSUM_WORDS] = None
    diskofferingid: Annotated[str | None, Ref(DiskOffering, use=True)] = None
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None
    imagestoreuuid: StoreId = None

    def run(self, call: Call) -> Job:
        """It is there as a row; how far it is says its state."""
        volume = _insert(call, self, VolumeState.upload_op, read_url(self.url))
        return call.finish(kind="Volume", about=volume)


class GetUploadParamsForVolume(SyncCommand, kw_only=True, frozen=True):
    """Tells where to send a data volume, and a signature that lets one do it, for some minutes."""

    spec = _spec("VOLUME.UPLOAD", "postuploadvolumeresponse")

    name: str
    format: Annotated[str, "QCOW2 or RAW"]
    zoneid: Annotated[str, Ref(Zone, use=True)]
    checksum: Annotated[str | None, CHECKSUM_WORDS] = None
    diskofferingid: Annotated[str | None, Ref(DiskOffering, use=True)] = None
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None
    imagestoreuuid: StoreId = None

    def run(self, call: Call) -> Response:
        """Insert it as one that is not uploaded yet."""
        volume = _insert(call, self, VolumeState.not_uploaded)
        return _params(call, volume.id, volume.zone_id)


class GetUploadParamsForTemplate(NewTemplate, kw_only=True, frozen=True):
    """Tells where to send a template, and a signature that lets one do it, for some minutes."""

    spec = _spec("TEMPLATE.UPLOAD", "postuploadtemplateresponse")

    name: str
    displaytext: str | None = None
    format: Annotated[str, "QCOW2 or RAW"]
    hypervisor: Annotated[str, "KVM"] = "KVM"
    zoneid: Annotated[str, Ref(Zone, use=True)]
    checksum: Annotated[str | None, CHECKSUM_WORDS] = None
    ostypeid: Annotated[str | None, "the ID of the guest's OS type"] = None
    ispublic: bool = False
    isfeatured: bool = False
    isextractable: bool = False
    passwordenabled: Annotated[bool, "true if its guests fetch a password"] = False
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None

    def run(self, call: Call) -> Response:
        """Insert it as one that is not there yet."""
        if self.hypervisor.upper() != "KVM":
            raise wrong_value("hypervisor", self.hypervisor, "KVM")
        row = register(
            call,
            call.row(Zone, self.zoneid),
            name=self.name,
            display_text=self.displaytext or self.name,
            url="",
            format=read_format(self.format),
            checksum=read_checksum(self.checksum),
            is_public=self.ispublic,
            is_featured=self.isfeatured,
            is_extractable=self.isextractable,
            password_enabled=self.passwordenabled,
            details=dict(self.details or {}),
        )
        row.os_type = os_type_named(self.ostypeid) or row.os_type
        return _params(call, row.id, row.zone_id)


class GetUploadParamsForIso(SyncCommand, kw_only=True, frozen=True):
    """Tells where to send an ISO, and a signature that lets one do it, for some minutes."""

    spec = _spec("ISO.UPLOAD", "postuploadisoresponse")

    name: str
    displaytext: str | None = None
    format: Annotated[str, "ISO"] = "ISO"
    zoneid: Annotated[str, Ref(Zone, use=True)]
    bootable: Annotated[bool, "false: VMs cannot start from it"] = True
    checksum: Annotated[str | None, CHECKSUM_WORDS] = None
    ostypeid: Annotated[str | None, "the ID of the OS type that it installs"] = None
    ispublic: bool = False
    isfeatured: bool = False
    isextractable: bool = False
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None

    def run(self, call: Call) -> Response:
        """Insert it as one that is not there yet."""
        if self.format.upper() != "ISO":
            raise wrong_value("format", self.format, "ISO")
        row = register(
            call,
            call.row(Zone, self.zoneid),
            kind=ImageKind.iso,
            name=self.name,
            display_text=self.displaytext or self.name,
            url="",
            format="ISO",
            checksum=read_checksum(self.checksum),
            bootable=self.bootable,
            is_public=self.ispublic,
            is_featured=self.isfeatured,
            is_extractable=self.isextractable,
        )
        row.os_type = os_type_named(self.ostypeid) or row.os_type
        return _params(call, row.id, row.zone_id)


def read_format(text: str) -> str:
    """The format of a disk. Raises ParameterError."""
    if text.upper() not in FORMATS:
        raise wrong_value("format", text, " or ".join(FORMATS))
    return text.upper()


def _params(call: Call, image_id: str, zone_id: str) -> UploadParams:
    call.session.flush()
    permission = permit_upload(call.part(Runtime), call.session, zone_id=zone_id, image_id=image_id)
    return UploadParams(
        id=image_id,
        postURL=permission.url,
        metadata=permission.metadata,
        expires=wire_time(permission.expires) or "",
        signature=permission.signature,
    )


def _insert(
    call: Call, wanted: UploadVolume | GetUploadParamsForVolume, state: VolumeState, url: str = ""
) -> Volume:
    """A volume of a size that is still to be known, and where it comes from; its storage VM is to be told.

    Raises ParameterError, LimitReached.
    """
    form, checksum = read_format(wanted.format), read_checksum(wanted.checksum)
    zone = call.row(Zone, wanted.zoneid)
    check_store(call, zone)
    offering = call.row_or_none(DiskOffering, wanted.diskofferingid)
    reserve_all(call.session, call.owner.account, amounts_of_volumes(0))
    room = {ResourceType.primary_storage: 1, ResourceType.secondary_storage: 1}
    require(call.session, call.owner.account, room)
    row = Volume(
        account_id=call.owner.account.id,
        domain_id=call.owner.domain.id,
        zone_id=zone.id,
        offering_id=offering.id if offering else None,
        name=wanted.name,
        size=0,
        state=state,
    )
    call.session.add(row)
    call.session.flush()
    call.session.add(VolumeUpload(volume_id=row.id, url=url, format=form, checksum=checksum))
    touch_storage(call.session, zone.id)
    return row
