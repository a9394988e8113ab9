"""Templates: registered by URL, downloaded and checked by the zone's storage VM."""

from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import Select

from mgmt.api.absent import Bits, FullyVirtual, HostTag, OfRouter, Scaled, SortKey, must_stay
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
    of_type,
    once,
    os_type_named,
    read_checksum,
    read_url,
    register_in,
    zones_of,
)
from mgmt.api.lists import AllAre, Equals, OwnedListCommand
from mgmt.api.ownership import OwnerAccount, OwnerDomain, OwnerProject
from mgmt.api.params import NoEffect, Unsupported, wrong_value
from mgmt.api.registry import AsyncCommand, Spec, SyncCommand
from mgmt.api.responses.templates import TEMPLATE
from mgmt.model.os_types import DEFAULT
from mgmt.model.states import ImageKind
from mgmt.ops.images.template_zones import shown_ids, spread
from mgmt.store.tables import Job, Template, Zone
from mgmt.store.tables.base import Identified

FORMATS = ("QCOW2", "RAW")


class ListTemplates(OwnedListCommand, kw_only=True, frozen=True):
    """Lists templates: featured ones, one's own, shared ones, or all that can be deployed."""

    spec = Spec(answer=TEMPLATE, access=EVERYONE)
    searched = (Template.name, Template.display_text)
    id_is_filter = False
    tag_type = "Template"

    templatefilter: Annotated[str, FILTER_WORDS]
    name: Annotated[str | None, Equals(Template.name)] = None
    zoneid: Annotated[str | None, Ref(Zone, use=True), Equals(Template.zone_id)] = None
    hypervisor: Annotated[str | None, "the hypervisor: KVM"] = None
    arch: Annotated[str | None, "the architecture: x86_64", AllAre("x86_64")] = None
    templatetype: Annotated[str | None, "USER, or BUILTIN for those that came with the cloud"] = None
    parenttemplateid: Annotated[str | None, "of data disks of a template: there are none", AllAre(None)] = (
        None
    )
    isvnf: Annotated[bool | None, "true for network appliances: none", AllAre(False)] = None
    showunique: Annotated[bool, "true: list what is in several zones once"] = False
    showremoved: Annotated[bool, Unsupported("what is deleted is not kept")] = False

    def known_as(self) -> Any:
        """In every zone it has the tags of the first."""
        return shown_ids()

    def ownership(self, call: Call) -> Any:
        """Public and shared templates are not only their owners'."""
        return image_scope(
            call,
            "templatefilter",
            self.templatefilter,
            super().ownership(call),
            is_narrowed=any((self.account, self.domainid, self.projectid)),
            by_id=self.id is not None or self.ids is not None,
        )

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """No ISOs."""
        query = by_shown_id(query, self.id, self.ids)
        if self.templatetype is not None:
            query = query.where(of_type(self.templatetype))
        if self.showunique:
            query = once(query, self.zoneid)
        return narrow_images(query, ImageKind.template, self.templatefilter, self.hypervisor)


class NewTemplate(SyncCommand, kw_only=True, frozen=True):
    """What clients send with the file of a new template, wherever it comes from."""

    bits: Bits = None
    requireshvm: FullyVirtual = None
    isdynamicallyscalable: Scaled = None
    isrouting: OfRouter = False
    templatetag: HostTag = None
    details: Annotated[dict[str, str] | None, "keys and values kept with it"] = None
    sshkeyenabled: Annotated[bool | None, NoEffect("every guest may fetch its keys")] = None


