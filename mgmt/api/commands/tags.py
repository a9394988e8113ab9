"""Tags: a key and a value on a resource.

Which resource it is stands in two parameters, its type and ids, so these commands find and authorize the
rows themselves, through the very policies the dispatcher uses.
"""

from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import Select, select

from mgmt.api.absent import Customer
from mgmt.api.access import EVERYONE, authorize
from mgmt.api.call import Call
from mgmt.api.lists import AllAre, Equals, OwnedListCommand
from mgmt.api.params import unknown_entity, wrong_value
from mgmt.api.registry import AsyncCommand, Spec
from mgmt.api.responses.operations import TAG
from mgmt.model.errors import ParameterError
from mgmt.store import tables
from mgmt.store.tables import Job, Tag
from mgmt.store.tables.base import Identified

TAGGABLE: dict[str, type[Identified]] = {
    "UserVm": tables.Vm,
    "VMSnapshot": tables.VmSnapshot,
    "Volume": tables.Volume,
    "Template": tables.Template,
    "ISO": tables.Template,
    "Network": tables.Network,
    "Nic": tables.Nic,
    "PublicIpAddress": tables.PublicAddress,
    "FirewallRule": tables.FirewallRule,
    "PortForwardingRule": tables.PortForwardingRule,
    "LoadBalancer": tables.BalancerRule,
    "Zone": tables.Zone,
    "ServiceOffering": tables.ServiceOffering,
    "DiskOffering": tables.DiskOffering,
    "NetworkOffering": tables.NetworkOffering,
    "User": tables.User,
    "Project": tables.Project,
    "Snapshot": tables.Snapshot,
    "SnapshotPolicy": tables.SnapshotPolicy,
}
"""CloudStack's names of what can be tagged."""

ALSO: dict[str, type[Identified]] = {"FirewallRule": tables.EgressRule}
"""Further tables of a name: CloudStack keeps rules of both directions in one."""

_NAMES = {name.lower(): name for name in TAGGABLE}
MOST_TEXT = 255


class ListTags(OwnedListCommand, kw_only=True, frozen=True):
    """Lists tags."""

    spec = Spec(answer=TAG, access=EVERYONE)
    searched = (Tag.key, Tag.value)

    key: Annotated[str | None, "the key of the tags", Equals(Tag.key)] = None
    value: Annotated[str | None, "the value of the tags", Equals(Tag.value)] = None
    resourceid: Annotated[str | None, "what is tagged", Equals(Tag.resource_id)] = None
    resourcetype: Annotated[str | None, "what kind of thing is tagged"] = None
    customer: Annotated[str | None, "the customer a tag is for: none is for any", AllAre(None)] = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Tags on one kind of thing."""
        if self.resourcetype is None:
            return query
        return query.where(Tag.resource_type == read_type(self.resourcetype))


class CreateTags(AsyncCommand, kw_only=True, frozen=True):
    """Tags resources."""

    spec = Spec(access=EVERYONE, event="CREATE_TAGS")

    resourceids: Annotated[list[str], "the IDs of what to tag, comma separated"]
    resourcetype: Annotated[str, "what kind of thing it is, as UserVm"]
    tags: Annotated[dict[str, str], "tags[0].key=…&tags[0].value=…", Meta(max_length=100)]
    customer: Customer = None

    def run(self, call: Call) -> Job:
        """All or none: a key that is there already is refused."""
        kind = read_type(self.resourcetype)
        for row in find_resources(call, kind, self.resourceids):
            for key, value in self.tags.items():
                _check_free(call, kind, row, key)
                call.session.add(new_tag(call, kind, row, key, value))
        return call.finish(kind=kind)


class DeleteTags(AsyncCommand, kw_only=True, frozen=True):
    """Removes tags from resources."""

    spec = Spec(access=EVERYONE, event="DELETE_TAGS")

    resourceids: Annotated[list[str], "the IDs of what is tagged, comma separated"]
    resourcetype: Annotated[str, "what kind of thing it is, as UserVm"]
    tags: Annotated[dict[str, str] | None, "only these tags; all without"] = None

    def run(self, call: Call) -> Job:
        """Remove those that match; a key without a value matches any value."""
        kind = read_type(self.resourcetype)
        rows = find_resources(call, kind, self.resourceids)
        query = select(Tag).where(
            Tag.resource_type == kind, Tag.resource_id.in_([row.id for row in rows]), Tag.removed.is_(None)
        )
        found = [tag for tag in call.session.scalars(query) if self._matches(tag)]
        if not found:
            raise ParameterError("No such tags on these resources; listTags shows what is there")
        for tag in found:
            tag.removed = call.now()
        return call.finish(kind=kind)

    def _matches(self, tag: Tag) -> bool:
        if not self.tags:
            return True
        return tag.key in self.tags and self.tags[tag.key] in ("", tag.value)


def read_type(text: str) -> str:
    """CloudStack's spelling of a resource type. Raises `ParameterError`."""
    name = _NAMES.get(text.lower())
    if name is None:
        raise wrong_value("resourcetype", text, f"one of {', '.join(sorted(TAGGABLE))}")
    return name


def find_resources(call: Call, kind: str, ids: list[str]) -> list[Any]:
    """The rows, authorized. Raises `ParameterError`, `PermissionDenied`."""
    wanted = [item.lower() for item in ids]
    rows: dict[str, Any] = {}
    for table in (TAGGABLE[kind], ALSO.get(kind)):
        if table is not None and len(rows) < len(wanted):
            query = select(table).where(table.id.in_(wanted), table.removed.is_(None))
            rows |= {row.id: row for row in call.session.scalars(query)}
    for row_id in ids:
        if row_id.lower() not in rows:
            raise unknown_entity("resourceids", row_id)
        authorize(call.caller, call.session, rows[row_id.lower()], use=False)
    return list(rows.values())


def _check_free(call: Call, kind: str, row: Any, key: str) -> None:
    query = select(Tag.id).where(
        Tag.resource_type == kind, Tag.resource_id == row.id, Tag.key == key, Tag.removed.is_(None)
    )
    if call.session.scalar(query):
        raise ParameterError(f"Tag {key} is on {kind} {row.id} already; delete it first")


def new_tag(call: Call, kind: str, row: Any, key: str, value: str) -> Tag:
    """A tag, not added yet. Raises ParameterError."""
    if not key or len(key) > MOST_TEXT or len(value) > MOST_TEXT:
        raise wrong_value("tags", key, f"keys of 1 to {MOST_TEXT} characters, values of at most {MOST_TEXT}")
    return Tag(
        account_id=getattr(row, "account_id", None) or call.caller.account.id,
        domain_id=getattr(row, "domain_id", None) or call.caller.domain.id,
        resource_type=kind,
        resource_id=row.id,
        key=key,
        value=value,
    )
