"""Extractions: URLs at which users outside download their templates, ISOs and volumes."""

from typing import Annotated

from mgmt.alloc.limits import require
from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.images import image
from mgmt.api.params import wrong_value
from mgmt.api.registry import AsyncCommand, Response, Spec
from mgmt.api.responses.extracts import ISO_EXTRACT, MODE, TEMPLATE_EXTRACT, VOLUME_EXTRACT, with_url
from mgmt.model.errors import ParameterError, PermissionDenied
from mgmt.model.resources import ResourceType
from mgmt.model.states import AccountType, ImageKind, TemplateState, VmKind, VmState, VolumeState
from mgmt.ops import names
from mgmt.ops.images.template_zones import zone_rows
from mgmt.ops.storage.downloads import storage_address
from mgmt.store.tables import Account, Job, Template, Vm, Volume, VolumeExport, VolumeUpload, Zone

MODE_WORDS = f"{MODE}: the answer has a URL to download from"
URL_WORDS = "not taken: the cloud sends nothing to other places"


class _ExtractImage(AsyncCommand, kw_only=True, frozen=True):
    """What both commands do."""

    id: Annotated[str, Ref(Template)]
    mode: Annotated[str, MODE_WORDS]
    zoneid: Annotated[str | None, Ref(Zone, use=True), "the zone it is downloaded from"] = None
    url: Annotated[str | None, URL_WORDS] = None

    def check(self, call: Call, kind: ImageKind) -> Job:
        """Refuse what is not to leave the cloud, or is not there."""
        check_mode(self.mode, self.url)
        row = image(call, kind, self.id)
        found = [each for each in zone_rows(call.session, row) if self.zoneid in (None, each.zone_id)]
        if not found:
            raise ParameterError(f"{row.name} is not in zone {call.row(Zone, self.zoneid or '').name}")
        row = found[0]
        check_extractable(call, row.name, is_extractable=row.is_extractable)
        if row.state != TemplateState.ready:
            raise ParameterError(f"{row.name} is {row.state}: wait until it is Ready")
        storage_address(call.session, row.zone_id)
        return call.finish(kind="Template" if kind is ImageKind.template else "Iso", about=row)

    @classmethod
    def result(cls, call: Call, job: Job, answer: Response) -> Response:
        """With the URL, while there is something at it."""
        row = call.session.get(Template, job.instance_id)
        if row is None or row.removed is not None:
            return answer
        return with_url(call, job, answer, image_id=row.id, suffix=row.format)


class ExtractTemplate(_ExtractImage, kw_only=True, frozen=True):
    """Makes a URL at which a template can be downloaded, for some hours."""

    spec = Spec(answer=TEMPLATE_EXTRACT, access=EVERYONE, event="TEMPLATE.EXTRACT")

    def run(self, call: Call) -> Job:
        """Nothing is left to do: the storage VM serves whoever has the URL."""
        return self.check(call, ImageKind.template)


class ExtractIso(_ExtractImage, kw_only=True, frozen=True):
    """Makes a URL at which an ISO can be downloaded, for some hours."""

    spec = Spec(answer=ISO_EXTRACT, access=EVERYONE, event="ISO.EXTRACT")

    def run(self, call: Call) -> Job:
        """Nothing is left to do: the storage VM serves whoever has the URL."""
        return self.check(call, ImageKind.iso)


class ExtractVolume(AsyncCommand, kw_only=True, frozen=True):
    """Copies a volume that no running VM has, and makes a URL at which the copy can be downloaded."""

    spec = Spec(answer=VOLUME_EXTRACT, access=EVERYONE, event="VOLUME.EXTRACT")

    id: Annotated[str, Ref(Volume)]
    mode: Annotated[str, MODE_WORDS]
    zoneid: Annotated[str, Ref(Zone, use=True), "the zone that it is in"]
    url: Annotated[str | None, URL_WORDS] = None

    def run(self, call: Call) -> Job:
        """One that was uploaded is in the storage VM already."""
        check_mode(self.mode, self.url)
        row = call.row(Volume, self.id)
        self._check(call, row)
        storage_address(call.session, row.zone_id)
        if row.state == VolumeState.uploaded:
            return call.finish(kind="Volume", about=row)
        owner = call.session.get_one(Account, row.account_id)
        require(call.session, owner, {ResourceType.secondary_storage: 1})
        export = VolumeExport(
            account_id=row.account_id,
            domain_id=row.domain_id,
            zone_id=row.zone_id,
            volume_id=row.id,
            expires=call.now(),
        )
        call.session.add(export)
        call.session.flush()
        arguments = {"volume_id": row.id, "export_id": export.id}
        return call.submit(names.EXTRACT_VOLUME, arguments, kind="Volume", about=row)

    def _check(self, call: Call, row: Volume) -> None:
        if row.zone_id != self.zoneid:
            raise ParameterError(f"Volume {row.name} is not in zone {call.row(Zone, self.zoneid).name}")
        template = call.session.get(Template, row.template_id) if row.template_id else None
        check_extractable(call, row.name, is_extractable=template is None or template.is_extractable)
        vm = call.session.get(Vm, row.vm_id) if row.vm_id else None
        if vm is not None and (vm.kind != VmKind.user or vm.state != VmState.stopped):
            raise ParameterError(f"Volume {row.name} is in use by VM {vm.name}: stop that, or detach it")
        if row.state not in (VolumeState.ready, VolumeState.uploaded):
            raise ParameterError(f"Volume {row.name} is {row.state}: there is nothing to download yet")

    @classmethod
    def result(cls, call: Call, job: Job, answer: Response) -> Response:
        """With the URL, while there is something at it."""
        export_id = job.arguments.get("export_id")
        export = call.session.get(VolumeExport, export_id) if export_id else None
        if export is not None and export.removed is None:
            return with_url(call, job, answer, image_id=export.id, suffix="qcow2")
        upload = None if export_id else call.session.get(VolumeUpload, job.instance_id)
        if upload is not None:
            return with_url(call, job, answer, image_id=upload.volume_id, suffix=upload.format)
        return answer


def check_mode(mode: str, url: str | None) -> None:
    """Raise ParameterError unless it is to be downloaded."""
    if mode.upper() != MODE:
        raise wrong_value("mode", mode, MODE)
    if url:
        raise wrong_value("url", url, "nothing: the answer says where to download from")


def check_extractable(call: Call, name: str, *, is_extractable: bool) -> None:
    """Raise PermissionDenied for users where it must not leave the cloud; administrators may."""
    if not is_extractable and call.caller.type is AccountType.user:
        raise PermissionDenied(f"{name} may not be downloaded: it is not extractable")
