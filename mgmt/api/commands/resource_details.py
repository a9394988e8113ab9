"""Details of resources: keys and values beside what the cloud itself knows. Administrators write them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import select

from mgmt.api.access import EVERYONE, ROOT
from mgmt.api.call import Call
from mgmt.api.commands.tags import TAGGABLE
from mgmt.api.lists import PlainListCommand
from mgmt.api.params import NoEffect, wrong_value
from mgmt.api.registry import AsyncCommand, Response, Spec
from mgmt.api.resources import Tables, find_row, read_kind
from mgmt.model.errors import ParameterError
from mgmt.store import tables
from mgmt.store.tables import Detail, Job, Template, Vm

DETAILED: Tables = {
    **TAGGABLE,
    "Storage": tables.StoragePool,
    "SecondaryStorage": tables.ImageStore,
    "ISO": tables.Template,
}
MOST_TEXT = 255
OWN_DETAILS = (Vm, Template)
"""Tables that keep their details themselves."""


class ResourceDetailResponse(Response):
    """A detail of a resource."""

    key: str
    value: str
    resourceid: str
    resourcetype: str


OF_RESOURCE = NoEffect("the resource says whose it is")


class ListResourceDetails(PlainListCommand, kw_only=True, frozen=True):
    """Lists the details of a resource."""

    spec = Spec(answer=ResourceDetailResponse, key="resourcedetail", access=EVERYONE)

    resourcetype: Annotated[str, "what kind of thing it is, as UserVm"]
    resourceid: Annotated[str, "the ID of the resource"]
    key: Annotated[str | None, "list only the detail with this key"] = None
    value: Annotated[str | None, "list only details with this value"] = None
    fordisplay: Annotated[bool | None, "list only details that users see, or that they don't"] = None
    account: Annotated[str | None, OF_RESOURCE] = None
    domainid: Annotated[str | None, OF_RESOURCE] = None
    projectid: Annotated[str | None, OF_RESOURCE] = None
    listall: Annotated[bool, OF_RESOURCE] = False
    isrecursive: Annotated[bool, OF_RESOURCE] = False

    def items(self, call: Call) -> Sequence[Response]:
        """Those that the caller may see, by key."""
        kind = read_kind("resourcetype", self.resourcetype, DETAILED)
        row = find_row(call, DETAILED[kind], "resourceid", self.resourceid)
        found = {
            key: value
            for key, (value, display) in details_of(call, kind, row).items()
            if (display or call.caller.is_root) and self.fordisplay in (None, display)
        }
        return [
            ResourceDetailResponse(key=key, value=value, resourceid=row.id, resourcetype=kind)
            for key, value in sorted(found.items())
            if self.key in (None, key) and self.value in (None, value)
        ]


class AddResourceDetail(AsyncCommand, kw_only=True, frozen=True):
    """Adds details to a resource, or changes them."""

    spec = Spec(access=ROOT, event="RESOURCE.DETAIL.ADD")

    resourcetype: Annotated[str, "what kind of thing it is, as UserVm"]
    resourceid: Annotated[str, "the ID of the resource"]
    details: Annotated[dict[str, str], "details[0].key=…&details[0].value=…", Meta(max_length=100)]
    fordisplay: Annotated[bool, "false: hidden from ordinary users"] = True

    def run(self, call: Call) -> Job:
        """All or none."""
        kind = read_kind("resourcetype", self.resourcetype, DETAILED)
        row = find_row(call, DETAILED[kind], "resourceid", self.resourceid)
        for key, value in self.details.items():
            if not key or len(key) > MOST_TEXT or len(value) > MOST_TEXT:
                raise wrong_value(
                    "details", key, f"keys of 1 to {MOST_TEXT} characters, values of at most that"
                )
        if isinstance(row, OWN_DETAILS):
            if not self.fordisplay:
                raise ParameterError(f"Details of a {kind} are its owner's to see; leave fordisplay away")
            row.details = {**row.details, **self.details}
        else:
            for key, value in self.details.items():
                call.session.merge(
                    Detail(
                        resource_type=kind,
                        resource_id=row.id,
                        key=key,
                        value=value,
                        display=self.fordisplay,
                    )
                )
        return call.finish(kind=kind, about=row)


class RemoveResourceDetail(AsyncCommand, kw_only=True, frozen=True):
    """Removes a detail of a resource, or all of them."""

    spec = Spec(access=ROOT, event="RESOURCE.DETAIL.REMOVE")

    resourcetype: Annotated[str, "what kind of thing it is, as UserVm"]
    resourceid: Annotated[str, "the ID of the resource"]
    key: Annotated[str | None, "the key of the detail; all without"] = None

    def run(self, call: Call) -> Job:
        """Refuse what is not there."""
        kind = read_kind("resourcetype", self.resourcetype, DETAILED)
        row = find_row(call, DETAILED[kind], "resourceid", self.resourceid)
        there = details_of(call, kind, row)
        if self.key is not None and self.key not in there:
            raise ParameterError(f"{kind} {row.id} has no detail {self.key}; listResourceDetails shows all")
        gone = set(there) if self.key is None else {self.key}
        if isinstance(row, OWN_DETAILS):
            row.details = {key: value for key, value in row.details.items() if key not in gone}
        else:
            for key in gone:
                call.session.delete(call.session.get_one(Detail, (kind, row.id, key)))
        return call.finish(kind=kind, about=row)


def details_of(call: Call, kind: str, row: Any) -> Mapping[str, tuple[str, bool]]:
    """The details of a resource, and whether ordinary users see them."""
    if isinstance(row, OWN_DETAILS):
        return {key: (str(value), True) for key, value in row.details.items()}
    query = select(Detail).where(Detail.resource_type == kind, Detail.resource_id == row.id)
    return {item.key: (item.value, item.display) for item in call.session.scalars(query)}
