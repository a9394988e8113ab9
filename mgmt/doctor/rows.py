"""Rows that contradict each other: one statement for each question, whatever the size of the cloud."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from mgmt.alloc.counted import recount
from mgmt.alloc.limits import counts_of
from mgmt.doctor.finding import Finding
from mgmt.model.states import (
    AddressState,
    NetworkState,
    RuleState,
    SnapshotState,
    VmSnapshotState,
    VmState,
    VolumeState,
)
from mgmt.store.tables import (
    Account,
    BalancerMember,
    BalancerRule,
    EgressRule,
    FirewallRule,
    Network,
    Nic,
    NicAddress,
    PortForwardingRule,
    PublicAddress,
    Snapshot,
    Vm,
    VmSnapshot,
    Volume,
    VolumeExport,
)

ON_ADDRESSES: tuple[Any, ...] = (FirewallRule, PortForwardingRule, BalancerRule)
RULES = (*ON_ADDRESSES, EgressRule)
MOVING = (VmState.starting, VmState.stopping, VmState.migrating, VmState.expunging)
#: What a job may be about whose row is another one.
WITH = ("network_id", "vm_id", "volume_id")
ACCOUNTS_AT_ONCE = 500
REPAIRS = {VolumeState.migrating: "wait for the next look: it asks the hosts which file of it counts"}
UNSETTLED = (VmSnapshotState.creating, VmSnapshotState.reverting, VmSnapshotState.expunging)


def examine_rows(session: Session, busy: set[str]) -> Iterator[Finding]:
    """All contradictions within the database."""
    yield from _moving(session, busy)
    yield from _placed(session, busy)
    yield from _left_behind(session, busy)
    yield from _unfinished(session, busy)
    yield from _addresses(session, busy)
    yield from _counts(session, busy)


def _moving(session: Session, busy: set[str]) -> Iterator[Finding]:
    for vm in session.scalars(select(Vm).where(Vm.state.in_(MOVING), Vm.removed.is_(None))):
        if vm.id not in busy:
            yield Finding(
                "VM", vm.id, vm.name, f"is {vm.state}, but no job is about it", "stop it with forced=true"
            )


def _placed(session: Session, busy: set[str]) -> Iterator[Finding]:
    nowhere = select(Vm).where(Vm.state == VmState.running, Vm.host_id.is_(None), Vm.removed.is_(None))
    for vm in session.scalars(nowhere):
        if vm.id not in busy:
            yield Finding(
                "VM", vm.id, vm.name, "is Running, but on no host", "stop it with forced=true, start it"
            )


def _left_behind(session: Session, busy: set[str]) -> Iterator[Finding]:
    """Rows that live on although what they belong to is gone."""
    pairs: tuple[tuple[str, Any, Any, Any], ...] = (
        ("NIC", Nic, Nic.vm_id, Vm),
        ("volume", Volume, Volume.vm_id, Vm),
        ("VM snapshot", VmSnapshot, VmSnapshot.vm_id, Vm),
        ("secondary address", NicAddress, NicAddress.nic_id, Nic),
        ("balancer member", BalancerMember, BalancerMember.vm_id, Vm),
        ("router", Vm, Vm.network_id, Network),
        *(("rule", rule, rule.network_id, Network) for rule in RULES),
        ("port forwarding rule", PortForwardingRule, PortForwardingRule.vm_id, Vm),
        *(("rule", rule, rule.address_id, PublicAddress) for rule in ON_ADDRESSES),
    )
    for kind, table, column, parent in pairs:
        gone: ColumnElement[bool] = parent.removed.is_not(None)
        if parent is PublicAddress:
            gone = or_(gone, parent.state == AddressState.free)
        query = select(table, parent.id).join(parent, column == parent.id)
        for row, parent_id in session.execute(query.where(table.removed.is_(None), gone)):
            if row.id not in busy and parent_id not in busy:
                what = f"is left although its {parent.__tablename__} {parent_id} is gone"
                yield Finding(kind, row.id, _name(row), what, "delete it")


def _unfinished(session: Session, busy: set[str]) -> Iterator[Finding]:
    """States that only a job leaves."""
    waiting: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
        *(("rule", rule, (RuleState.add, RuleState.revoke)) for rule in RULES),
        ("volume", Volume, (VolumeState.creating, VolumeState.migrating)),
        ("VM snapshot", VmSnapshot, UNSETTLED),
        ("copy of a volume", VolumeExport, ("Creating",)),
        ("snapshot", Snapshot, (SnapshotState.allocated, SnapshotState.creating, SnapshotState.backing_up)),
        ("network", Network, (NetworkState.implementing, NetworkState.shutdown)),
        ("public address", PublicAddress, (AddressState.releasing,)),
    )
    for kind, table, states in waiting:
        for row in session.scalars(select(table).where(table.state.in_(states), table.removed.is_(None))):
            if not {row.id, *(getattr(row, name, None) for name in WITH)} & busy:
                problem = f"is in state {row.state}, but no job is about it"
                repair = REPAIRS.get(row.state, "restart its network, or delete it")
                yield Finding(kind, row.id, _name(row), problem, repair)


def _addresses(session: Session, busy: set[str]) -> Iterator[Finding]:
    """Addresses whose network or VM is gone; a router's own go with the router."""
    held = select(PublicAddress).where(
        PublicAddress.state == AddressState.allocated, PublicAddress.removed.is_(None)
    )
    for table, column in ((Network, PublicAddress.network_id), (Vm, PublicAddress.vm_id)):
        query = held.join(table, table.id == column).where(table.removed.is_not(None))
        for row in session.scalars(query):
            if row.id not in busy:
                problem = f"is held for a {table.__tablename__} that is gone"
                yield Finding("public address", row.id, row.address, problem, "release it")


def _counts(session: Session, busy: set[str]) -> Iterator[Finding]:
    """Resource counts that are not what a recount gives. Only in quiet: jobs count before they are done."""
    if busy:
        return
    accounts = select(Account.id, Account.name).where(Account.removed.is_(None))
    names = {account_id: name for account_id, name in session.execute(accounts)}
    ids = sorted(names)
    for start in range(0, len(ids), ACCOUNTS_AT_ONCE):
        part = ids[start : start + ACCOUNTS_AT_ONCE]
        counted = counts_of(session, part)
        for account_id, true in recount(session, part).items():
            for kind, amount in true.items():
                noted = counted.get(account_id, {}).get(kind, 0)
                if noted != amount:
                    problem = f"has {amount} of {kind.name}, but {noted} are counted"
                    repair = f"updateResourceCount resourcetype={int(kind)} for it"
                    yield Finding("account", account_id, names[account_id], problem, repair)


def _name(row: Any) -> str:
    return str(getattr(row, "name", None) or getattr(row, "address", None) or row.id)
