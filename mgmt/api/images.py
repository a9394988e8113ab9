"""What templates and ISOs have in common: registered by URL, listed by the same filters, shared."""

import re
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, Select, false, func, or_, select

from mgmt.alloc.limits import require, reserve
from mgmt.api.access import EVERY
from mgmt.api.call import Call
from mgmt.api.params import unknown_entity, wrong_value
from mgmt.model.configuration import PUBLIC_TEMPLATES_ALLOWED
from mgmt.model.errors import InUse, ParameterError, PermissionDenied
from mgmt.model.os_types import os_type_by_id
from mgmt.model.resources import ResourceType
from mgmt.model.states import Allocation, ImageKind, TemplateState
from mgmt.ops import names
from mgmt.ops.images.template_zones import in_zone, shown_ids
from mgmt.ops.images.templates import touch_storage
from mgmt.store.configured import configured
from mgmt.store.tables import ImageStore, Job, Template, TemplatePermission, Vm, Zone
from mgmt.store.tables.base import Identified

FILTERS = ("featured", "self", "selfexecutable", "sharedexecutable", "executable", "community", "all")
FILTER_WORDS = ", ".join(FILTERS)
EXECUTABLE = ("executable", "selfexecutable", "sharedexecutable")
DIGEST_LENGTHS = {"md5": 32, "sha256": 64, "sha512": 128}
LONGEST_URL = 2048
Scope = ColumnElement[bool] | None


def image(call: Call, kind: ImageKind, row_id: str, parameter: str = "id") -> Template:
    """The template or the ISO of an id; each has commands of its own."""
    row = call.row(Template, row_id)
    if row.kind != kind:
        raise unknown_entity(parameter, row_id)
    return row


def image_scope(call: Call, name: str, value: str, mine: Scope, *, is_narrowed: bool, by_id: bool) -> Scope:
    """The condition of `templatefilter` and `isofilter` on owners.

    `mine` is what the caller asked for by account, domain or project (`is_narrowed`), else the own account's.
    The caller's right to ids was checked by their policy. Raises ParameterError, PermissionDenied.
    """
    if value not in FILTERS:
        raise wrong_value(name, value, f"one of {FILTER_WORDS}")
    if value == "all" and not call.caller.is_root:
        raise PermissionDenied(f"{name}=all is the root administrator's; use executable")
    if by_id:
        return None
    if value == "all":
        return mine if is_narrowed else None
    public = Template.is_public.is_(True)
    if value in ("featured", "community"):
        return public & Template.is_featured.is_(value == "featured")
    accounts = (call.caller.account.id, call.owner.account.id)
    granted = select(TemplatePermission.template_id).where(TemplatePermission.account_id.in_(accounts))
    if value == "sharedexecutable":
        return shown_ids().in_(granted)  # type: ignore[no-any-return]
    if value == "executable" and mine is not None:
        return or_(mine, public, shown_ids().in_(granted))
    return mine


def narrow_images(query: Select[Any], kind: ImageKind, value: str, hypervisor: str | None) -> Select[Any]:
    """One kind only, and of it only what can be deployed, where that was asked."""
    query = query.where(Template.kind == kind, Template.state != TemplateState.deleted)
    if hypervisor and hypervisor.upper() != "KVM":
        return query.where(Template.id.is_(None))
    return query.where(Template.state == TemplateState.ready) if value in EXECUTABLE else query


def by_shown_id(query: Select[Any], row_id: str | None, ids: list[str] | None) -> Select[Any]:
    """Only these, in every zone that has them."""
    for wanted in ([row_id] if row_id is not None else None, ids):
        if wanted is not None:
            query = query.where(or_(Template.id.in_(wanted), Template.home_id.in_(wanted)))
    return query


def once(query: Select[Any], zone_id: str | None) -> Select[Any]:
    """Only one row of what is in several zones; of one zone there is only one anyway."""
    if zone_id is not None:
        return query
    there = Template.removed.is_(None), Template.state != TemplateState.deleted
    shown = func.coalesce(Template.home_id, Template.id)
    return query.where(Template.id.in_(select(func.min(Template.id)).where(*there).group_by(shown)))


def of_type(word: str) -> ColumnElement[bool]:
    """The condition that an image has a `templatetype`; there are two kinds."""
    is_builtin: ColumnElement[bool] = Template.is_builtin.expression
    return {"USER": ~is_builtin, "BUILTIN": is_builtin}.get(word.upper(), false())


