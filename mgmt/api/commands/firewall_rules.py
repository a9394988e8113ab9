"""Firewall rules: who may reach a public address (ingress), where a network's guests may go (egress)."""

from ipaddress import IPv4Network
from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import select

from mgmt.api.absent import Shown
from mgmt.api.access import EVERYONE, Ref
from mgmt.api.addresses import read_network
from mgmt.api.call import Call
from mgmt.api.commands.public_addresses import live_network
from mgmt.api.lists import AllAre, Equals, OwnedListCommand, ShownToUsers
from mgmt.api.params import wrong_value
from mgmt.api.registry import AsyncCommand, Spec
from mgmt.api.responses.rules import EGRESS_RULE, FIREWALL_RULE
from mgmt.model.errors import ParameterError, RuleConflict
from mgmt.model.states import RuleState
from mgmt.ops import names
from mgmt.store.tables import EgressRule, FirewallRule, Job, Network, PublicAddress

PORT = Meta(ge=1, le=65535)
ICMP = Meta(ge=-1, le=255)
ANYWHERE = "0.0.0.0/0"


class ListFirewallRules(OwnedListCommand, kw_only=True, frozen=True):
    """Lists ingress rules of public addresses."""

    spec = Spec(answer=FIREWALL_RULE, access=EVERYONE)
    tag_type = "FirewallRule"

    ipaddressid: Annotated[str | None, Ref(PublicAddress), Equals(FirewallRule.address_id)] = None
    networkid: Annotated[str | None, Ref(Network), Equals(FirewallRule.network_id)] = None
    fordisplay: ShownToUsers = None


class CreateFirewallRule(AsyncCommand, kw_only=True, frozen=True):
    """Lets sources reach a public address."""

    spec = Spec(answer=FIREWALL_RULE, access=EVERYONE, event="FIREWALL.OPEN")
    creates = True

    ipaddressid: Annotated[str, Ref(PublicAddress)]
    protocol: Annotated[str, "tcp, udp, icmp or all"]
    cidrlist: Annotated[list[str] | None, "sources; anywhere if left away"] = None
    startport: Annotated[int | None, "first port", PORT] = None
    endport: Annotated[int | None, "last port; startport if left away", PORT] = None
    icmptype: Annotated[int | None, "ICMP type, -1 for any", ICMP] = None
    icmpcode: Annotated[int | None, "ICMP code, -1 for any", ICMP] = None
    fordisplay: Shown = None

    def run(self, call: Call) -> Job:
        """Check, insert, and let the router open it."""
        address = call.row(PublicAddress, self.ipaddressid)
        network = live_network(call, address)
        fields = matching_fields(self)
        cidrs = read_cidrs("cidrlist", self.cidrlist) or [ANYWHERE]
        query = select(FirewallRule).where(
            FirewallRule.address_id == address.id,
            FirewallRule.protocol == fields["protocol"],
            FirewallRule.removed.is_(None),
        )
        for other in call.session.scalars(query):
            _refuse_same(other, fields, cidrs)
        row = FirewallRule(
            account_id=address.account_id or network.account_id,
            domain_id=address.domain_id or network.domain_id,
            network_id=network.id,
            address_id=address.id,
            cidrs=cidrs,
            **fields,
        )
        call.session.add(row)
        return submit_rule(call, "firewall", row)


class DeleteFirewallRule(AsyncCommand, kw_only=True, frozen=True):
    """Deletes an ingress rule."""

    spec = Spec(access=EVERYONE, event="FIREWALL.CLOSE")

    id: Annotated[str, Ref(FirewallRule)]

    def run(self, call: Call) -> Job:
        """Let the router close it."""
        return revoke_rule(call, "firewall", call.row(FirewallRule, self.id))


class ListEgressFirewallRules(OwnedListCommand, kw_only=True, frozen=True):
    """Lists egress rules of networks."""

    spec = Spec(answer=EGRESS_RULE, access=EVERYONE)
    tag_type = "FirewallRule"

    networkid: Annotated[str | None, Ref(Network), Equals(EgressRule.network_id)] = None
    ipaddressid: Annotated[
        str | None, Ref(PublicAddress), "egress rules are of networks: none has an address", AllAre(None)
    ] = None
    fordisplay: ShownToUsers = None


