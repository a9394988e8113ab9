"""Affinity groups on the wire."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import bindparam, select

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import Owners
from mgmt.store.tables import AffinityGroup, AffinityMember, Vm


class AffinityGroupResponse(Response, kw_only=True):
    """A group of VMs that belong on one host or on different ones."""

    id: str
    name: str
    type: str
    description: str
    account: str | None = None
    project: str | None = None
    projectid: str | None = None
    domainid: str | None = None
    domain: str | None = None
    domainpath: str | None = None
    virtualmachineIds: list[str] | None = None  # noqa: N815 (the wire's spelling)


class AffinityGroupTypeResponse(Response, kw_only=True):
    """A type of affinity groups."""

    type: str


def build_affinity_groups(call: Call, rows: Sequence[AffinityGroup]) -> list[AffinityGroupResponse]:
    """Answers for groups, with the ids of their VMs."""
    query = (
        select(AffinityMember)
        .join(Vm, Vm.id == AffinityMember.vm_id)
        .where(AffinityMember.group_id.in_([row.id for row in rows]), Vm.removed.is_(None))
        .order_by(Vm.created, Vm.id)
    )
    members: defaultdict[str, list[str]] = defaultdict(list)
    for member in call.session.scalars(query):
        members[member.group_id].append(member.vm_id)
    owners = Owners(call, rows)
    return [_build(row, owners, members[row.id]) for row in rows]


#: Made once: making it takes longer than running it.
_OF_VMS = (
    select(AffinityMember.vm_id, AffinityGroup)
    .join(AffinityGroup, AffinityGroup.id == AffinityMember.group_id)
    .where(AffinityMember.vm_id.in_(bindparam("ids", expanding=True)), AffinityGroup.removed.is_(None))
    .order_by(AffinityGroup.created, AffinityGroup.id)
)


def groups_of_vms(
    call: Call, vm_ids: Sequence[str], owners: Owners
) -> dict[str, list[AffinityGroupResponse]]:
    """The groups of VMs by the VMs' ids; one statement. A group's owner is that of its VMs."""
    found: defaultdict[str, list[AffinityGroupResponse]] = defaultdict(list)
    for vm_id, group in call.session.execute(_OF_VMS, {"ids": vm_ids}):
        found[vm_id].append(_build(group, owners, None))
    return found


def _build(row: AffinityGroup, owners: Owners, members: list[str] | None) -> AffinityGroupResponse:
    return AffinityGroupResponse(
        id=row.id,
        name=row.name,
        type=row.type,
        description=row.description,
        virtualmachineIds=members,
        **owners.names(row),
    )


AFFINITY_GROUP = Entity(AffinityGroup, AffinityGroupResponse, "affinitygroup", build_affinity_groups)
