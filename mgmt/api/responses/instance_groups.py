"""Instance groups on the wire."""

from collections.abc import Sequence

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import Owners, wire_time
from mgmt.store.tables import InstanceGroup


class InstanceGroupResponse(Response, kw_only=True):
    """A name that VMs are shown under."""

    id: str
    name: str
    created: str | None
    account: str | None = None
    project: str | None = None
    projectid: str | None = None
    domainid: str | None = None
    domain: str | None = None
    domainpath: str | None = None


def build_instance_groups(call: Call, rows: Sequence[InstanceGroup]) -> list[InstanceGroupResponse]:
    """Answers for groups."""
    owners = Owners(call, rows)
    return [
        InstanceGroupResponse(id=row.id, name=row.name, created=wire_time(row.created), **owners.names(row))
        for row in rows
    ]


INSTANCE_GROUP = Entity(InstanceGroup, InstanceGroupResponse, "instancegroup", build_instance_groups)
