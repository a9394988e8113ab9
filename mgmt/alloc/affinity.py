"""What affinity groups say of the hosts that a VM may take."""

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session, aliased

from mgmt.model.states import VmState
from mgmt.store.tables import AffinityGroup, AffinityMember, Vm

TOGETHER, APART = "host affinity", "host anti-affinity"
SOFT_TOGETHER, SOFT_APART = "non-strict host affinity", "non-strict host anti-affinity"
#: CloudStack's names of the types.
TYPES = (TOGETHER, APART, SOFT_TOGETHER, SOFT_APART)
_GONE = (VmState.destroyed, VmState.expunging, VmState.error)
_OWN = aliased(AffinityMember)
_HOST_ID = func.coalesce(Vm.host_id, Vm.last_host_id)
#: Built once, because each VM that is placed asks for it.
_MEMBERS = (
    select(AffinityGroup.id, AffinityGroup.type, _HOST_ID, func.count(Vm.host_id), Vm.target_host_id)
    .join(_OWN, _OWN.group_id == AffinityGroup.id)
    .join(AffinityMember, AffinityMember.group_id == AffinityGroup.id)
    .join(Vm, Vm.id == AffinityMember.vm_id)
    .where(_OWN.vm_id == bindparam("vm_id"), AffinityMember.vm_id != bindparam("vm_id"))
    .where(_HOST_ID.is_not(None), AffinityGroup.removed.is_(None))
    .where(Vm.removed.is_(None), Vm.state.not_in(_GONE))
    .group_by(AffinityGroup.id, AffinityGroup.type, _HOST_ID, Vm.target_host_id)
)


@dataclass(frozen=True)
class Affinity:
    """Ids of hosts. The VM must take one of each set of `among` and none of `never`; it would rather take
    one of `prefer` and none of `avoid`.
    """

    among: tuple[frozenset[str], ...] = ()
    never: frozenset[str] = frozenset()
    prefer: frozenset[str] = frozenset()
    avoid: frozenset[str] = frozenset()


def affinity_of(session: Session, vm_id: str) -> Affinity:
    """What the groups of a VM ask for, by one statement: one row for each group and host of its members.

    Members that are on no host say where they were: that counts as a wish, not as a must.
    """
    among: defaultdict[str, set[str]] = defaultdict(set)
    hosts: defaultdict[str, set[str]] = defaultdict(set)
    for group_id, kind, host, placed, target in session.execute(_MEMBERS, {"vm_id": vm_id}):
        # One that moves may end up at either.
        both = {host, target or host}
        if kind == TOGETHER and placed:
            among[group_id] |= both
        elif kind in (TOGETHER, SOFT_TOGETHER):
            hosts["prefer"] |= both
        elif kind == APART and placed:
            hosts["never"] |= both
        else:
            hosts["avoid"] |= both
    return Affinity(
        tuple(frozenset(group) for group in among.values()),
        frozenset(hosts["never"]),
        frozenset(hosts["prefer"]),
        frozenset(hosts["avoid"]),
    )
