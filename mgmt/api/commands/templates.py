"""Templates: registered by URL, downloaded and checked by the zone's storage VM."""

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from msgspec import Meta
from sqlalchemy import Select, or_, select

from mgmt.alloc.limits import require, reserve
from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.lists import Equals, OwnedListCommand
from mgmt.api.ownership import OwnerAccount, OwnerDomain, OwnerProject
from mgmt.api.params import wrong_value
from mgmt.api.registry import AsyncCommand, Spec, SyncCommand
from mgmt.api.responses.templates import TEMPLATE
from mgmt.model.errors import InUse, ParameterError, PermissionDenied
from mgmt.model.resources import ResourceType
from mgmt.model.states import TemplateState
from mgmt.ops import names
from mgmt.ops.templates import touch_storage
from mgmt.store.tables import ImageStore, Job, Template, Vm, Zone

FILTERS = ("featured", "self", "selfexecutable", "sharedexecutable", "executable", "community", "all")
FORMATS = ("QCOW2", "RAW")
DIGEST_LENGTHS = {"md5": 32, "sha256": 64, "sha512": 128}
LONGEST_URL = 2048


class ListTemplates(OwnedListCommand, kw_only=True, frozen=True):
    """Lists templates: featured ones, one's own, or all that can be deployed."""

    spec = Spec(answer=TEMPLATE, access=EVERYONE)
    searched = (Template.name, Template.display_text)
    tag_type = "Template"

    templatefilter: Annotated[
        str, "featured, self, selfexecutable, sharedexecutable, executable, community, all"
    ]
    name: Annotated[str | None, Equals(Template.name)] = None
    zoneid: Annotated[str | None, Ref(Zone, use=True), Equals(Template.zone_id)] = None
    hypervisor: Annotated[str | None, "the hypervisor: KVM"] = None

    def ownership(self, call: Call) -> Any:
        """Featured and executable templates are everybody's."""
        if self.templatefilter not in FILTERS:
            raise wrong_value("templatefilter", self.templatefilter, f"one of {', '.join(FILTERS)}")
        if self.templatefilter == "all" and not call.caller.is_root:
            raise PermissionDenied("templatefilter=all is the root administrator's; use executable")
        mine = Template.account_id == call.owner.account.id
        public = Template.is_public.is_(True)
        if self.templatefilter == "all" or (self.id is not None and call.caller.is_root):
            return None
        if self.templatefilter in ("featured", "community"):
            return public & Template.is_featured.is_(self.templatefilter == "featured")
        if self.id is not None:
            return None  # the caller's right to it was checked
        if self.templatefilter in ("executable", "sharedexecutable"):
            return or_(mine, public)
        return super().ownership(call)

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Only what can be deployed, where that was asked."""
        if self.hypervisor and self.hypervisor.upper() != "KVM":
            return query.where(Template.id.is_(None))
        if self.templatefilter in ("executable", "selfexecutable", "sharedexecutable"):
            return query.where(Template.state == TemplateState.ready)
        return query


class RegisterTemplate(SyncCommand, kw_only=True, frozen=True):
    """Registers a template by URL; the storage VM downloads it in the background."""

    spec = Spec(answer=TEMPLATE, access=EVERYONE, event="TEMPLATE.CREATE", listed=True, wakes=True)

    name: str
    displaytext: str | None = None
    url: Annotated[str, "where it is: http or https", Meta(max_length=LONGEST_URL)]
    format: Annotated[str, "QCOW2 or RAW"]
    hypervisor: Annotated[str, "KVM"] = "KVM"
    zoneid: Annotated[str | None, Ref(Zone, use=True)] = None
    zoneids: Annotated[list[str] | None, Ref(Zone, use=True), "the zone, as a list of one"] = None
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

    def run(self, call: Call) -> Template:
        """Check and insert; clients expect a list of one."""
        zone = self._zone(call)
        if not call.session.scalar(select(ImageStore.id).where(ImageStore.zone_id == zone.id)):
            raise ParameterError(f"Zone {zone.name} has no image store; add one first")
        require(call.session, call.owner.account, {ResourceType.secondary_storage: 1})
        reserve(call.session, call.owner.account, ResourceType.template)
        row = Template(
            account_id=call.owner.account.id,
            domain_id=call.owner.domain.id,
            zone_id=zone.id,
            name=self.name,
            display_text=self.displaytext or self.name,
            url=read_url(self.url),
            format=self._format(),
            checksum=read_checksum(self.checksum),
            is_public=self.ispublic,
            is_featured=self.isfeatured and call.caller.is_root,
            is_extractable=self.isextractable,
            password_enabled=self.passwordenabled,
        )
        call.session.add(row)
        call.session.flush()
        touch_storage(call.session, zone.id)
        return row

    def _zone(self, call: Call) -> Zone:
        ids = self.zoneids or ([self.zoneid] if self.zoneid else [])
        if len(ids) != 1:
            raise ParameterError("Send zoneid: the one zone whose storage VM keeps the template")
        return call.row(Zone, ids[0])

    def _format(self) -> str:
        if self.hypervisor.upper() != "KVM":
            raise wrong_value("hypervisor", self.hypervisor, "KVM")
        if self.format.upper() not in FORMATS:
            raise wrong_value("format", self.format, " or ".join(FORMATS))
        return self.format.upper()


class UpdateTemplate(SyncCommand, kw_only=True, frozen=True):
    """Updates a template's texts and flags."""

    spec = Spec(answer=TEMPLATE, access=EVERYONE, event="TEMPLATE.UPDATE")

    id: Annotated[str, Ref(Template)]
    name: str | None = None
    displaytext: str | None = None
    passwordenabled: Annotated[bool | None, "true if its guests fetch a password"] = None

    def run(self, call: Call) -> Template:
        """Change what was sent."""
        row = call.row(Template, self.id)
        row.name = self.name or row.name
        row.display_text = self.displaytext or row.display_text
        if self.passwordenabled is not None:
            row.password_enabled = self.passwordenabled
        return row


