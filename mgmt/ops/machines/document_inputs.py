"""One consistent look at all rows that a system VM's document is made of."""

from collections import defaultdict

from sqlalchemy import select
from sqlalchemy.orm import Session, load_only

from mgmt.desired import inputs
from mgmt.model.states import AddressState, RuleState, VmKind, VmState
from mgmt.ops.compute.passwords import reveal_password
from mgmt.store.sealing import Seal
from mgmt.store.tables import (
    BalancerMember,
    BalancerRule,
    Domain,
    EgressRule,
    FirewallRule,
    Network,
    NetworkOffering,
    Nic,
    PortForwardingRule,
    PublicAddress,
    ServiceOffering,
    VlanRange,
    Vm,
    Zone,
)

#: VMs in these states are no longer (or not yet again) known to their router.
_UNKNOWN = (VmState.error, VmState.expunging)
#: Names this cloud towards its guests (cloud-init's `cloud-identifier`).
CLOUD_ID = "pileus"
#: What routers are told of a VM: a document is compiled for every change, from as many rows as there are VMs.
_GUEST_COLUMNS = (
    Vm.name,
    Vm.instance_name,
    Vm.public_keys,
    Vm.user_data,
    Vm.user_data_values,
    Vm.password,
    Vm.password_id,
)


def machine_input(vm: Vm) -> inputs.Machine:
    """Who a system VM is, and which generation its document has."""
    return inputs.Machine(id=vm.id, name=vm.name, generation=max(vm.generation, 1))


def links_of(session: Session, vm_id: str) -> tuple[inputs.Link, ...]:
    """NICs of a system VM, in their order."""
    query = select(Nic).where(Nic.vm_id == vm_id, Nic.removed.is_(None)).order_by(Nic.position)
    return tuple(
        inputs.Link(
            mac=nic.mac, purpose=nic.purpose, address=nic.address, netmask=nic.netmask, gateway=nic.gateway
        )
        for nic in session.scalars(query)
    )


def router_input(
    session: Session, seal: Seal, router: Vm, pending: frozenset[str] | None = None
) -> inputs.RouterInput:
    """All of a router's network. Rules in state Add count, or only those whose ids are in `pending`."""
    network = session.get_one(Network, router.network_id)
    addresses = _addresses(session, network.id)
    by_id = {address.id: address.address for address in addresses}
    rules = _Rules(session, network.id, by_id, pending)
    return inputs.RouterInput(
        machine=machine_input(router),
        links=links_of(session, router.id),
        network=_network(session, network),
        cloud_id=CLOUD_ID,
        addresses=addresses,
        guests=_guests(session, seal, network),
        firewall=rules.firewall(),
        egress=rules.egress(),
        forwards=rules.forwards(),
        balancers=rules.balancers(),
    )


def _network(session: Session, network: Network) -> inputs.GuestNetwork:
    zone = session.get_one(Zone, network.zone_id)
    offering = session.get_one(NetworkOffering, network.offering_id)
    return inputs.GuestNetwork(
        id=network.id,
        cidr=network.cidr,
        gateway=network.gateway,
        domain=network.network_domain,
        dns=tuple(address for address in (zone.dns1, zone.dns2) if address),
        egress_allow=offering.egress_default,
    )


def _addresses(session: Session, network_id: str) -> tuple[inputs.PublicAddress, ...]:
    query = (
        select(PublicAddress, VlanRange)
        .join(VlanRange, VlanRange.id == PublicAddress.range_id)
        .where(PublicAddress.network_id == network_id, PublicAddress.state == AddressState.allocated)
        .order_by(PublicAddress.is_source_nat.desc(), PublicAddress.sort)
    )
    return tuple(
        inputs.PublicAddress(
            id=address.id,
            address=address.address,
            netmask=range_.netmask,
            gateway=range_.gateway,
            is_source_nat=address.is_source_nat,
            vm_address=address.vm_address if address.is_static_nat else None,
        )
        for address, range_ in session.execute(query)
    )


