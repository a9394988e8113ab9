"""Rules and addresses: one push for many changes, and rows as before when the router refuses."""

import threading
from typing import Any

import pytest

from mgmt.agents.errors import AgentFailed, AgentRefused
from mgmt.agents.machine import Applied
from mgmt.alloc import addresses
from mgmt.drivers.simulated_machine import SimulatedMachine
from mgmt.model.states import AddressState, RuleState
from mgmt.ops import names
from mgmt.ops.saga import StepFailed
from mgmt.store.tables import (
    BalancerMember,
    BalancerRule,
    FirewallRule,
    Network,
    PortForwardingRule,
    PublicAddress,
    Vm,
)
from systemvm.spec.state import State
from systemvm.spec.types import Problem
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit


class Bench:
    """A network with one VM, and rules on its source NAT address."""

    def __init__(self, cloud: SmallCloud) -> None:
        self.cloud = cloud
        self.network: Network = cloud.new_network()
        self.vm: Vm = cloud.new_vm(self.network)
        cloud.run(names.DEPLOY_VM, vm_id=self.vm.id)
        self.address = next(row for row in cloud.rows(PublicAddress) if row.network_id == self.network.id)

    @property
    def state(self) -> State:
        found: State = self.cloud.document(self.cloud.router(self.network).id)
        return found

    def firewall(self, port: int, cidr: str = "0.0.0.0/0") -> str:
        return self._add(FirewallRule, protocol="tcp", cidrs=[cidr], start_port=port, end_port=port)

    def forward(self, port: int) -> str:
        return self._add(
            PortForwardingRule,
            vm_id=self.vm.id,
            vm_address="10.1.1.2",
            protocol="tcp",
            public_start=port,
            public_end=port,
            private_start=80,
            private_end=80,
        )

    def balancer(self, port: int) -> str:
        return self._add(BalancerRule, name="lb", public_port=port, private_port=80)

    def _add(self, table: type[Any], **columns: Any) -> str:
        row = self.cloud.add(
            table(
                account_id=self.cloud.account_id,
                domain_id=self.cloud.domain_id,
                network_id=self.network.id,
                address_id=self.address.id,
                state=RuleState.add,
                **columns,
            )
        )
        return str(row.id)


@pytest.fixture
def bench(cloud: SmallCloud) -> Bench:
    return Bench(cloud)


def test_rules_reach_the_router_and_leave_it(cloud: SmallCloud, bench: Bench) -> None:
    firewall, forward = bench.firewall(80), bench.forward(8080)
    cloud.run(names.APPLY_RULE, rule="firewall", rule_id=firewall)
    cloud.run(names.APPLY_RULE, rule="port_forwarding", rule_id=forward)
    nftables = bench.state.nftables
    assert nftables is not None
    assert [(rule.public, rule.ports.first if rule.ports else 0) for rule in nftables.ingress] == [
        (bench.address.address, 80)
    ]
    (forwarded,) = nftables.port_forwards
    assert (forwarded.private, forwarded.private_ports.last) == ("10.1.1.2", 80)
    assert cloud.row(FirewallRule, firewall).state == RuleState.active
    with cloud.runtime.database.writing() as session:
        session.get_one(FirewallRule, firewall).state = RuleState.revoke
    cloud.run(names.REVOKE_RULE, rule="firewall", rule_id=firewall)
    assert cloud.row(FirewallRule, firewall).removed is not None
    assert bench.state.nftables is not None
    assert bench.state.nftables.ingress == ()


def test_a_refused_rule_is_gone_and_the_job_says_why(cloud: SmallCloud, bench: Bench) -> None:
    problem = Problem(path="nftables.ingress[0].ports", message="first is greater than last")
    cloud.simulator.faults.fail("machine.put_state", AgentRefused("agent of r-4-VM", "1 problem", [problem]))
    rule = bench.firewall(80)
    with pytest.raises(StepFailed, match=r"nftables\.ingress\[0\]\.ports: first is greater than last"):
        cloud.run(names.APPLY_RULE, rule="firewall", rule_id=rule)
    assert cloud.row(FirewallRule, rule).removed is not None
    fine = bench.firewall(443)
    cloud.run(names.APPLY_RULE, rule="firewall", rule_id=fine)
    router = cloud.router(bench.network)
    assert router.applied == router.generation


