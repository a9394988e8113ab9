"""ISOs: CD images that VMs are installed from, or have in their drives; otherwise as templates."""

from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import Select, select

from mgmt.api.absent import FullyVirtual, OfRouter, Scaled, SortKey, StoreId
from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.images import (
    FILTER_WORDS,
    LONGEST_URL,
    by_shown_id,
    delete,
    image,
    image_scope,
    narrow_images,
    once,
    os_type_named,
    read_checksum,
    read_url,
    register_in,
    zones_of,
)
from mgmt.api.lists import AllAre, Equals, OwnedListCommand
from mgmt.api.ownership import OwnerAccount, OwnerDomain, OwnerProject
from mgmt.api.params import NoEffect, Unsupported
from mgmt.api.registry import AsyncCommand, Spec, SyncCommand
from mgmt.api.responses.templates import ISO
from mgmt.api.responses.virtual_machines import VIRTUAL_MACHINE
from mgmt.api.user_vms import KIND, must_be, user_vm
from mgmt.model.errors import InUse, ParameterError
from mgmt.model.os_types import DEFAULT
from mgmt.model.states import ImageKind, TemplateState, VmState
from mgmt.ops import names
from mgmt.ops.images.template_zones import in_zone, shown_ids, spread
from mgmt.store.tables import Job, Template, Vm, Zone
from mgmt.store.tables.base import Identified


class ListIsos(OwnedListCommand, kw_only=True, frozen=True):
    """Lists ISOs: featured ones, one's own, shared ones, or all that can be used."""

    spec = Spec(answer=ISO, access=EVERYONE)
    searched = (Template.name, Template.display_text)
    id_is_filter = False
    tag_type = "ISO"

    isofilter: Annotated[str, FILTER_WORDS] = "selfexecutable"
    name: Annotated[str | None, Equals(Template.name)] = None
    zoneid: Annotated[str | None, Ref(Zone, use=True), Equals(Template.zone_id)] = None
    bootable: Annotated[
        bool | None, "list only those that VMs can start from, or cannot", Equals(Template.bootable)
    ] = None
    ispublic: Annotated[
        bool | None, "list only those that every account may use, or may not", Equals(Template.is_public)
    ] = None
    isready: Annotated[bool | None, "true: only those that are downloaded"] = None
    hypervisor: Annotated[str | None, "the hypervisor: KVM"] = None
    arch: Annotated[str | None, "the architecture: x86_64", AllAre("x86_64")] = None
    showunique: Annotated[bool, "true: list what is in several zones once"] = False
    showremoved: Annotated[bool, Unsupported("what is deleted is not kept")] = False

    def known_as(self) -> Any:
        """In every zone it has the tags of the first."""
        return shown_ids()

    def ownership(self, call: Call) -> Any:
        """Public and shared ISOs are not only their owners'."""
        return image_scope(
            call,
            "isofilter",
            self.isofilter,
            super().ownership(call),
            is_narrowed=any((self.account, self.domainid, self.projectid)),
            by_id=self.id is not None or self.ids is not None,
        )

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """No templates."""
        query = by_shown_id(query, self.id, self.ids)
        if self.showunique:
            query = once(query, self.zoneid)
        if self.isready:  # false asks for no less than nothing at all, as in CloudStack
            query = query.where(Template.state == TemplateState.ready)
        return narrow_images(query, ImageKind.iso, self.isofilter, self.hypervisor)


class RegisterIso(SyncCommand, kw_only=True, frozen=True):
    """Registers an ISO by URL; the storage VM downloads it in the background."""

    spec = Spec(answer=ISO, access=EVERYONE, event="ISO.CREATE", listed=True, wakes=True)

    name: str
    displaytext: str | None = None
    url: Annotated[str, "where it is: http or https", Meta(max_length=LONGEST_URL)]
    zoneid: Annotated[str, Ref(Zone, use=True, every=True), "the zone; -1: all zones"]
    bootable: Annotated[bool, "false: VMs cannot start from it"] = True
    checksum: Annotated[
        str | None, "<algorithm>:<hex> with md5, sha256 or sha512; hex alone is told by length"
    ] = None
    ostypeid: Annotated[str | None, "the ID of the OS type that it installs"] = None
    ispublic: bool = False
    isfeatured: bool = False
    isextractable: bool = False
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None
    imagestoreuuid: StoreId = None
    isdynamicallyscalable: Scaled = None

    def run(self, call: Call) -> list[Identified]:
        """Check and insert; clients expect a list, with one entry for each zone."""
        return register_in(
            call,
            zones_of(call, self.zoneid),
            kind=ImageKind.iso,
            name=self.name,
            display_text=self.displaytext or self.name,
            url=read_url(self.url),
            format="ISO",
            checksum=read_checksum(self.checksum),
            bootable=self.bootable,
            is_public=self.ispublic,
            is_featured=self.isfeatured,
            is_extractable=self.isextractable,
            os_type=os_type_named(self.ostypeid) or DEFAULT,
        )


