"""Rules and addresses of a network: rows first, then the router; if it refuses, the rows are as before."""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.alloc import addresses
from mgmt.model.errors import ParameterError
from mgmt.model.states import AddressState, RuleState
from mgmt.ops.compute.vm_workflows import push_change
from mgmt.ops.machines.documents import push_router, touch_router
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.store.tables import (
    BalancerMember,
    BalancerRule,
    EgressRule,
    FirewallRule,
    PortForwardingRule,
    PublicAddress,
)
from mgmt.store.tables.base import now

Rule = FirewallRule | EgressRule | PortForwardingRule | BalancerRule

#: Words that workflows use for the tables.
TABLES: dict[str, type[FirewallRule] | type[EgressRule] | type[PortForwardingRule] | type[BalancerRule]] = {
    "firewall": FirewallRule,
    "egress": EgressRule,
    "port_forwarding": PortForwardingRule,
    "balancer": BalancerRule,
}


def apply_rule(runtime: Runtime, saga: Saga, *, rule: str, rule_id: str, opened: str = "") -> None:
    """Make the router obey a rule whose row is in state Add; if it refuses, the row is removed again.

    `opened` is the firewall rule that was made for it alone, if any: they come together or not at all.
    """
    rows = _with_opened(rule, rule_id, opened)
    saga.on_failure("add the rule", lambda: _remove_all(runtime, rows))
    network_id, generation = saga.step("number the change", lambda: _touch_rule(runtime, rule, rule_id))
    saga.step(
        "configure the router",
        lambda: push_router(runtime, network_id, generation, frozenset(row_id for _, row_id in rows)),
    )
    saga.step("mark the rule as active", lambda: _activate(runtime, rows))


def revoke_rule(runtime: Runtime, saga: Saga, *, rule: str, rule_id: str, opened: str = "") -> None:
    """Make the router forget a rule whose row is in state Revoke; if it refuses, the rule is back.

    `opened` as in `apply_rule`: they go together or not at all.
    """
    rows = _with_opened(rule, rule_id, opened)
    saga.on_failure("revoke the rule", lambda: _bring_back(runtime, rows))
    network_id, generation = saga.step("number the change", lambda: _touch_rule(runtime, rule, rule_id))
    saga.step("configure the router", lambda: push_router(runtime, network_id, generation))
    saga.step("remove the rule", lambda: _remove_all(runtime, rows, touch=False))


def assign_members(runtime: Runtime, saga: Saga, *, rule_id: str, member_ids: Sequence[str]) -> None:
    """Make the router balance to new members, whose rows are there; if it refuses, they are removed."""
    saga.on_failure("assign the members", lambda: _drop_members(runtime, rule_id, member_ids))
    network_id: str = saga.step("look at the balancer", lambda: _network_of(runtime, "balancer", rule_id))
    saga.step("configure the router", lambda: push_change(runtime, network_id))


def remove_members(runtime: Runtime, saga: Saga, *, rule_id: str, vm_ids: Sequence[str]) -> None:
    """Make the router forget members of a balancer."""
    network_id: str = saga.step("look at the balancer", lambda: _network_of(runtime, "balancer", rule_id))
    saga.step(
        "remove the members",
        lambda: _members_of(runtime, rule_id, vm_ids),
        undo=lambda removed: _restore_members(runtime, removed),
    )
    saga.step("configure the router", lambda: push_change(runtime, network_id))


def change_balancer(runtime: Runtime, saga: Saga, *, rule_id: str, algorithm: str) -> None:
    """Make the router balance by another algorithm; if it refuses, by the one it had."""
    before: str = saga.step("look at the balancer", lambda: _algorithm(runtime, rule_id))
    saga.on_failure("go back to the algorithm", lambda: _set_algorithm(runtime, rule_id, before))
    network_id: str = saga.step("note the algorithm", lambda: _set_algorithm(runtime, rule_id, algorithm))
    saga.step("configure the router", lambda: push_change(runtime, network_id))


def associate_address(runtime: Runtime, saga: Saga, *, address_id: str) -> None:
    """Give a claimed address to its network's router; if it refuses, the address is free again."""
    saga.on_failure("associate the address", lambda: _free(runtime, address_id, touch=True))
    network_id: str = saga.step("look at the address", lambda: _network_of_address(runtime, address_id))
    saga.step("configure the router", lambda: push_change(runtime, network_id))


def release_address(runtime: Runtime, saga: Saga, *, address_id: str) -> None:
    """Take an address, and the rules on it, from its router, and free it."""
    network_id: str = saga.step("look at the address", lambda: _network_of_address(runtime, address_id))
    saga.step(
        "mark the address as being released",
        lambda: _set_address(runtime, address_id, AddressState.releasing),
        undo=lambda _: _set_address(runtime, address_id, AddressState.allocated),
    )
    saga.step("configure the router", lambda: push_change(runtime, network_id))
    saga.step("free the address", lambda: _free(runtime, address_id, touch=False))


def enable_static_nat(runtime: Runtime, saga: Saga, *, address_id: str, vm_id: str, vm_address: str) -> None:
    """Give a public address to one guest, both ways."""
    saga.on_failure("enable static NAT", lambda: _set_static_nat(runtime, address_id, None, None))
    network_id: str = saga.step(
        "note the static NAT", lambda: _set_static_nat(runtime, address_id, vm_id, vm_address)
    )
    saga.step("configure the router", lambda: push_change(runtime, network_id))