def zones_of(call: Call, zone_id: str | None, zone_ids: list[str] | None = None) -> list[Zone]:
    """The zones of a new image: those named, or with `-1` all that keep images. Raises CloudError."""
    if zone_id is not None and zone_ids is not None:
        raise ParameterError("Send zoneid or zoneids, not both")
    ids = list(dict.fromkeys(zone_ids or ([zone_id] if zone_id else [])))
    if not ids:
        raise ParameterError("Send zoneid or zoneids: the zones whose storage VMs keep it")
    if ids != [EVERY]:
        return [call.row(Zone, each) for each in ids]
    if not call.caller.is_root:
        raise PermissionDenied("Only root administrators register in all zones (-1): name the zones")
    stores = select(ImageStore.zone_id).where(ImageStore.removed.is_(None))
    every = select(Zone).where(
        Zone.removed.is_(None), Zone.allocation == Allocation.enabled, Zone.id.in_(stores)
    )
    found = list(call.session.scalars(every.order_by(Zone.created, Zone.id)))
    if not found:
        raise ParameterError("No zone is enabled and has an image store; add one first")
    return found


def register_in(call: Call, zones: list[Zone], **columns: Any) -> list[Identified]:
    """Insert an image in several zones; users know all of it by the id of the first. See `register`."""
    first = register(call, zones[0], **columns)
    return [first, *(register(call, zone, home_id=first.id, **columns) for zone in zones[1:])]


def register(call: Call, zone: Zone, **columns: Any) -> Template:
    """Insert a template or an ISO of `call.owner`; the storage VM fetches it. Raises LimitReached too."""
    check_store(call, zone)
    if columns["is_public"]:
        check_public(call, call.owner.account.id)
    columns["is_featured"] = columns["is_featured"] and call.caller.is_root
    reserve(call.session, call.owner.account, ResourceType.template)
    require(call.session, call.owner.account, {ResourceType.secondary_storage: 1})
    columns |= {"account_id": call.owner.account.id, "domain_id": call.owner.domain.id}
    row = Template(zone_id=zone.id, **columns)
    call.session.add(row)
    call.session.flush()
    touch_storage(call.session, zone.id)
    return row


def check_store(call: Call, zone: Zone) -> None:
    """Raise ParameterError unless the zone keeps images."""
    store = select(ImageStore.id).where(ImageStore.zone_id == zone.id, ImageStore.removed.is_(None))
    if not call.session.scalar(store):
        raise ParameterError(f"Zone {zone.name} has no image store; add one first")


def check_public(call: Call, account_id: str) -> None:
    """Raise PermissionDenied unless the caller may show images of this account to everybody."""
    allowed = configured(call.session, PUBLIC_TEMPLATES_ALLOWED, account_id=account_id)
    if not call.caller.is_admin and not allowed:
        name = PUBLIC_TEMPLATES_ALLOWED.name
        raise PermissionDenied(f"Only administrators make templates public here ({name} is false)")


def delete(call: Call, row: Template, *, forced: bool, word: str, zone_id: str | None = None) -> Job:
    """Submit the removal of a template or an ISO, from one zone or all.

    Raises InUse while a VM there is made of it, unless forced; ParameterError if it is not there.
    """
    made = Vm.template_id == row.id
    if zone_id is not None:
        made &= Vm.zone_id == zone_id
        if in_zone(call.session, row, zone_id) is None:
            raise ParameterError(f"{word} {row.name} is not in zone {call.row(Zone, zone_id).name}")
    query = select(Vm.name).where(made, Vm.removed.is_(None)).limit(1)
    if not forced and (vm := call.session.scalar(query)):
        raise InUse(f"{word} {row.name} is used by VM {vm}; send forced=true to delete it all the same")
    return call.submit(
        names.DELETE_TEMPLATE, {"template_id": row.id, "zone_id": zone_id}, kind=word, about=row
    )


def os_type_named(os_type_id: str | None) -> str | None:
    """The name of a kind of operating system. Raises ParameterError."""
    if os_type_id is None:
        return None
    kind = os_type_by_id(os_type_id)
    if kind is None:
        raise unknown_entity("ostypeid", os_type_id)
    return kind.description


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
