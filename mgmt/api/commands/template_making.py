"""Templates made of what is in the cloud already: a volume at rest, or a snapshot."""

from typing import Annotated

from msgspec import Meta

from mgmt.api.absent import HostTag, Origin
from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.commands.snapshots import check_copyable, check_kept, refuse_running, volume_of_user
from mgmt.api.commands.tags import new_tag
from mgmt.api.images import os_type_named, register
from mgmt.api.ownership import OwnerAccount, OwnerDomain, OwnerProject
from mgmt.api.params import NoEffect
from mgmt.api.registry import AsyncCommand, Spec
from mgmt.api.responses.templates import TEMPLATE
from mgmt.model.errors import ParameterError
from mgmt.ops import names
from mgmt.ops.storage.snapshot_rows import turn_of
from mgmt.store.tables import Job, Snapshot, Template, Volume, Zone


class CreateTemplate(AsyncCommand, kw_only=True, frozen=True):
    """Creates a template of a volume that no running VM has, or of a snapshot."""

    spec = Spec(answer=TEMPLATE, access=EVERYONE, event="TEMPLATE.CREATE")
    creates = True

    name: str
    displaytext: str | None = None
    volumeid: Annotated[str | None, Ref(Volume), "the volume it is made of"] = None
    snapshotid: Annotated[str | None, Ref(Snapshot), "the snapshot it is made of"] = None
    zoneid: Annotated[str | None, Ref(Zone, use=True), "the zone of its origin, if any"] = None
    ostypeid: Annotated[str | None, "the ID of the guest's OS type"] = None
    ispublic: bool = False
    isfeatured: bool = False
    isextractable: bool = False
    passwordenabled: Annotated[bool | None, "true if its guests fetch a password"] = None
    bits: Annotated[int | None, NoEffect("guests are 64-bit"), Meta(ge=32, le=64)] = None
    requireshvm: Annotated[bool, NoEffect("all guests are fully virtualized")] = True
    isdynamicallyscalable: Annotated[bool, NoEffect("VMs change their size while they are stopped")] = False
    details: Annotated[dict[str, str] | None, "keys and values kept with it"] = None
    tags: Annotated[dict[str, str] | None, "tags[0].key=…&tags[0].value=…"] = None
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None
    templatetag: HostTag = None
    url: Origin = None
    virtualmachineid: Origin = None

    def run(self, call: Call) -> Job:
        """Check and insert."""
        if (self.volumeid is None) == (self.snapshotid is None):
            raise ParameterError("Send volumeid or snapshotid: what the template is to be made of")
        volume, snapshot = self._origin(call)
        zone_id = snapshot.zone_id if snapshot else volume.zone_id
        if self.zoneid not in (None, zone_id):
            raise ParameterError("Templates are made in the zone of their volume or snapshot")
        parent = call.session.get(Template, volume.template_id) if volume.template_id else None
        row = register(
            call,
            call.session.get_one(Zone, zone_id),
            name=self.name,
            display_text=self.displaytext or self.name,
            url="",
            source_id=snapshot.id if snapshot else volume.id,
            is_public=self.ispublic,
            is_featured=self.isfeatured,
            is_extractable=self.isextractable,
            password_enabled=self._password_enabled(parent),
            details=dict(self.details or {}),
        )
        row.os_type = os_type_named(self.ostypeid) or (parent.os_type if parent else row.os_type)
        for key, value in (self.tags or {}).items():
            call.session.add(new_tag(call, "Template", row, key, value))
        arguments = {"template_id": row.id, "volume_id": None if snapshot else volume.id}
        job = call.submit(names.MAKE_TEMPLATE, arguments, kind="Template", about=row)
        job.lock_key = "" if snapshot else turn_of(volume)
        return job

    def _origin(self, call: Call) -> tuple[Volume, Snapshot | None]:
        """The volume, or the snapshot and the volume that it was taken of."""
        snapshot = call.row_or_none(Snapshot, self.snapshotid)
        if snapshot is not None:
            check_kept(snapshot)
            return call.session.get_one(Volume, snapshot.volume_id), snapshot
        volume = volume_of_user(call, str(self.volumeid))
        check_copyable(call, volume)
        refuse_running(call, volume)
        return volume, None

    def _password_enabled(self, parent: Template | None) -> bool:
        if self.passwordenabled is not None:
            return self.passwordenabled
        return parent.password_enabled if parent else False
