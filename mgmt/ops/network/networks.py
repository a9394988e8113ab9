"""Isolated networks on hosts: implemented by their first VM, taken down when they are deleted."""

from typing import cast

from sqlalchemy import and_, bindparam, select

from mgmt.alloc import limits
from mgmt.alloc.addresses import claim, release
from mgmt.alloc.vnis import new_vni
from mgmt.model.resources import ResourceType
from mgmt.model.states import NetworkState, VmKind, VmState
from mgmt.ops.compute.states import read_vm
from mgmt.ops.machines.documents import find_router, push_machine
from mgmt.ops.machines.system_vms import boot, create_router, remove_machine
from mgmt.ops.network.host_networks import push_host
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.store.tables import (
    Account,
    BalancerMember,
    BalancerRule,
    EgressRule,
    FirewallRule,
    Network,
    Nic,
    PortForwardingRule,
    PublicAddress,
    Vm,
)
from mgmt.store.tables.base import now

RuleTable = type[FirewallRule] | type[EgressRule] | type[PortForwardingRule] | type[BalancerRule]
# What makes them work is compared here: SQLite would look through all VMs that run.
_ROUTERS = select(Network.id, Network.state, Vm.state, Vm.applied).outerjoin(
    Vm, and_(Vm.network_id == Network.id, Vm.kind == VmKind.router, Vm.removed.is_(None))
)
_OF_IDS = _ROUTERS.where(Network.id.in_(bindparam("network_ids", expanding=True)))
_OF_VM = (
    _ROUTERS.join(Nic, Nic.network_id == Network.id)
    .where(Nic.vm_id == bindparam("vm_id"), Nic.removed.is_(None))
    .order_by(Nic.position)
)
RULES: tuple[RuleTable, ...] = (FirewallRule, EgressRule, PortForwardingRule, BalancerRule)


def ensure_network(runtime: Runtime, saga: Saga, network_id: str) -> None:
    """Steps that give a network its id, its source NAT address and a router that works.

    What succeeded stays, whatever becomes of the VM that asked for it; what failed is taken back. One job
    at a time does it, the others find it done.
    """
    with runtime.locks.hold(f"network:{network_id}"), saga.nested() as inner:
        if inner.step("look at the network", lambda: not not_working(runtime, [network_id])):
            return
        is_new: bool = inner.step("look whether it is new", lambda: _is_new(runtime, network_id))
        inner.step(
            "reserve a network id",
            lambda: _reserve(runtime, network_id),
            undo=lambda _: _unreserve(runtime, network_id) if is_new else None,
        )
        router_id, name = inner.step(
            "create the router",
            lambda: _router(runtime, network_id),
            undo=lambda made: remove_machine(runtime, made[0]) if made[2] else None,
        )[:2]
        boot(runtime, inner, router_id, name)
        inner.step("mark the network as implemented", lambda: _mark_implemented(runtime, network_id))


def restart(runtime: Runtime, saga: Saga, network_id: str, *, cleanup: bool) -> None:
    """Steps that apply a network's configuration again; with `cleanup` by a new router."""
    if not cleanup:
        saga.step("configure the router", lambda: _push(runtime, network_id))
        return
    with runtime.locks.hold(f"network:{network_id}"):
        saga.step("remove the router", lambda: _remove_router(runtime, network_id))
    ensure_network(runtime, saga, network_id)


def delete(runtime: Runtime, saga: Saga, network_id: str) -> None:
    """Steps that remove a network: router, rules, addresses, the network itself."""
    with runtime.locks.hold(f"network:{network_id}"):
        hosts = saga.step("look where the router is", lambda: _router_hosts(runtime, network_id))
        saga.step("remove the router", lambda: _remove_router(runtime, network_id))
        saga.step("release addresses and rules", lambda: _release_all(runtime, network_id))
        for host_id in hosts:
            saga.step("remove the network from its host", lambda host_id=host_id: push_host(runtime, host_id))  # type: ignore[misc]