class DeleteTemplate(AsyncCommand, kw_only=True, frozen=True):
    """Deletes a template; VMs made of it keep their disks."""

    spec = Spec(access=EVERYONE, event="TEMPLATE.DELETE")

    id: Annotated[str, Ref(Template)]
    zoneid: Annotated[str | None, Ref(Zone, use=True)] = None
    forced: Annotated[bool, "true: also while VMs that were made of it exist"] = False

    def run(self, call: Call) -> Job:
        """Refuse while VMs need it, unless forced."""
        row = call.row(Template, self.id)
        query = select(Vm.name).where(Vm.template_id == row.id, Vm.removed.is_(None)).limit(1)
        if not self.forced and (vm := call.session.scalar(query)):
            raise InUse(f"Template {row.name} is used by VM {vm}; send forced=true to delete it all the same")
        return call.submit(names.DELETE_TEMPLATE, {"template_id": row.id}, kind="Template", about=row)


def read_url(text: str) -> str:
    """An http or https URL without credentials. Raises `ParameterError`."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise wrong_value("url", text, "an http or https URL without user and password")
    return text


def read_checksum(text: str | None) -> str:
    """`<algorithm>:<hex>`, "" for none. Raises `ParameterError`."""
    if not text:
        return ""
    # CloudStack's own spelling is {SHA-256}hex.
    match = re.match(r"^(?:\{?([A-Za-z0-9-]+)[}:])?([0-9A-Fa-f]+)$", text)
    digest = match[2].lower() if match else ""
    by_length = {length: name for name, length in DIGEST_LENGTHS.items()}.get(len(digest))
    named = match[1].lower().replace("-", "") if match and match[1] else by_length
    if named is None or DIGEST_LENGTHS.get(named) != len(digest):
        raise wrong_value("checksum", text, "sha256:<64 hex digits>, sha512:<128> or md5:<32>")
    return f"{named}:{digest}"
