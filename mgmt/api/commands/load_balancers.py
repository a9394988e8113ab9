"""Load balancer rules and their members."""

from collections.abc import Sequence
from typing import Annotated, Any

from sqlalchemy import Select, select

from mgmt.api.absent import CustomId, Shown
from mgmt.api.access import EVERYONE, InnerRef, Ref
from mgmt.api.call import Call
from mgmt.api.commands.firewall_rules import PORT, read_cidrs, revoke_rule, submit_rule
from mgmt.api.commands.port_forwarding_rules import open_firewall, refuse_overlap
from mgmt.api.commands.public_addresses import (
    guest_address_of,
    live_network,
    refuse_other_place,
)
from mgmt.api.lists import Equals, OwnedListCommand, ShownToUsers
from mgmt.api.ownership import OwnerAccount, OwnerDomain, OwnerProject
from mgmt.api.params import NoEffect, wrong_value
from mgmt.api.registry import AsyncCommand, Spec
from mgmt.api.responses.rules import BALANCER
from mgmt.api.responses.virtual_machines import VIRTUAL_MACHINE
from mgmt.model.errors import ParameterError, RuleConflict
from mgmt.model.states import RuleState
from mgmt.ops import names
from mgmt.store.tables import BalancerMember, BalancerRule, Job, Network, PublicAddress, Vm, Zone

KIND = "LoadBalancerRule"
MAP_WORDS = "vmidipmap[0].vmid=…&vmidipmap[0].vmip=…: VMs by an address of theirs"
ALGORITHMS = ("roundrobin", "leastconn", "source")


class ListLoadBalancerRules(OwnedListCommand, kw_only=True, frozen=True):
    """Lists load balancer rules."""

    spec = Spec(answer=BALANCER, access=EVERYONE)
    searched = (BalancerRule.name,)
    tag_type = "LoadBalancer"

    name: Annotated[str | None, Equals(BalancerRule.name)] = None
    publicipid: Annotated[str | None, Ref(PublicAddress), Equals(BalancerRule.address_id)] = None
    networkid: Annotated[str | None, Ref(Network), Equals(BalancerRule.network_id)] = None
    virtualmachineid: Annotated[str | None, Ref(Vm), "list only rules with this member"] = None
    zoneid: Annotated[str | None, Ref(Zone, use=True)] = None
    fordisplay: ShownToUsers = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """By member and by the address's zone."""
        if self.virtualmachineid:
            members = select(BalancerMember.rule_id).where(
                BalancerMember.vm_id == self.virtualmachineid, BalancerMember.removed.is_(None)
            )
            query = query.where(BalancerRule.id.in_(members))
        if self.zoneid:
            here = select(PublicAddress.id).where(PublicAddress.zone_id == self.zoneid)
            query = query.where(BalancerRule.address_id.in_(here))
        return query