class RegisterTemplate(NewTemplate, kw_only=True, frozen=True):
    """Registers a template by URL; the storage VM downloads it in the background."""

    spec = Spec(answer=TEMPLATE, access=EVERYONE, event="TEMPLATE.CREATE", listed=True, wakes=True)

    name: str
    displaytext: str | None = None
    url: Annotated[str, "where it is: http or https", Meta(max_length=LONGEST_URL)]
    format: Annotated[str, "QCOW2 or RAW"]
    hypervisor: Annotated[str, "KVM"] = "KVM"
    zoneid: Annotated[str | None, Ref(Zone, use=True, every=True), "the zone; -1: all zones"] = None
    zoneids: Annotated[
        list[str] | None, Ref(Zone, use=True, every=True), "the zones, instead of zoneid; -1: all zones"
    ] = None
    checksum: Annotated[
        str | None, "<algorithm>:<hex> with md5, sha256 or sha512; hex alone is told by length"
    ] = None
    ostypeid: Annotated[str | None, "the ID of the guest's OS type"] = None
    ispublic: bool = False
    isfeatured: bool = False
    isextractable: bool = False
    passwordenabled: Annotated[bool, "true if its guests fetch a password"] = False
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None

    def run(self, call: Call) -> list[Identified]:
        """Check and insert; clients expect a list, with one entry for each zone."""
        return register_in(
            call,
            zones_of(call, self.zoneid, self.zoneids),
            name=self.name,
            display_text=self.displaytext or self.name,
            url=read_url(self.url),
            format=self._format(),
            checksum=read_checksum(self.checksum),
            is_public=self.ispublic,
            is_featured=self.isfeatured,
            is_extractable=self.isextractable,
            password_enabled=self.passwordenabled,
            os_type=os_type_named(self.ostypeid) or DEFAULT,
            details=dict(self.details or {}),
        )

    def _format(self) -> str:
        if self.hypervisor.upper() != "KVM":
            raise wrong_value("hypervisor", self.hypervisor, "KVM")
        if self.format.upper() not in FORMATS:
            raise wrong_value("format", self.format, " or ".join(FORMATS))
        return self.format.upper()


class UpdateTemplate(SyncCommand, kw_only=True, frozen=True):
    """Updates a template's texts, flags and details."""

    spec = Spec(answer=TEMPLATE, access=EVERYONE, event="TEMPLATE.UPDATE")

    id: Annotated[str, Ref(Template)]
    name: str | None = None
    displaytext: str | None = None
    ostypeid: Annotated[str | None, "the ID of the guest's OS type"] = None
    passwordenabled: Annotated[bool | None, "true if its guests fetch a password"] = None
    details: Annotated[dict[str, str] | None, "keys and values kept with it, instead of those it has"] = None
    cleanupdetails: Annotated[bool, "true: remove all details"] = False
    isrouting: OfRouter = False
    isdynamicallyscalable: Scaled = None
    requireshvm: FullyVirtual = None
    sortkey: SortKey = None
    format: Annotated[str | None, "as it is: a file keeps its format"] = None

    def run(self, call: Call) -> Template:
        """Change what was sent; VMs that exist keep what they have."""
        row = image(call, ImageKind.template, self.id)
        must_stay("format", self.format, row.format)
        row.name = self.name or row.name
        row.display_text = self.displaytext or row.display_text
        row.os_type = os_type_named(self.ostypeid) or row.os_type
        if self.passwordenabled is not None:
            row.password_enabled = self.passwordenabled
        if self.details is not None or self.cleanupdetails:
            row.details = {} if self.cleanupdetails else dict(self.details or {})
        spread(call.session, row)
        return row


class DeleteTemplate(AsyncCommand, kw_only=True, frozen=True):
    """Deletes a template; VMs made of it keep their disks."""

    spec = Spec(access=EVERYONE, event="TEMPLATE.DELETE")

    id: Annotated[str, Ref(Template)]
    zoneid: Annotated[str | None, Ref(Zone, use=True)] = None
    forced: Annotated[bool, "true: also while VMs that were made of it exist"] = False

    def run(self, call: Call) -> Job:
        """Refuse while VMs are made of it, unless forced."""
        row = image(call, ImageKind.template, self.id)
        return delete(call, row, forced=self.forced, word="Template", zone_id=self.zoneid)
