"""Ports that are open to the guest behind a static NAT.

Static NAT forwards everything and the firewall decides what passes; so an IP forwarding rule is a firewall
rule of an address with static NAT, under its older name.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from sqlalchemy import Select

from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.commands.firewall_rules import PORT, CreateFirewallRule, revoke_rule
from mgmt.api.lists import Equals, OwnedListCommand
from mgmt.api.params import NoEffect
from mgmt.api.registry import AsyncCommand, Entity, Response, Spec
from mgmt.api.responses.lookup import TagResponse, plain_tags_of, rows_by_id
from mgmt.model.errors import ParameterError
from mgmt.store.tables import FirewallRule, Job, PublicAddress, Vm


class IpForwardingRuleResponse(Response, kw_only=True):
    """Open ports of an address with static NAT, and the VM behind it."""

    id: str
    protocol: str
    startport: int | None = None
    endport: int | None = None
    publicport: str | None = None
    publicendport: str | None = None
    privateport: str | None = None
    privateendport: str | None = None
    ipaddress: str | None = None
    ipaddressid: str
    networkid: str
    virtualmachineid: str | None = None
    virtualmachinename: str | None = None
    virtualmachinedisplayname: str | None = None
    vmguestip: str | None = None
    cidrlist: str
    state: str
    fordisplay: bool
    tags: list[TagResponse]


def build_rules(call: Call, rows: Sequence[FirewallRule]) -> list[IpForwardingRuleResponse]:
    """Answers for firewall rules of addresses with static NAT."""
    addresses = rows_by_id(call, PublicAddress, (row.address_id for row in rows))
    vms = rows_by_id(call, Vm, (address.vm_id for address in addresses.values()))
    tags = plain_tags_of(call, "FirewallRule", rows)
    answers = []
    for row in rows:
        address = addresses[row.address_id]
        vm = vms.get(address.vm_id or "")
        first, last = _text(row.start_port), _text(row.end_port)
        answers.append(
            IpForwardingRuleResponse(
                id=row.id,
                protocol=row.protocol,
                startport=row.start_port,
                endport=row.end_port,
                publicport=first,
                publicendport=last,
                privateport=first,
                privateendport=last,
                ipaddress=address.address,
                ipaddressid=row.address_id,
                networkid=row.network_id,
                virtualmachineid=vm.id if vm else None,
                virtualmachinename=vm.name if vm else None,
                virtualmachinedisplayname=vm.display_name if vm else None,
                vmguestip=address.vm_address,
                cidrlist=",".join(row.cidrs),
                state=row.state,
                fordisplay=True,
                tags=tags.get(row.id, []),
            )
        )
    return answers


def _text(port: int | None) -> str | None:
    return None if port is None else str(port)


IP_FORWARDING_RULE = Entity(FirewallRule, IpForwardingRuleResponse, "ipforwardingrule", build_rules)


class ListIpForwardingRules(OwnedListCommand, kw_only=True, frozen=True):
    """Lists the open ports of addresses with static NAT."""

    spec = Spec(answer=IP_FORWARDING_RULE, access=EVERYONE)
    tag_type = "FirewallRule"

    ipaddressid: Annotated[str | None, Ref(PublicAddress), Equals(FirewallRule.address_id)] = None
    virtualmachineid: Annotated[str | None, Ref(Vm), Equals(PublicAddress.vm_id)] = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Only those of addresses that have static NAT now."""
        joined = query.join(PublicAddress, PublicAddress.id == FirewallRule.address_id)
        return joined.where(PublicAddress.is_static_nat, FirewallRule.protocol.in_(("tcp", "udp")))


class CreateIpForwardingRule(AsyncCommand, kw_only=True, frozen=True):
    """Opens ports of an address with static NAT to the guest behind it."""

    spec = Spec(answer=IP_FORWARDING_RULE, access=EVERYONE, event="NET.RULEADD")
    creates = True

    ipaddressid: Annotated[str, Ref(PublicAddress)]
    protocol: Annotated[str, "tcp or udp"]
    startport: Annotated[int, "first port", PORT]
    endport: Annotated[int | None, "last port; startport if left away", PORT] = None
    cidrlist: Annotated[list[str] | None, "sources; anywhere if left away"] = None
    openfirewall: Annotated[bool, NoEffect("the rule is what opens the ports")] = True

    def run(self, call: Call) -> Job:
        """Have the firewall opened."""
        address = call.row(PublicAddress, self.ipaddressid)
        if not address.is_static_nat:
            raise ParameterError(
                f"Address {address.address} has no static NAT: enable it, or create a port forwarding rule"
            )
        if self.protocol.lower() not in ("tcp", "udp"):
            raise ParameterError(f"Invalid value {self.protocol} for parameter protocol: expected tcp or udp")
        rule = CreateFirewallRule(
            ipaddressid=self.ipaddressid,
            protocol=self.protocol,
            startport=self.startport,
            endport=self.endport,
            cidrlist=self.cidrlist,
        )
        return rule.run(call)


class DeleteIpForwardingRule(AsyncCommand, kw_only=True, frozen=True):
    """Closes ports of an address with static NAT."""

    spec = Spec(access=EVERYONE, event="NET.RULEDELETE")

    id: Annotated[str, Ref(FirewallRule)]

    def run(self, call: Call) -> Job:
        """Let the router close them."""
        return revoke_rule(call, "firewall", call.row(FirewallRule, self.id))