class CreateLoadBalancerRule(AsyncCommand, kw_only=True, frozen=True):
    """Balances a public port over VMs, which are assigned afterwards."""

    spec = Spec(answer=BALANCER, access=EVERYONE, event="LB.CREATE", key="loadbalancer")
    creates = True

    name: str
    algorithm: Annotated[str, "roundrobin, leastconn or source"]
    publicport: Annotated[int, "the public port", PORT]
    privateport: Annotated[int, "the members' port", PORT]
    publicipid: Annotated[str | None, Ref(PublicAddress), "the public address"] = None
    networkid: Annotated[str | None, Ref(Network), "the network; found by the public address"] = None
    description: str = ""
    protocol: Annotated[str, "tcp"] = "tcp"
    cidrlist: Annotated[list[str] | None, "the clients that it serves; all without"] = None
    openfirewall: Annotated[bool, "true: let everybody reach the public port"] = True
    zoneid: Annotated[str | None, Ref(Zone, use=True)] = None
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None
    fordisplay: Shown = None

    def run(self, call: Call) -> Job:
        """Check, insert, and let the router listen."""
        if self.publicipid is None:
            raise ParameterError("Send publicipid: the address that is balanced")
        _check(self.algorithm, self.protocol)
        address = call.row(PublicAddress, self.publicipid)
        network = live_network(call, address)
        is_for = call.owner.account.id if self.account or self.projectid else None
        place = {"network_id": self.networkid, "zone_id": self.zoneid, "account_id": is_for}
        refuse_other_place(address.address, address, **place)
        if address.is_static_nat:
            raise RuleConflict(f"{address.address} has static NAT; disable it or use another address")
        refuse_overlap(call, address, "tcp", self.publicport, self.publicport)
        row = BalancerRule(
            account_id=network.account_id,
            domain_id=network.domain_id,
            network_id=network.id,
            address_id=address.id,
            name=self.name,
            description=self.description,
            algorithm=self.algorithm,
            cidrs=read_cidrs("cidrlist", self.cidrlist),
            public_port=self.publicport,
            private_port=self.privateport,
        )
        call.session.add(row)
        opened = None
        if self.openfirewall:
            opened = open_firewall(call, network, address, "tcp", self.publicport, self.publicport)
        return submit_rule(call, "balancer", row, opened)


class UpdateLoadBalancerRule(AsyncCommand, kw_only=True, frozen=True):
    """Updates a load balancer rule."""

    spec = Spec(answer=BALANCER, access=EVERYONE, event="LB.UPDATE", key="loadbalancer")

    id: Annotated[str, Ref(BalancerRule)]
    name: str | None = None
    description: str | None = None
    algorithm: Annotated[str | None, "roundrobin, leastconn or source"] = None
    protocol: Annotated[str | None, "tcp"] = None
    fordisplay: Annotated[bool | None, NoEffect("all rules are shown")] = None
    customid: CustomId = None

    def run(self, call: Call) -> Job:
        """Names change at once; an algorithm is changed by the router, or by nobody."""
        rule = call.row(BalancerRule, self.id)
        _check(self.algorithm or rule.algorithm, self.protocol or "tcp")
        if rule.state != RuleState.active:
            raise ParameterError(f"Rule {rule.name} is in state {rule.state}; wait until it is Active")
        rule.name = self.name or rule.name
        if self.description is not None:
            rule.description = self.description
        if self.algorithm in (None, rule.algorithm):
            return call.finish(kind=KIND, about=rule)
        arguments = {"rule_id": rule.id, "algorithm": self.algorithm}
        return call.submit(names.CHANGE_BALANCER, arguments, kind=KIND, about=rule)


class DeleteLoadBalancerRule(AsyncCommand, kw_only=True, frozen=True):
    """Deletes a load balancer rule."""

    spec = Spec(access=EVERYONE, event="LB.DELETE")

    id: Annotated[str, Ref(BalancerRule)]

    def run(self, call: Call) -> Job:
        """Let the router forget it."""
        return revoke_rule(call, "balancer", call.row(BalancerRule, self.id))


class AssignToLoadBalancerRule(AsyncCommand, kw_only=True, frozen=True):
    """Puts VMs behind a load balancer rule."""

    spec = Spec(access=EVERYONE, event="LB.ASSIGN.TO.RULE")

    id: Annotated[str, Ref(BalancerRule)]
    virtualmachineids: Annotated[list[str] | None, Ref(Vm), "the VMs"] = None
    vmidipmap: Annotated[list[dict[str, str]] | None, InnerRef("vmid", Vm), MAP_WORDS] = None

    def run(self, call: Call) -> Job:
        """Insert the members and let the router balance over them."""
        rule = call.row(BalancerRule, self.id)
        address = call.session.get_one(PublicAddress, rule.address_id)
        present = {member.vm_id for member in _members(call, rule)}
        added = []
        for vm_id, wanted in _named(self.virtualmachineids, self.vmidipmap).items():
            vm = call.row(Vm, vm_id)
            if vm_id in present:
                raise ParameterError(f"VM {vm.name} is behind {rule.name} already")
            guest = guest_address_of(call, vm, address, wanted)
            added.append(BalancerMember(rule_id=rule.id, vm_id=vm.id, address=guest))
        call.session.add_all(added)
        call.session.flush()
        arguments = {"rule_id": rule.id, "member_ids": [member.id for member in added]}
        return call.submit(names.ASSIGN_MEMBERS, arguments, kind=KIND, about=rule)