class UpdateIso(SyncCommand, kw_only=True, frozen=True):
    """Updates an ISO's texts and flags."""

    spec = Spec(answer=ISO, access=EVERYONE, event="ISO.UPDATE")

    id: Annotated[str, Ref(Template)]
    name: str | None = None
    displaytext: str | None = None
    ostypeid: Annotated[str | None, "the ID of the OS type that it installs"] = None
    bootable: Annotated[bool | None, "false: VMs cannot start from it"] = None
    isrouting: OfRouter = False
    isdynamicallyscalable: Scaled = None
    requireshvm: FullyVirtual = None
    sortkey: SortKey = None
    passwordenabled: Annotated[bool, Unsupported("an installed guest is a VM of its own")] = False
    details: Annotated[dict[str, str] | None, Unsupported("an ISO has no details")] = None

    def run(self, call: Call) -> Template:
        """Change what was sent."""
        row = image(call, ImageKind.iso, self.id)
        row.name = self.name or row.name
        row.display_text = self.displaytext or row.display_text
        row.os_type = os_type_named(self.ostypeid) or row.os_type
        if self.bootable is not None:
            row.bootable = self.bootable
        spread(call.session, row)
        return row


class DeleteIso(AsyncCommand, kw_only=True, frozen=True):
    """Deletes an ISO that is in no drive; VMs that were installed from it keep their disks."""

    spec = Spec(access=EVERYONE, event="ISO.DELETE")

    id: Annotated[str, Ref(Template)]
    zoneid: Annotated[str | None, Ref(Zone, use=True)] = None

    def run(self, call: Call) -> Job:
        """Refuse while a VM has it in its drive."""
        row = image(call, ImageKind.iso, self.id)
        query = select(Vm.name).where(Vm.iso_id == row.id, Vm.removed.is_(None)).limit(1)
        if vm := call.session.scalar(query):
            raise InUse(f"ISO {row.name} is attached to VM {vm}; detach it first")
        return delete(call, row, forced=True, word="Iso", zone_id=self.zoneid)


class AttachIso(AsyncCommand, kw_only=True, frozen=True):
    """Puts an ISO into the CD drive of a VM, running or stopped."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE, event="ISO.ATTACH")

    id: Annotated[str, Ref(Template, use=True)]
    virtualmachineid: Annotated[str, Ref(Vm)]
    forced: Annotated[bool, "true: instead of an ISO that is in the drive already"] = False

    def run(self, call: Call) -> Job:
        """The ISO must be there, and the drive empty."""
        iso = image(call, ImageKind.iso, self.id)
        vm = user_vm(call, self.virtualmachineid, "virtualmachineid")
        must_be(vm, "given an ISO", VmState.running, VmState.stopped)
        here = in_zone(call.session, iso, vm.zone_id)
        if here is None:
            raise ParameterError(f"ISO {iso.name} is in another zone than VM {vm.name}")
        if here.state != TemplateState.ready:
            raise ParameterError(f"ISO {iso.name} is {here.state}: wait until it is Ready")
        if vm.iso_id not in (None, iso.id) and not self.forced:
            raise InUse(f"VM {vm.name} has an ISO in its drive; detach it first, or send forced=true")
        return call.submit(names.ATTACH_ISO, {"vm_id": vm.id, "iso_id": iso.id}, kind=KIND, about=vm)


class DetachIso(AsyncCommand, kw_only=True, frozen=True):
    """Takes the ISO out of a VM's CD drive."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE, event="ISO.DETACH")

    virtualmachineid: Annotated[str, Ref(Vm)]
    forced: Annotated[bool, NoEffect("the drive opens also while the guest reads")] = False

    def run(self, call: Call) -> Job:
        """Refuse an empty drive."""
        vm = user_vm(call, self.virtualmachineid, "virtualmachineid")
        must_be(vm, "relieved of its ISO", VmState.running, VmState.stopped)
        if vm.iso_id is None:
            raise ParameterError(f"VM {vm.name} has no ISO attached")
        return call.submit(names.DETACH_ISO, {"vm_id": vm.id}, kind=KIND, about=vm)