def disable_static_nat(runtime: Runtime, saga: Saga, *, address_id: str) -> None:
    """Take a public address from its guest."""
    vm_id, vm_address = saga.step("look at the address", lambda: _static_nat(runtime, address_id))
    saga.on_failure("disable static NAT", lambda: _set_static_nat(runtime, address_id, vm_id, vm_address))
    network_id: str = saga.step(
        "forget the static NAT", lambda: _set_static_nat(runtime, address_id, None, None)
    )
    saga.step("configure the router", lambda: push_change(runtime, network_id))


def _get(session: Session, rule: str, rule_id: str) -> Rule:
    row: Rule = session.get_one(TABLES[rule], rule_id)  # type: ignore[assignment]
    return row


def _touch_rule(runtime: Runtime, rule: str, rule_id: str) -> tuple[str, int]:
    with runtime.database.writing() as session:
        network_id = _get(session, rule, rule_id).network_id
        return network_id, touch_router(session, network_id)


def _network_of(runtime: Runtime, rule: str, rule_id: str) -> str:
    with runtime.database.reading() as session:
        return _get(session, rule, rule_id).network_id


def _activate(runtime: Runtime, rows: Sequence[tuple[str, str]]) -> None:
    with runtime.database.writing() as session:
        for rule, rule_id in rows:
            row = _get(session, rule, rule_id)
            # Its owner may have revoked it meanwhile, which is another job's business.
            if row.state == RuleState.add:
                row.state = RuleState.active


def _with_opened(rule: str, rule_id: str, opened: str) -> list[tuple[str, str]]:
    return [(rule, rule_id), *([("firewall", opened)] if opened else [])]


def _remove_all(runtime: Runtime, rows: Sequence[tuple[str, str]], *, touch: bool = True) -> None:
    for rule, rule_id in rows:
        _remove(runtime, rule, rule_id, touch=touch)


def _remove(runtime: Runtime, rule: str, rule_id: str, *, touch: bool) -> None:
    with runtime.database.writing() as session:
        row = _get(session, rule, rule_id)
        row.removed, row.state = now(), RuleState.revoke
        for member in session.scalars(
            select(BalancerMember).where(BalancerMember.rule_id == rule_id, BalancerMember.removed.is_(None))
        ):
            member.removed = now()
        if touch:
            touch_router(session, row.network_id)


def _bring_back(runtime: Runtime, rows: Sequence[tuple[str, str]]) -> None:
    with runtime.database.writing() as session:
        for rule, rule_id in rows:
            row = _get(session, rule, rule_id)
            row.state = RuleState.active
            touch_router(session, row.network_id)


def _drop_members(runtime: Runtime, rule_id: str, member_ids: Sequence[str]) -> None:
    with runtime.database.writing() as session:
        for member_id in member_ids:
            session.get_one(BalancerMember, member_id).removed = now()
        touch_router(session, session.get_one(BalancerRule, rule_id).network_id)


def _members_of(runtime: Runtime, rule_id: str, vm_ids: Sequence[str]) -> list[str]:
    with runtime.database.writing() as session:
        query = select(BalancerMember).where(
            BalancerMember.rule_id == rule_id,
            BalancerMember.vm_id.in_(vm_ids),
            BalancerMember.removed.is_(None),
        )
        removed = []
        for member in session.scalars(query):
            member.removed = now()
            removed.append(member.id)
        return removed


def _restore_members(runtime: Runtime, member_ids: Sequence[str]) -> None:
    with runtime.database.writing() as session:
        for member_id in member_ids:
            session.get_one(BalancerMember, member_id).removed = None


def _algorithm(runtime: Runtime, rule_id: str) -> str:
    with runtime.database.reading() as session:
        return session.get_one(BalancerRule, rule_id).algorithm


def _set_algorithm(runtime: Runtime, rule_id: str, algorithm: str) -> str:
    with runtime.database.writing() as session:
        rule = session.get_one(BalancerRule, rule_id)
        rule.algorithm = algorithm
        touch_router(session, rule.network_id)
        return rule.network_id


def _network_of_address(runtime: Runtime, address_id: str) -> str:
    with runtime.database.reading() as session:
        address = session.get_one(PublicAddress, address_id)
        if address.network_id is None:
            raise ParameterError(f"public IP address {address.address} belongs to no network")
        return address.network_id


def _set_address(runtime: Runtime, address_id: str, state: AddressState) -> None:
    with runtime.database.writing() as session:
        address = session.get_one(PublicAddress, address_id)
        address.state = state
        if address.network_id:
            touch_router(session, address.network_id)


def _free(runtime: Runtime, address_id: str, *, touch: bool) -> None:
    """Free an address; the rules on it go with it. `touch`: the router may have it and must forget it."""
    with runtime.database.writing() as session:
        address = session.get_one(PublicAddress, address_id)
        tables: tuple[type[FirewallRule] | type[PortForwardingRule] | type[BalancerRule], ...]
        tables = (FirewallRule, PortForwardingRule, BalancerRule)
        for table in tables:
            query = select(table).where(table.address_id == address_id, table.removed.is_(None))
            for rule in session.scalars(query):
                row = cast(FirewallRule, rule)  # the tables have these columns in common
                row.removed, row.state = now(), RuleState.revoke
        if touch and address.network_id:
            touch_router(session, address.network_id)
        addresses.release(session, address)


def _static_nat(runtime: Runtime, address_id: str) -> tuple[str | None, str | None]:
    with runtime.database.reading() as session:
        address = session.get_one(PublicAddress, address_id)
        return address.vm_id, address.vm_address


def _set_static_nat(runtime: Runtime, address_id: str, vm_id: str | None, vm_address: str | None) -> str:
    with runtime.database.writing() as session:
        address = session.get_one(PublicAddress, address_id)
        address.vm_id, address.vm_address = vm_id, vm_address
        address.is_static_nat = vm_id is not None
        touch_router(session, address.network_id or "")
        return address.network_id or ""
