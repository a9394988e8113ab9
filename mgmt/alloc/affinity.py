"""What affinity groups say of the hosts that a VM may take."""

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from mgmt.model.states import VmState
from mgmt.store.tables import AffinityGroup, AffinityMember, Vm

TOGETHER, APART = "host affinity", "host anti-affinity"
SOFT_TOGETHER, SOFT_APART = "non-strict host affinity", "non-strict host anti-affinity"
#: CloudStack's names of the types.
TYPES = (TOGETHER, APART, SOFT_TOGETHER, SOFT_APART)
_GONE = (VmState.destroyed, VmState.expunging, VmState.error)


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
    own = aliased(AffinityMember)
    host_id = func.coalesce(Vm.host_id, Vm.last_host_id)
    query = (
        select(AffinityGroup.id, AffinityGroup.type, host_id, func.count(Vm.host_id), Vm.target_host_id)
        .join(own, own.group_id == AffinityGroup.id)
        .join(AffinityMember, AffinityMember.group_id == AffinityGroup.id)
        .join(Vm, Vm.id == AffinityMember.vm_id)
        .where(own.vm_id == vm_id, AffinityMember.vm_id != vm_id, host_id.is_not(None))
        .where(AffinityGroup.removed.is_(None), Vm.removed.is_(None), Vm.state.not_in(_GONE))
        .group_by(AffinityGroup.id, AffinityGroup.type, host_id, Vm.target_host_id)
    )
    among: defaultdict[str, set[str]] = defaultdict(set)
    hosts: defaultdict[str, set[str]] = defaultdict(set)
    for group_id, kind, host, placed, target in session.execute(query):
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