@pytest.mark.parametrize("kind", ["port_forwarding", "balancer"])
@pytest.mark.parametrize("fails", [False, True])
def test_a_rule_and_what_it_opens_come_together_or_not_at_all(
    cloud: SmallCloud, bench: Bench, kind: str, fails: bool
) -> None:
    theirs = bench.firewall(443)
    cloud.run(names.APPLY_RULE, rule="firewall", rule_id=theirs)
    rule = bench.forward(80) if kind == "port_forwarding" else bench.balancer(80)
    opened = bench.firewall(80)
    run = {"rule": kind, "rule_id": rule, "opened": opened}
    if fails:
        cloud.simulator.faults.fail("machine.put_state", AgentFailed("agent of r-4-VM", "no such port"))
        with pytest.raises(StepFailed, match="no such port"):
            cloud.run(names.APPLY_RULE, **run)
    else:
        cloud.run(names.APPLY_RULE, **run)
    table = PortForwardingRule if kind == "port_forwarding" else BalancerRule
    assert (cloud.row(table, rule).removed is not None) == fails
    row = cloud.row(FirewallRule, opened)
    assert (row.removed is not None, row.state) == (fails, "Revoke" if fails else "Active")
    # The next push of the network, whosever it is, carries what is left.
    cloud.run(names.APPLY_RULE, rule="firewall", rule_id=bench.firewall(22))
    assert bench.state.nftables is not None
    ports = {rule.ports.first for rule in bench.state.nftables.ingress if rule.ports}
    assert ports == ({22, 443} if fails else {22, 80, 443})


@pytest.mark.parametrize("kind", ["port_forwarding", "balancer"])
@pytest.mark.parametrize("fails", [False, True])
def test_a_rule_and_what_it_opened_go_together_or_not_at_all(
    cloud: SmallCloud, bench: Bench, kind: str, fails: bool
) -> None:
    rule = bench.forward(80) if kind == "port_forwarding" else bench.balancer(80)
    opened = bench.firewall(80)
    run = {"rule": kind, "rule_id": rule, "opened": opened}
    cloud.run(names.APPLY_RULE, **run)
    table = PortForwardingRule if kind == "port_forwarding" else BalancerRule
    with cloud.runtime.database.writing() as session:
        session.get_one(table, rule).state = RuleState.revoke
        session.get_one(FirewallRule, opened).state = RuleState.revoke
    if fails:
        cloud.simulator.faults.fail("machine.put_state", AgentFailed("agent of r-4-VM", "nft: busy"))
        with pytest.raises(StepFailed, match="nft: busy"):
            cloud.run(names.REVOKE_RULE, **run)
    else:
        cloud.run(names.REVOKE_RULE, **run)
    for row in cloud.row(table, rule), cloud.row(FirewallRule, opened):
        assert (row.removed is None, row.state) == (fails, "Active" if fails else "Revoke")
    cloud.run(names.APPLY_RULE, rule="firewall", rule_id=bench.firewall(22))
    assert bench.state.nftables is not None
    ports = {rule.ports.first for rule in bench.state.nftables.ingress if rule.ports}
    assert ports == ({22, 80} if fails else {22})


def test_what_was_opened_for_a_forward_goes_with_its_vm(cloud: SmallCloud, bench: Bench) -> None:
    rule, opened = bench.forward(80), bench.firewall(80)
    with cloud.runtime.database.writing() as session:
        session.get_one(FirewallRule, opened).opened_for = rule
    cloud.run(names.APPLY_RULE, rule="port_forwarding", rule_id=rule, opened=opened)
    cloud.run(names.DESTROY_VM, vm_id=cloud.row(PortForwardingRule, rule).vm_id, expunge=True)
    assert cloud.row(FirewallRule, opened).removed is not None
    assert bench.state.nftables is not None
    assert bench.state.nftables.ingress == ()


def test_a_refused_revocation_brings_the_rule_back(cloud: SmallCloud, bench: Bench) -> None:
    rule = bench.firewall(80)
    cloud.run(names.APPLY_RULE, rule="firewall", rule_id=rule)
    with cloud.runtime.database.writing() as session:
        session.get_one(FirewallRule, rule).state = RuleState.revoke
    cloud.simulator.faults.fail("machine.put_state", AgentFailed("agent of r-4-VM", "nft: busy"))
    with pytest.raises(StepFailed, match="nft: busy"):
        cloud.run(names.REVOKE_RULE, rule="firewall", rule_id=rule)
    row = cloud.row(FirewallRule, rule)
    assert (row.state, row.removed) == (RuleState.active, None)


