"""Guest networks, public addresses and the rules on them."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from mgmt.model.states import AddressState, NetworkState, RuleState
from mgmt.store.tables.base import Base, Identified, Owned, unique_live


class Network(Owned, Base, kw_only=True):
    """An isolated guest network; `vni` while implemented.

    `spread` is raised when it comes to one more host, `told` is the `spread` that all its hosts know of.
    """

    __tablename__ = "network"
    zone_id: Mapped[str] = mapped_column(ForeignKey("zone.id"), index=True)
    offering_id: Mapped[str] = mapped_column(ForeignKey("network_offering.id"))
    name: Mapped[str] = mapped_column(String(255), index=True)
    display_text: Mapped[str]
    cidr: Mapped[str]
    gateway: Mapped[str]
    netmask: Mapped[str]
    network_domain: Mapped[str]
    vni: Mapped[int | None] = mapped_column(default=None, unique=True)
    state: Mapped[str] = mapped_column(default=NetworkState.allocated, index=True)
    spread: Mapped[int] = mapped_column(default=0)
    told: Mapped[int] = mapped_column(default=0)


class PublicAddress(Identified, Base, kw_only=True):
    """A public address of a range. Owner columns are empty while `Free`.

    `vm_id` is the guest of a static NAT (`is_static_nat`) or the system VM that holds the address.
    """

    __tablename__ = "public_address"
    __table_args__ = (unique_live("zone_id", "address"),)
    zone_id: Mapped[str] = mapped_column(ForeignKey("zone.id"), index=True)
    range_id: Mapped[str] = mapped_column(ForeignKey("vlan_range.id"), index=True)
    address: Mapped[str] = mapped_column(String(15))
    sort: Mapped[int] = mapped_column(BigInteger, index=True)
    mac: Mapped[str | None] = mapped_column(default=None)
    state: Mapped[str] = mapped_column(default=AddressState.free, index=True)
    account_id: Mapped[str | None] = mapped_column(ForeignKey("account.id"), index=True, default=None)
    domain_id: Mapped[str | None] = mapped_column(ForeignKey("domain.id"), index=True, default=None)
    network_id: Mapped[str | None] = mapped_column(ForeignKey("network.id"), index=True, default=None)
    is_source_nat: Mapped[bool] = mapped_column(default=False)
    is_static_nat: Mapped[bool] = mapped_column(default=False)
    is_system: Mapped[bool] = mapped_column(default=False)
    vm_id: Mapped[str | None] = mapped_column(ForeignKey("vm.id"), index=True, default=None)
    vm_address: Mapped[str | None] = mapped_column(default=None)
    allocated: Mapped[datetime | None] = mapped_column(default=None)


class FirewallRule(Owned, Base, kw_only=True):
    """Who may reach a public address. Ports for tcp/udp; ICMP type and code, -1 is any.

    `opened_for` is the forward or balancer that it was made for and goes with.
    """

    __tablename__ = "firewall_rule"
    network_id: Mapped[str] = mapped_column(ForeignKey("network.id"), index=True)
    address_id: Mapped[str] = mapped_column(ForeignKey("public_address.id"), index=True)
    protocol: Mapped[str] = mapped_column(String(8))
    cidrs: Mapped[list[str]] = mapped_column(default_factory=list)
    start_port: Mapped[int | None] = mapped_column(default=None)
    end_port: Mapped[int | None] = mapped_column(default=None)
    icmp_type: Mapped[int | None] = mapped_column(default=None)
    icmp_code: Mapped[int | None] = mapped_column(default=None)
    state: Mapped[str] = mapped_column(default=RuleState.active)
    opened_for: Mapped[str | None] = mapped_column(default=None, index=True)


class EgressRule(Owned, Base, kw_only=True):
    """Exception to a network's egress policy."""

    __tablename__ = "egress_rule"
    network_id: Mapped[str] = mapped_column(ForeignKey("network.id"), index=True)
    protocol: Mapped[str] = mapped_column(String(8))
    cidrs: Mapped[list[str]] = mapped_column(default_factory=list)
    destinations: Mapped[list[str]] = mapped_column(default_factory=list)
    start_port: Mapped[int | None] = mapped_column(default=None)
    end_port: Mapped[int | None] = mapped_column(default=None)
    icmp_type: Mapped[int | None] = mapped_column(default=None)
    icmp_code: Mapped[int | None] = mapped_column(default=None)
    state: Mapped[str] = mapped_column(default=RuleState.active)


class PortForwardingRule(Owned, Base, kw_only=True):
    """Ports of a public address go to a guest."""

    __tablename__ = "port_forwarding_rule"
    network_id: Mapped[str] = mapped_column(ForeignKey("network.id"), index=True)
    address_id: Mapped[str] = mapped_column(ForeignKey("public_address.id"), index=True)
    vm_id: Mapped[str] = mapped_column(ForeignKey("vm.id"), index=True)
    vm_address: Mapped[str]
    protocol: Mapped[str] = mapped_column(String(8))
    public_start: Mapped[int]
    public_end: Mapped[int]
    private_start: Mapped[int]
    private_end: Mapped[int]
    state: Mapped[str] = mapped_column(default=RuleState.active)


class BalancerRule(Owned, Base, kw_only=True):
    """A TCP balancer on a public address, for clients within `cidrs`; for all without."""

    __tablename__ = "balancer_rule"
    network_id: Mapped[str] = mapped_column(ForeignKey("network.id"), index=True)
    address_id: Mapped[str] = mapped_column(ForeignKey("public_address.id"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(default="")
    algorithm: Mapped[str] = mapped_column(default="roundrobin")
    cidrs: Mapped[list[str]] = mapped_column(default_factory=list)
    public_port: Mapped[int]
    private_port: Mapped[int]
    state: Mapped[str] = mapped_column(default=RuleState.active)


class BalancerMember(Identified, Base, kw_only=True):
    """A guest behind a balancer."""

    __tablename__ = "balancer_member"
    __table_args__ = (unique_live("rule_id", "vm_id"),)
    rule_id: Mapped[str] = mapped_column(ForeignKey("balancer_rule.id"), index=True)
    vm_id: Mapped[str] = mapped_column(ForeignKey("vm.id"), index=True)
    address: Mapped[str]