class RemoveFromLoadBalancerRule(AsyncCommand, kw_only=True, frozen=True):
    """Takes VMs from a load balancer rule."""

    spec = Spec(access=EVERYONE, event="LB.REMOVE.FROM.RULE")

    id: Annotated[str, Ref(BalancerRule)]
    virtualmachineids: Annotated[list[str] | None, Ref(Vm), "the VMs"] = None
    vmidipmap: Annotated[list[dict[str, str]] | None, InnerRef("vmid", Vm), MAP_WORDS] = None

    def run(self, call: Call) -> Job:
        """Only members can be taken out."""
        rule = call.row(BalancerRule, self.id)
        present = {member.vm_id: member.address for member in _members(call, rule)}
        wanted = _named(self.virtualmachineids, self.vmidipmap)
        for vm_id, address in wanted.items():
            if vm_id not in present or address not in (None, present[vm_id]):
                name = f"VM {call.row(Vm, vm_id).name}" + (f" with {address}" if address else "")
                raise ParameterError(f"{name} is not behind {rule.name}")
        arguments = {"rule_id": rule.id, "vm_ids": list(wanted)}
        return call.submit(names.REMOVE_MEMBERS, arguments, kind=KIND, about=rule)


class ListLoadBalancerRuleInstances(OwnedListCommand, kw_only=True, frozen=True):
    """Lists the VMs behind a load balancer rule."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE, key="loadbalancerruleinstance")

    ruleid: Annotated[str | None, Ref(BalancerRule), "the rule; id is taken for it too"] = None
    id: Annotated[str | None, Ref(BalancerRule), "the rule"] = None
    applied: Annotated[bool, "true: the members; false: the VMs that are not"] = True
    lbvmips: Annotated[bool, NoEffect("addresses are in the VMs")] = False

    def _query(self, call: Call) -> Select[Any]:
        rule_id = self.ruleid or self.id
        if rule_id is None:
            raise ParameterError("Send id: the rule whose VMs are listed")
        rule = call.row(BalancerRule, rule_id)
        vm_ids = [member.vm_id for member in _members(call, rule)]
        query = select(Vm).where(Vm.removed.is_(None), Vm.account_id == rule.account_id, Vm.kind == "user")
        return query.where(Vm.id.in_(vm_ids) if self.applied else Vm.id.not_in(vm_ids))


def _named(ids: list[str] | None, pairs: list[dict[str, str]] | None) -> dict[str, str | None]:
    """VMs and the addresses that are meant, None for a NIC's own. Raises `ParameterError`."""
    wanted: dict[str, str | None] = dict.fromkeys(ids or [])
    for pair in pairs or []:
        if not pair.get("vmid"):
            raise ParameterError("Send vmidipmap[0].vmid with each vmidipmap[0].vmip")
        wanted[pair["vmid"]] = pair.get("vmip") or None
    if not wanted:
        raise ParameterError("Send virtualmachineids or vmidipmap: the VMs")
    return wanted


def _check(algorithm: str, protocol: str) -> None:
    if algorithm not in ALGORITHMS:
        raise wrong_value("algorithm", algorithm, f"one of {', '.join(ALGORITHMS)}")
    if protocol.lower() != "tcp":
        raise wrong_value("protocol", protocol, "tcp, the only one supported")


def _members(call: Call, rule: BalancerRule) -> Sequence[BalancerMember]:
    query = select(BalancerMember).where(BalancerMember.rule_id == rule.id, BalancerMember.removed.is_(None))
    return call.session.scalars(query).all()