def test_somebody_elses_bad_rule_fails_only_its_own_job(
    cloud: SmallCloud, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put_state(machine: SimulatedMachine, state: State) -> Applied:
        if state.nftables and any(rule.ports and rule.ports.first == 666 for rule in state.nftables.ingress):
            raise AgentFailed("agent of r-4-VM", "port 666 does not work")
        return honest(machine, state)

    honest = SimulatedMachine.put_state
    monkeypatch.setattr(SimulatedMachine, "put_state", put_state)
    bad, good = bench.firewall(666), bench.firewall(80)
    cloud.run(names.APPLY_RULE, rule="firewall", rule_id=good)
    assert cloud.row(FirewallRule, good).state == RuleState.active
    with pytest.raises(StepFailed, match="port 666 does not work"):
        cloud.run(names.APPLY_RULE, rule="firewall", rule_id=bad)
    assert bench.state.nftables is not None
    assert [rule.id for rule in bench.state.nftables.ingress] == [good]


def test_twenty_changes_at_once_are_a_few_pushes(cloud: SmallCloud, bench: Bench) -> None:
    rules = [bench.firewall(port) for port in range(1000, 1020)]
    before = cloud.simulator.faults.count("machine.put_state")
    barrier = threading.Barrier(len(rules))

    def apply(rule: str) -> None:
        barrier.wait()
        cloud.run(names.APPLY_RULE, rule="firewall", rule_id=rule)

    with cloud.runtime.locks.hold(f"document:{cloud.router(bench.network).id}"):
        threads = [threading.Thread(target=apply, args=(rule,)) for rule in rules]
        for thread in threads:
            thread.start()
        # Held until all have numbered their changes, as by a router that takes its time.
        while cloud.router(bench.network).generation < cloud.router(bench.network).applied + len(rules):
            threading.Event().wait(0.02)
    for thread in threads:
        thread.join()
    assert cloud.simulator.faults.count("machine.put_state") - before == 1
    assert bench.state.nftables is not None
    assert len(bench.state.nftables.ingress) == 20


def test_balancer_members_come_and_go(cloud: SmallCloud, bench: Bench) -> None:
    rule = bench.balancer(8000)
    cloud.run(names.APPLY_RULE, rule="balancer", rule_id=rule)
    assert bench.state.haproxy is not None
    assert bench.state.haproxy.balancers[0].members == ()
    member = cloud.add(BalancerMember(rule_id=rule, vm_id=bench.vm.id, address="10.1.1.2"))
    cloud.run(names.ASSIGN_MEMBERS, rule_id=rule, member_ids=[member.id])
    (found,) = bench.state.haproxy.balancers[0].members
    assert (found.address, found.port) == ("10.1.1.2", 80)
    cloud.run(names.REMOVE_MEMBERS, rule_id=rule, vm_ids=[bench.vm.id])
    assert bench.state.haproxy.balancers[0].members == ()


def test_static_nat_and_release(cloud: SmallCloud, bench: Bench) -> None:
    with cloud.runtime.database.writing() as session:
        claimed = addresses.claim(session, network=session.get_one(Network, bench.network.id))
    cloud.run(names.ASSOCIATE_ADDRESS, address_id=claimed.id)
    assert len(bench.state.interfaces.nics[0].addresses) == 2
    cloud.run(names.ENABLE_STATIC_NAT, address_id=claimed.id, vm_id=bench.vm.id, vm_address="10.1.1.2")
    assert bench.state.nftables is not None
    (nat,) = bench.state.nftables.static_nat
    assert (nat.public, nat.private) == (claimed.address, "10.1.1.2")
    assert bench.state.metadata is not None
    assert bench.state.metadata.guests[0].meta_data["public-ipv4"] == claimed.address
    cloud.run(names.DISABLE_STATIC_NAT, address_id=claimed.id)
    assert bench.state.nftables.static_nat == ()
    cloud.run(names.RELEASE_ADDRESS, address_id=claimed.id)
    assert len(bench.state.interfaces.nics[0].addresses) == 1
    row = cloud.row(PublicAddress, claimed.id)
    assert (row.state, row.network_id, row.account_id) == (AddressState.free, None, None)


def test_a_refused_address_is_free_again(cloud: SmallCloud, bench: Bench) -> None:
    with cloud.runtime.database.writing() as session:
        claimed = addresses.claim(session, network=session.get_one(Network, bench.network.id))
    cloud.simulator.faults.fail("machine.put_state", AgentFailed("agent of r-4-VM", "address in use"))
    with pytest.raises(StepFailed, match="address in use"):
        cloud.run(names.ASSOCIATE_ADDRESS, address_id=claimed.id)
    assert cloud.row(PublicAddress, claimed.id).state == AddressState.free


def test_network_restart_and_delete(cloud: SmallCloud, bench: Bench) -> None:
    old = cloud.router(bench.network)
    cloud.run(names.RESTART_NETWORK, network_id=bench.network.id, cleanup=True)
    new = cloud.router(bench.network)
    assert new.id != old.id
    assert bench.state.nftables is not None
    assert bench.state.nftables.source_nat[0].public == bench.address.address
    assert [host.hostname for host in bench.state.dnsmasq.hosts] == ["web"] if bench.state.dnsmasq else False
    cloud.run(names.DESTROY_VM, vm_id=bench.vm.id, expunge=True)
    cloud.run(names.DELETE_NETWORK, network_id=bench.network.id)
    assert cloud.row(Network, bench.network.id).removed is not None
    assert cloud.row(PublicAddress, bench.address.id).state == AddressState.free
    assert new.id not in cloud.simulator.hosts["172.31.240.1"].domains
    state = cloud.simulator.hosts["172.31.240.1"].state
    assert state is not None
    assert state.networks == ()