def _guests(session: Session, seal: Seal, network: Network) -> tuple[inputs.Guest, ...]:
    query = (
        select(Nic, Vm, ServiceOffering.name, Zone.name, Domain)
        .join(Vm, Vm.id == Nic.vm_id)
        .join(ServiceOffering, ServiceOffering.id == Vm.offering_id)
        .join(Zone, Zone.id == Vm.zone_id)
        .join(Domain, Domain.id == Vm.domain_id)
        .where(
            Nic.network_id == network.id,
            Nic.removed.is_(None),
            Vm.removed.is_(None),
            Vm.kind == VmKind.user,
            Vm.state.not_in(_UNKNOWN),
        )
        .order_by(Nic.created, Nic.id)
        .options(load_only(*_GUEST_COLUMNS), load_only(Nic.mac, Nic.address, Nic.is_default))
    )
    return tuple(
        inputs.Guest(
            vm_id=vm.id,
            hostname=vm.name,
            mac=nic.mac,
            address=nic.address or "",
            is_default=nic.is_default,
            offering=offering,
            zone=zone,
            instance_name=vm.instance_name,
            cloud_domain=domain.path,
            cloud_domain_id=domain.id,
            public_keys=tuple(vm.public_keys),
            user_data=vm.user_data,
            variables=vm.user_data_values,
            password_id=vm.password_id,
            password=reveal_password(vm, seal),
        )
        for nic, vm, offering, zone, domain in session.execute(query)
    )


class _Rules:
    """The rules of one network, as the document's inputs."""

    def __init__(
        self, session: Session, network_id: str, addresses: dict[str, str], pending: frozenset[str] | None
    ) -> None:
        self._session = session
        self._network_id = network_id
        self._addresses = addresses
        self._pending = pending

    def firewall(self) -> tuple[inputs.Firewall, ...]:
        query = select(FirewallRule).where(
            FirewallRule.network_id == self._network_id, FirewallRule.removed.is_(None)
        )
        return tuple(
            inputs.Firewall(
                id=rule.id,
                public=self._addresses[rule.address_id],
                protocol=rule.protocol.lower(),
                cidrs=tuple(rule.cidrs),
                start_port=rule.start_port,
                end_port=rule.end_port,
                icmp_type=rule.icmp_type,
                icmp_code=rule.icmp_code,
            )
            for rule in self._session.scalars(query.order_by(FirewallRule.created, FirewallRule.id))
            if self._counts(rule.id, rule.state, rule.address_id)
        )

    def egress(self) -> tuple[inputs.Egress, ...]:
        query = select(EgressRule).where(
            EgressRule.network_id == self._network_id, EgressRule.removed.is_(None)
        )
        return tuple(
            inputs.Egress(
                id=rule.id,
                protocol=rule.protocol.lower(),
                cidrs=tuple(rule.cidrs),
                destinations=tuple(rule.destinations),
                start_port=rule.start_port,
                end_port=rule.end_port,
                icmp_type=rule.icmp_type,
                icmp_code=rule.icmp_code,
            )
            for rule in self._session.scalars(query.order_by(EgressRule.created, EgressRule.id))
            if self._counts(rule.id, rule.state)
        )

    def forwards(self) -> tuple[inputs.Forward, ...]:
        table = PortForwardingRule
        query = select(table).where(table.network_id == self._network_id, table.removed.is_(None))
        return tuple(
            inputs.Forward(
                id=rule.id,
                public=self._addresses[rule.address_id],
                protocol=rule.protocol.lower(),
                public_start=rule.public_start,
                public_end=rule.public_end,
                private=rule.vm_address,
                private_start=rule.private_start,
                private_end=rule.private_end,
            )
            for rule in self._session.scalars(query.order_by(table.created, table.id))
            if self._counts(rule.id, rule.state, rule.address_id)
        )

    def balancers(self) -> tuple[inputs.Balancer, ...]:
        table = BalancerRule
        query = select(table).where(table.network_id == self._network_id, table.removed.is_(None))
        members = self._members()
        return tuple(
            inputs.Balancer(
                id=rule.id,
                public=self._addresses[rule.address_id],
                public_port=rule.public_port,
                private_port=rule.private_port,
                algorithm=rule.algorithm,
                cidrs=tuple(rule.cidrs),
                members=tuple(members[rule.id]),
            )
            for rule in self._session.scalars(query.order_by(table.created, table.id))
            if self._counts(rule.id, rule.state, rule.address_id)
        )

    def _members(self) -> defaultdict[str, list[tuple[str, str]]]:
        query = (
            select(BalancerMember)
            .join(BalancerRule, BalancerRule.id == BalancerMember.rule_id)
            .where(BalancerRule.network_id == self._network_id, BalancerMember.removed.is_(None))
            .order_by(BalancerMember.created, BalancerMember.id)
        )
        found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for member in self._session.scalars(query):
            found[member.rule_id].append((member.id, member.address))
        return found

    def _counts(self, rule_id: str, state: str, address_id: str | None = None) -> bool:
        if address_id is not None and address_id not in self._addresses:
            return False  # the address is being released, its rules go with it
        if state == RuleState.add:
            return self._pending is None or rule_id in self._pending
        return state == RuleState.active
