"""Firewall, egress, forwarding and balancing rules on the wire; forwards and balancers have string ports."""

from collections.abc import Sequence

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import Owners, TagResponse, plain_tags_of, rows_by_id
from mgmt.store.tables import (
    BalancerRule,
    EgressRule,
    FirewallRule,
    PortForwardingRule,
    PublicAddress,
    Vm,
    Zone,
)


class FirewallRuleResponse(Response, kw_only=True):
    """An ingress rule of a public address, or an egress rule of a network."""

    id: str
    protocol: str
    cidrlist: str
    destcidrlist: str | None = None
    startport: int | None = None
    endport: int | None = None
    icmptype: int | None = None
    icmpcode: int | None = None
    ipaddress: str | None = None
    ipaddressid: str | None = None
    networkid: str
    state: str
    traffictype: str
    fordisplay: bool
    tags: list[TagResponse]


class PortForwardingRuleResponse(Response, kw_only=True):
    """A forwarding rule."""

    id: str
    protocol: str
    publicport: str
    publicendport: str
    privateport: str
    privateendport: str
    ipaddress: str | None = None
    ipaddressid: str
    networkid: str
    virtualmachineid: str
    virtualmachinename: str | None = None
    virtualmachinedisplayname: str | None = None
    vmguestip: str
    cidrlist: str
    state: str
    fordisplay: bool
    tags: list[TagResponse]


class BalancerRuleResponse(Response, kw_only=True):
    """A balancer."""

    id: str
    name: str
    description: str
    algorithm: str
    protocol: str
    publicip: str | None = None
    publicipid: str
    publicport: str
    privateport: str
    cidrlist: str
    networkid: str
    zoneid: str | None = None
    zonename: str | None = None
    account: str | None = None
    project: str | None = None
    projectid: str | None = None
    domainid: str | None = None
    domain: str | None = None
    domainpath: str | None = None
    state: str
    fordisplay: bool
    tags: list[TagResponse]


def build_firewall_rules(call: Call, rows: Sequence[FirewallRule]) -> list[FirewallRuleResponse]:
    """Answers for ingress rules."""
    addresses = rows_by_id(call, PublicAddress, (row.address_id for row in rows))
    tags = plain_tags_of(call, "FirewallRule", rows)
    return [
        FirewallRuleResponse(
            id=row.id,
            protocol=row.protocol,
            cidrlist=",".join(row.cidrs),
            startport=row.start_port,
            endport=row.end_port,
            icmptype=row.icmp_type,
            icmpcode=row.icmp_code,
            ipaddress=addresses[row.address_id].address if row.address_id in addresses else None,
            ipaddressid=row.address_id,
            networkid=row.network_id,
            state=row.state,
            traffictype="Ingress",
            fordisplay=True,
            tags=tags.get(row.id, []),
        )
        for row in rows
    ]


def build_egress_rules(call: Call, rows: Sequence[EgressRule]) -> list[FirewallRuleResponse]:
    """Answers for egress rules."""
    tags = plain_tags_of(call, "FirewallRule", rows)
    return [
        FirewallRuleResponse(
            id=row.id,
            protocol=row.protocol,
            cidrlist=",".join(row.cidrs),
            destcidrlist=",".join(row.destinations) or None,
            startport=row.start_port,
            endport=row.end_port,
            icmptype=row.icmp_type,
            icmpcode=row.icmp_code,
            networkid=row.network_id,
            state=row.state,
            traffictype="Egress",
            fordisplay=True,
            tags=tags.get(row.id, []),
        )
        for row in rows
    ]


def build_port_forwards(call: Call, rows: Sequence[PortForwardingRule]) -> list[PortForwardingRuleResponse]:
    """Answers for forwarding rules."""
    addresses = rows_by_id(call, PublicAddress, (row.address_id for row in rows))
    vms = rows_by_id(call, Vm, (row.vm_id for row in rows))
    tags = plain_tags_of(call, "PortForwardingRule", rows)
    return [
        PortForwardingRuleResponse(
            id=row.id,
            protocol=row.protocol,
            publicport=str(row.public_start),
            publicendport=str(row.public_end),
            privateport=str(row.private_start),
            privateendport=str(row.private_end),
            ipaddress=addresses[row.address_id].address if row.address_id in addresses else None,
            ipaddressid=row.address_id,
            networkid=row.network_id,
            virtualmachineid=row.vm_id,
            virtualmachinename=vms[row.vm_id].name if row.vm_id in vms else None,
            virtualmachinedisplayname=vms[row.vm_id].display_name if row.vm_id in vms else None,
            vmguestip=row.vm_address,
            cidrlist="",
            state=row.state,
            fordisplay=True,
            tags=tags.get(row.id, []),
        )
        for row in rows
    ]


def build_balancers(call: Call, rows: Sequence[BalancerRule]) -> list[BalancerRuleResponse]:
    """Answers for balancers."""
    owners = Owners(call, rows)
    addresses = rows_by_id(call, PublicAddress, (row.address_id for row in rows))
    zones = rows_by_id(call, Zone, (address.zone_id for address in addresses.values()))
    tags = plain_tags_of(call, "LoadBalancer", rows)
    answers = []
    for row in rows:
        address = addresses.get(row.address_id)
        zone = zones.get(address.zone_id) if address else None
        answers.append(
            BalancerRuleResponse(
                id=row.id,
                name=row.name,
                description=row.description,
                algorithm=row.algorithm,
                protocol="tcp",
                publicip=address.address if address else None,
                publicipid=row.address_id,
                publicport=str(row.public_port),
                privateport=str(row.private_port),
                cidrlist=",".join(row.cidrs),
                networkid=row.network_id,
                zoneid=zone.id if zone else None,
                zonename=zone.name if zone else None,
                state=row.state,
                fordisplay=True,
                tags=tags.get(row.id, []),
                **owners.names(row),
            )
        )
    return answers


FIREWALL_RULE = Entity(FirewallRule, FirewallRuleResponse, "firewallrule", build_firewall_rules)
EGRESS_RULE = Entity(EgressRule, FirewallRuleResponse, "firewallrule", build_egress_rules)
PORT_FORWARD = Entity(
    PortForwardingRule, PortForwardingRuleResponse, "portforwardingrule", build_port_forwards
)
BALANCER = Entity(BalancerRule, BalancerRuleResponse, "loadbalancerrule", build_balancers)
