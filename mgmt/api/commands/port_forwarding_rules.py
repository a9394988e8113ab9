"""Port forwarding rules."""

from typing import Annotated

from sqlalchemy import select

from mgmt.api.absent import Shown, Sources
from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.commands.firewall_rules import ANYWHERE, PORT, revoke_rule, submit_rule
from mgmt.api.commands.public_addresses import (
    guest_address_of,
    live_network,
    refuse_other_place,
)
from mgmt.api.lists import Equals, OwnedListCommand, ShownToUsers
from mgmt.api.params import wrong_value
from mgmt.api.registry import AsyncCommand, Spec
from mgmt.api.responses.rules import PORT_FORWARD
from mgmt.model.errors import ParameterError, RuleConflict
from mgmt.model.states import RuleState
from mgmt.store.tables import BalancerRule, FirewallRule, Job, Network, PortForwardingRule, PublicAddress, Vm


class ListPortForwardingRules(OwnedListCommand, kw_only=True, frozen=True):
    """Lists port forwarding rules."""

    spec = Spec(answer=PORT_FORWARD, access=EVERYONE)
    tag_type = "PortForwardingRule"

    ipaddressid: Annotated[str | None, Ref(PublicAddress), Equals(PortForwardingRule.address_id)] = None
    networkid: Annotated[str | None, Ref(Network), Equals(PortForwardingRule.network_id)] = None
    fordisplay: ShownToUsers = None


class CreatePortForwardingRule(AsyncCommand, kw_only=True, frozen=True):
    """Forwards ports of a public address to a VM."""

    spec = Spec(answer=PORT_FORWARD, access=EVERYONE, event="NET.RULEADD")
    creates = True

    ipaddressid: Annotated[str, Ref(PublicAddress)]
    virtualmachineid: Annotated[str, Ref(Vm)]
    protocol: Annotated[str, "tcp or udp"]
    publicport: Annotated[int, "first public port", PORT]
    publicendport: Annotated[int | None, "last public port", PORT] = None
    privateport: Annotated[int, "first port of the VM", PORT]
    privateendport: Annotated[int | None, "last port of the VM", PORT] = None
    vmguestip: Annotated[str | None, "the VM's address that is meant"] = None
    openfirewall: Annotated[bool, "true: let everybody reach the public ports"] = True
    networkid: Annotated[str | None, Ref(Network)] = None
    fordisplay: Shown = None
    cidrlist: Sources = None

    def run(self, call: Call) -> Job:
        """Check, insert, and let the router forward."""
        address, vm = call.row(PublicAddress, self.ipaddressid), call.row(Vm, self.virtualmachineid)
        network = live_network(call, address)
        refuse_other_place(address.address, address, network_id=self.networkid)
        guest = guest_address_of(call, vm, address, self.vmguestip)
        protocol = self._protocol()
        public_end, private_end = self._ends()
        if address.is_static_nat:
            raise RuleConflict(f"{address.address} has static NAT; disable it or use another address")
        refuse_overlap(call, address, protocol, self.publicport, public_end)
        row = PortForwardingRule(
            account_id=network.account_id,
            domain_id=network.domain_id,
            network_id=network.id,
            address_id=address.id,
            vm_id=vm.id,
            vm_address=guest,
            protocol=protocol,
            public_start=self.publicport,
            public_end=public_end,
            private_start=self.privateport,
            private_end=private_end,
        )
        call.session.add(row)
        opened = None
        if self.openfirewall:
            opened = open_firewall(call, network, address, protocol, self.publicport, public_end)
        return submit_rule(call, "port_forwarding", row, opened)

    def _protocol(self) -> str:
        if self.protocol.lower() not in ("tcp", "udp"):
            raise wrong_value("protocol", self.protocol, "tcp or udp")
        return self.protocol.lower()

    def _ends(self) -> tuple[int, int]:
        public = self.publicport if self.publicendport is None else self.publicendport
        private = self.privateport if self.privateendport is None else self.privateendport
        if public < self.publicport:
            raise wrong_value("publicendport", str(public), f"a port not below publicport {self.publicport}")
        if public - self.publicport != private - self.privateport:
            counts = (
                f"{public - self.publicport + 1} public and {private - self.privateport + 1} private ports"
            )
            raise ParameterError(f"{counts}: both ranges must have the same length")
        return public, private


class DeletePortForwardingRule(AsyncCommand, kw_only=True, frozen=True):
    """Deletes a port forwarding rule."""

    spec = Spec(access=EVERYONE, event="NET.RULEDELETE")

    id: Annotated[str, Ref(PortForwardingRule)]

    def run(self, call: Call) -> Job:
        """Let the router forget it."""
        return revoke_rule(call, "port_forwarding", call.row(PortForwardingRule, self.id))


def refuse_overlap(call: Call, address: PublicAddress, protocol: str, first: int, last: int) -> None:
    """Raise `RuleConflict` if a forward or a balancer of the address has one of these public ports."""
    forwards = select(PortForwardingRule.id).where(
        PortForwardingRule.address_id == address.id,
        PortForwardingRule.protocol == protocol,
        PortForwardingRule.public_start <= last,
        PortForwardingRule.public_end >= first,
        PortForwardingRule.removed.is_(None),
    )
    balancers = select(BalancerRule.id).where(
        BalancerRule.address_id == address.id,
        BalancerRule.public_port.between(first, last),
        BalancerRule.removed.is_(None),
    )
    taken = call.session.scalar(forwards.limit(1))
    if taken is None and protocol == "tcp":
        taken = call.session.scalar(balancers.limit(1))
    if taken is not None:
        raise RuleConflict(f"Ports {first}-{last}/{protocol} of {address.address} are taken by rule {taken}")


def open_firewall(
    call: Call, network: Network, address: PublicAddress, protocol: str, first: int, last: int
) -> FirewallRule | None:
    """An ingress rule for everybody, unless there is one for the very ports; it goes with the same job."""
    query = select(FirewallRule.id).where(
        FirewallRule.address_id == address.id,
        FirewallRule.protocol == protocol,
        FirewallRule.start_port == first,
        FirewallRule.end_port == last,
        FirewallRule.removed.is_(None),
    )
    if call.session.scalar(query) is not None:
        return None
    opened = FirewallRule(
        account_id=network.account_id,
        domain_id=network.domain_id,
        network_id=network.id,
        address_id=address.id,
        protocol=protocol,
        cidrs=[ANYWHERE],
        start_port=first,
        end_port=last,
        state=RuleState.add,
    )
    call.session.add(opened)
    return opened
