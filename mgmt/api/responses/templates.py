"""Templates on the wire. Sizes in bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import select

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import Owners, TagResponse, plain_tags_of, rows_by_id, wire_time
from mgmt.model.os_types import os_type_by_name
from mgmt.model.states import TemplateState
from mgmt.ops.images.template_zones import shown_id
from mgmt.ops.images.templates import why_stalled
from mgmt.store.tables import Template, UserData, Zone

READY = "Download Complete"


class TemplateResponse(Response, kw_only=True):
    """A template; `status` says how far its download is, or why it failed."""

    id: str
    name: str
    displaytext: str
    account: str | None = None
    project: str | None = None
    projectid: str | None = None
    domainid: str | None = None
    domain: str | None = None
    domainpath: str | None = None
    zoneid: str
    zonename: str | None = None
    created: str | None = None
    status: str
    isready: bool
    format: str
    hypervisor: str
    arch: str
    bits: int
    ostypeid: str | None = None
    ostypename: str
    size: int
    physicalsize: int
    checksum: str | None = None
    ispublic: bool
    isfeatured: bool
    isextractable: bool
    passwordenabled: bool
    sshkeyenabled: bool
    templatetype: str
    crossZones: bool  # noqa: N815 (the original's spelling)
    bootable: bool
    requireshvm: bool
    directdownload: bool
    isdynamicallyscalable: bool
    userdataid: str | None = None
    userdataname: str | None = None
    userdatapolicy: str | None = None
    userdataparams: str | None = None
    url: str | None = None
    details: dict[str, str] | None = None
    tags: list[TagResponse]


def build_templates(
    call: Call, rows: Sequence[Template], tag_type: str = "Template"
) -> list[TemplateResponse]:
    """Answers for templates; a fixed number of statements. The URL is shown to those who may change it."""
    owners = Owners(call, rows)
    homes = [_Home(shown_id(row)) for row in rows]
    zones = rows_by_id(call, Zone, (row.zone_id for row in rows))
    tags = plain_tags_of(call, tag_type, homes)
    linked = _linked(call, rows)
    return [
        TemplateResponse(
            id=shown_id(row),
            name=row.name,
            displaytext=row.display_text,
            zoneid=row.zone_id,
            zonename=zones[row.zone_id].name if row.zone_id in zones else None,
            created=wire_time(row.created),
            status=_status(row),
            isready=row.state == TemplateState.ready,
            format=row.format,
            hypervisor=row.hypervisor,
            arch="x86_64",
            bits=64,
            ostypeid=kind.id if (kind := os_type_by_name(row.os_type)) else None,
            ostypename=row.os_type,
            size=row.virtual_size,
            physicalsize=row.size,
            checksum=row.checksum or None,
            ispublic=row.is_public,
            isfeatured=row.is_featured,
            isextractable=row.is_extractable,
            passwordenabled=row.password_enabled,
            sshkeyenabled=True,
            templatetype="BUILTIN" if row.is_builtin else "USER",
            crossZones=False,
            bootable=row.bootable,
            requireshvm=True,
            directdownload=False,
            isdynamicallyscalable=False,
            url=(row.url or None)
            if not row.copied_from and call.caller.covers(call.session, row.account_id, row.domain_id)
            else None,
            details=dict(row.details) or None,
            tags=tags.get(shown_id(row), []),
            **linked.get(row.id, {}),
            **owners.names(row),
        )
        for row in rows
    ]


@dataclass(frozen=True)
class _Home:
    """What is tagged: a template, in whichever zones it is."""

    id: str


def _linked(call: Call, rows: Sequence[Template]) -> dict[str, dict[str, str | None]]:
    """What answers show of the user data that templates are linked to; not the data, which may be long."""
    wanted = {row.user_data_id for row in rows if row.user_data_id}
    if not wanted:
        return {}
    query = select(UserData.id, UserData.name, UserData.parameters).where(UserData.id.in_(wanted))
    found = {user_data_id: (name, params) for user_data_id, name, params in call.session.execute(query)}
    return {
        row.id: {
            "userdataid": row.user_data_id,
            "userdataname": found[row.user_data_id][0],
            "userdataparams": ",".join(found[row.user_data_id][1]) or None,
            "userdatapolicy": row.user_data_policy,
        }
        for row in rows
        if row.user_data_id in found
    }


def _status(row: Template) -> str:
    if row.state == TemplateState.ready:
        return READY
    if row.state == TemplateState.failed:
        return f"Download failed: {row.reason}"
    if reason := why_stalled(row):
        return f"Download waits and is tried again: {reason}"
    if not row.url and row.source_id is None:
        return "Not uploaded yet" if not row.percent else "Uploaded, being checked"
    return f"{row.percent}% Downloaded"


TEMPLATE = Entity(Template, TemplateResponse, "template", build_templates)
ISO = Entity(Template, TemplateResponse, "iso", partial(build_templates, tag_type="ISO"))