def not_working(runtime: Runtime, network_ids: list[str]) -> list[str]:
    """Those of the networks that are not implemented, or have no configured router that runs."""
    with runtime.database.reading() as session:
        found = session.execute(_OF_IDS, {"network_ids": network_ids}).all()
    working = {row[0] for row in found if _works(*row[1:])}
    return [network_id for network_id in network_ids if network_id not in working]


def networks_and_lacks(runtime: Runtime, vm_id: str) -> dict[str, list[str]]:
    """Ids of a VM's `networks` in their order, and of those of them that are `not_working`."""
    with runtime.database.reading() as session:
        found = session.execute(_OF_VM, {"vm_id": vm_id}).all()
    return {
        "networks": [row[0] for row in found],
        "not_working": [row[0] for row in found if not _works(*row[1:])],
    }


def _works(state: str, router: str | None, applied: int | None) -> bool:
    return state == NetworkState.implemented and router == VmState.running and bool(applied)


def _is_new(runtime: Runtime, network_id: str) -> bool:
    with runtime.database.reading() as session:
        return session.get_one(Network, network_id).vni is None


def _reserve(runtime: Runtime, network_id: str) -> None:
    """Network id and source NAT address, unless it has them."""
    with runtime.database.writing() as session:
        network = session.get_one(Network, network_id)
        query = select(PublicAddress.id).where(
            PublicAddress.network_id == network_id, PublicAddress.is_source_nat.is_(True)
        )
        if session.scalar(query) is None:
            claim(session, network=network, is_source_nat=True)
        if network.vni is None:
            network.vni = new_vni(session, network.zone_id)
            network.spread += 1  # hosts may know it by another id, from an attempt that failed
        if network.state != NetworkState.implemented:
            network.state = NetworkState.implementing


def _unreserve(runtime: Runtime, network_id: str) -> None:
    """Give back what was reserved, unless another job implemented the network meanwhile."""
    with runtime.database.writing() as session:
        network = session.get_one(Network, network_id)
        if network.state == NetworkState.implemented:
            return
        network.vni, network.state = None, NetworkState.allocated
        held = select(PublicAddress).where(PublicAddress.network_id == network_id)
        for address in session.scalars(held.where(PublicAddress.is_source_nat.is_(True))):
            release(session, address)


def _router(runtime: Runtime, network_id: str) -> tuple[str, str, bool]:
    """Id and name of the router, and whether it has never run."""
    router_id = create_router(runtime, network_id)
    router = read_vm(runtime, router_id)
    return router_id, router.name, router.last_start is None


def _mark_implemented(runtime: Runtime, network_id: str) -> None:
    with runtime.database.writing() as session:
        session.get_one(Network, network_id).state = NetworkState.implemented


def _push(runtime: Runtime, network_id: str) -> None:
    with runtime.database.writing() as session:
        router = find_router(session, network_id)
        if router is None:
            return
        router.generation += 1
    push_machine(runtime, router.id)


def _router_hosts(runtime: Runtime, network_id: str) -> list[str]:
    with runtime.database.reading() as session:
        router = find_router(session, network_id)
        host_id = (router.host_id or router.last_host_id) if router else None
        return [host_id] if host_id else []


def _remove_router(runtime: Runtime, network_id: str) -> None:
    with runtime.database.reading() as session:
        router = find_router(session, network_id)
    if router is not None:
        remove_machine(runtime, router.id)


def _release_all(runtime: Runtime, network_id: str) -> None:
    with runtime.database.writing() as session:
        moment = now()
        for table in RULES:
            query = select(table).where(table.network_id == network_id, table.removed.is_(None))
            for rule in session.scalars(query):
                cast(FirewallRule, rule).removed = moment  # the tables have it in common
        balancers = select(BalancerRule.id).where(BalancerRule.network_id == network_id)
        members = select(BalancerMember).where(BalancerMember.rule_id.in_(balancers))
        for member in session.scalars(members):
            member.removed = member.removed or moment
        for address in session.scalars(select(PublicAddress).where(PublicAddress.network_id == network_id)):
            release(session, address)
        network = session.get_one(Network, network_id)
        if network.removed is None:
            limits.release(session, session.get_one(Account, network.account_id), ResourceType.network)
            network.vni, network.state, network.removed = None, NetworkState.destroy, moment