class CreateEgressFirewallRule(AsyncCommand, kw_only=True, frozen=True):
    """Makes an exception to the egress policy of a network."""

    spec = Spec(answer=EGRESS_RULE, access=EVERYONE, event="FIREWALL.EGRESS.OPEN")
    creates = True

    networkid: Annotated[str, Ref(Network)]
    protocol: Annotated[str, "tcp, udp, icmp or all"]
    cidrlist: Annotated[list[str] | None, "guests' addresses; the whole network if left away"] = None
    destcidrlist: Annotated[list[str] | None, "destinations; anywhere if left away"] = None
    startport: Annotated[int | None, "first port", PORT] = None
    endport: Annotated[int | None, "last port; startport if left away", PORT] = None
    icmptype: Annotated[int | None, "ICMP type, -1 for any", ICMP] = None
    icmpcode: Annotated[int | None, "ICMP code, -1 for any", ICMP] = None
    fordisplay: Shown = None

    def run(self, call: Call) -> Job:
        """Check that sources are the network's, insert, and let the router know."""
        network = call.row(Network, self.networkid)
        fields = matching_fields(self)
        sources = read_cidrs("cidrlist", self.cidrlist)
        for source in sources:
            if source != ANYWHERE and not IPv4Network(source).subnet_of(IPv4Network(network.cidr)):
                raise wrong_value("cidrlist", source, f"a part of the network's {network.cidr}")
        destinations = read_cidrs("destcidrlist", self.destcidrlist)
        query = select(EgressRule).where(
            EgressRule.network_id == network.id,
            EgressRule.protocol == fields["protocol"],
            EgressRule.removed.is_(None),
        )
        for other in call.session.scalars(query):
            if other.destinations == destinations:
                _refuse_same(other, fields, sources)
        row = EgressRule(
            account_id=network.account_id,
            domain_id=network.domain_id,
            network_id=network.id,
            cidrs=sources,
            destinations=destinations,
            **fields,
        )
        call.session.add(row)
        return submit_rule(call, "egress", row)


class DeleteEgressFirewallRule(AsyncCommand, kw_only=True, frozen=True):
    """Deletes an egress rule."""

    spec = Spec(access=EVERYONE, event="FIREWALL.EGRESS.CLOSE")

    id: Annotated[str, Ref(EgressRule)]

    def run(self, call: Call) -> Job:
        """Let the router know."""
        return revoke_rule(call, "egress", call.row(EgressRule, self.id))


def submit_rule(call: Call, kind: str, row: Any, opened: FirewallRule | None = None) -> Job:
    """The job that brings a new rule to the router, with the firewall rule that was made for it."""
    row.state = RuleState.add
    call.session.flush()
    if opened is not None:
        opened.opened_for = row.id
    arguments = {"rule": kind, "rule_id": row.id, **({"opened": opened.id} if opened else {})}
    return call.submit(names.APPLY_RULE, arguments, kind="FirewallRule", about=row)


def revoke_rule(call: Call, kind: str, row: Any) -> Job:
    """The job that takes a rule from the router, with the firewall rule that was made for it."""
    if row.state == RuleState.revoke:
        raise ParameterError(f"Rule {row.id} is being deleted already")
    row.state = RuleState.revoke
    opened = call.session.scalar(
        select(FirewallRule).where(
            FirewallRule.opened_for == row.id,
            FirewallRule.removed.is_(None),
            FirewallRule.state != RuleState.revoke,
        )
    )
    if opened is not None:
        opened.state = RuleState.revoke
    arguments = {"rule": kind, "rule_id": row.id, **({"opened": opened.id} if opened else {})}
    return call.submit(names.REVOKE_RULE, arguments, kind="FirewallRule", about=row)


def matching_fields(rule: Any) -> dict[str, Any]:
    """Protocol, ports and ICMP of a rule's parameters, checked together. Raises `ParameterError`."""
    protocol = rule.protocol.lower()
    ports, icmp = (rule.startport, rule.endport), (rule.icmptype, rule.icmpcode)
    if protocol not in ("tcp", "udp", "icmp", "all"):
        raise wrong_value("protocol", rule.protocol, "tcp, udp, icmp or all")
    if protocol in ("tcp", "udp"):
        if icmp != (None, None):
            raise ParameterError(f"icmptype and icmpcode do not go with protocol {protocol}")
        return {"protocol": protocol, **_ports(rule.startport, rule.endport)}
    if ports != (None, None):
        raise ParameterError(f"startport and endport do not go with protocol {protocol}")
    if protocol == "all":
        if icmp != (None, None):
            raise ParameterError("icmptype and icmpcode do not go with protocol all")
        return {"protocol": protocol}
    kind = -1 if rule.icmptype is None else rule.icmptype
    code = -1 if rule.icmpcode is None else rule.icmpcode
    if kind == -1 and code != -1:
        raise ParameterError("icmpcode needs an icmptype")
    return {"protocol": protocol, "icmp_type": kind, "icmp_code": code}


def read_cidrs(name: str, texts: list[str] | None) -> list[str]:
    """Networks of a list, order kept. Raises `ParameterError`."""
    return [str(read_network(name, text if "/" in text else f"{text}/32")) for text in texts or []]


def _ports(start: int | None, end: int | None) -> dict[str, int | None]:
    if start is None and end is None:
        return {"start_port": 1, "end_port": 65535}
    if start is None:
        raise ParameterError("endport needs a startport")
    last = start if end is None else end
    if last < start:
        raise wrong_value("endport", str(last), f"a port not below startport {start}")
    return {"start_port": start, "end_port": last}


def _refuse_same(other: Any, fields: dict[str, Any], cidrs: list[str]) -> None:
    same = all(getattr(other, name) == value for name, value in fields.items())
    if same and sorted(other.cidrs) == sorted(cidrs):
        raise RuleConflict(f"Rule {other.id} says the same already")
