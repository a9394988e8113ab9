"""Zones."""

import re
from typing import Annotated, Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from mgmt.api.absent import Ip6, SortKey
from mgmt.api.access import EVERYONE, ROOT, Ref
from mgmt.api.addresses import read_address, read_network
from mgmt.api.call import Call
from mgmt.api.commands.capacity import ListWithCapacities
from mgmt.api.lists import Equals, tagged
from mgmt.api.params import Unsupported, wrong_value
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.infra import ZONE
from mgmt.model.errors import InUse, ParameterError
from mgmt.model.states import Allocation, VmKind
from mgmt.ops.machines.documents import touch_zone, zone_resolvers
from mgmt.store.tables import Dedication, Domain, Host, Network, Pod, Vm, Zone

DOMAIN_NAME = re.compile(
    r"^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$", re.I
)
LARGEST_PREFIX = 29
"""A guest network needs a router and a few guests."""


class ListZones(ListWithCapacities, kw_only=True, frozen=True):
    """Lists zones."""

    spec = Spec(answer=ZONE, access=EVERYONE)
    searched = (Zone.name,)
    place = "zone_id"

    name: Annotated[str | None, Equals(Zone.name)] = None
    networktype: Annotated[str | None, "the kind of network: Advanced", Equals(Zone.network_type)] = None
    available: Annotated[bool, "true: only zones in which VMs can be deployed"] = False
    domainid: Annotated[
        str | None, Ref(Domain, use=True), "list only what is dedicated to this domain or an account of it"
    ] = None
    tags: Annotated[dict[str, str] | None, "list only what has all these tags"] = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Show disabled zones to the root administrator only."""
        query = tagged(query, Zone.id, "Zone", self.tags)
        if self.domainid is not None:
            own = select(Dedication.resource_id).where(
                Dedication.domain_id == self.domainid, Dedication.removed.is_(None)
            )
            query = query.where(Zone.id.in_(own))
        if self.available or not call.caller.is_root:
            return query.where(Zone.allocation == Allocation.enabled)
        return query


class CreateZone(SyncCommand, kw_only=True, frozen=True):
    """Creates a zone."""

    spec = Spec(answer=ZONE, access=ROOT, event="ZONE.CREATE")

    name: str
    networktype: Annotated[str, "the kind of network: Advanced"]
    dns1: Annotated[str, "the first DNS server for guests"]
    internaldns1: Annotated[str, "the first DNS server for system VMs"]
    dns2: Annotated[str | None, "the second DNS server for guests"] = None
    internaldns2: Annotated[str | None, "the second DNS server for system VMs"] = None
    guestcidraddress: Annotated[str | None, "the CIDR guest networks get by default"] = None
    domain: Annotated[str | None, "the DNS domain of the zone's networks"] = None
    localstorageenabled: Annotated[bool, "true if system VMs and VMs use the hosts' own disks"] = True
    securitygroupenabled: Annotated[bool, "true for security groups; not supported"] = False
    allocationstate: Annotated[str, "Enabled or Disabled"] = Allocation.disabled
    domainid: Annotated[str | None, Unsupported("dedicateZone gives a zone to a domain")] = None
    ip6dns1: Ip6 = None
    ip6dns2: Ip6 = None

    def run(self, call: Call) -> Zone:
        """Check and insert."""
        if self.networktype != "Advanced":
            raise wrong_value("networktype", self.networktype, "Advanced, the only kind supported")
        if self.securitygroupenabled:
            raise ParameterError(
                "Zones with security groups are not supported; leave securitygroupenabled away"
            )
        _check_name_free(call.session, self.name)
        zone = Zone(
            name=self.name,
            dns1=_dns("dns1", self.dns1),
            dns2=_dns("dns2", self.dns2) if self.dns2 else None,
            internal_dns1=_dns("internaldns1", self.internaldns1),
            internal_dns2=_dns("internaldns2", self.internaldns2) if self.internaldns2 else None,
            network_domain=read_domain_name("domain", self.domain),
            local_storage=self.localstorageenabled,
            allocation=read_allocation(self.allocationstate),
        )
        if self.guestcidraddress:
            zone.guest_cidr = read_guest_cidr("guestcidraddress", self.guestcidraddress)
        call.session.add(zone)
        return zone


class UpdateZone(SyncCommand, kw_only=True, frozen=True):
    """Updates a zone."""

    spec = Spec(answer=ZONE, access=ROOT, event="ZONE.EDIT", wakes=True)

    id: Annotated[str, Ref(Zone)]
    name: str | None = None
    dns1: Annotated[str | None, "the first DNS server for guests"] = None
    dns2: Annotated[str | None, "the second DNS server for guests; empty for none"] = None
    internaldns1: Annotated[str | None, "the first DNS server for system VMs"] = None
    internaldns2: Annotated[str | None, "the second DNS server for system VMs; empty for none"] = None
    guestcidraddress: Annotated[str | None, "the CIDR guest networks get by default"] = None
    domain: Annotated[str | None, "the DNS domain of the zone's networks; empty for none"] = None
    localstorageenabled: Annotated[bool | None, "true if VMs use the hosts' own disks"] = None
    allocationstate: Annotated[str | None, "Enabled or Disabled"] = None
    ispublic: Annotated[bool, Unsupported("dedicateZone and releaseDedicatedZone say who may use it")] = False
    ip6dns1: Ip6 = None
    ip6dns2: Ip6 = None
    dnssearchorder: Annotated[list[str] | None, Unsupported("a network has one DNS domain")] = None
    sortkey: SortKey = None

    def run(self, call: Call) -> Zone:
        """Check and change what was sent."""
        zone = call.row(Zone, self.id)
        if self.name and self.name != zone.name:
            _check_name_free(call.session, self.name)
            zone.name = self.name
        before, asked_before = (zone.dns1, zone.dns2), zone_resolvers(zone)
        self._change_dns(zone)
        if (zone.dns1, zone.dns2) != before:
            touch_zone(call.session, zone.id, VmKind.router)
        if zone_resolvers(zone) != asked_before:
            for kind in (VmKind.storage, VmKind.console):
                touch_zone(call.session, zone.id, kind)
        if self.guestcidraddress:
            zone.guest_cidr = read_guest_cidr("guestcidraddress", self.guestcidraddress)
        if self.domain is not None:
            zone.network_domain = read_domain_name("domain", self.domain)
        if self.localstorageenabled is not None:
            zone.local_storage = self.localstorageenabled
        if self.allocationstate:
            zone.allocation = read_allocation(self.allocationstate)
        return zone

    def _change_dns(self, zone: Zone) -> None:
        if self.dns1:
            zone.dns1 = _dns("dns1", self.dns1)
        if self.internaldns1:
            zone.internal_dns1 = _dns("internaldns1", self.internaldns1)
        if self.dns2 is not None:
            zone.dns2 = _dns("dns2", self.dns2) if self.dns2 else None
        if self.internaldns2 is not None:
            zone.internal_dns2 = _dns("internaldns2", self.internaldns2) if self.internaldns2 else None


class DeleteZone(SyncCommand, kw_only=True, frozen=True):
    """Deletes a zone that has nothing in it."""

    spec = Spec(access=ROOT, event="ZONE.DELETE")

    id: Annotated[str, Ref(Zone)]

    def run(self, call: Call) -> Response:
        """Refuse while anything stands in it."""
        zone = call.row(Zone, self.id)
        for table, word in ((Pod, "pods"), (Host, "hosts"), (Network, "networks"), (Vm, "VMs")):
            refuse_if_used(call.session, table, table.zone_id == zone.id, f"Zone {zone.name}", word)
        zone.removed = call.now()
        return DONE


def refuse_if_used(
    session: Session, table: Any, condition: Any, item: str, word: str, advice: str = "delete them first"
) -> None:
    """Raise `InUse` if a live row of the table meets the condition; `advice` says what to do then."""
    if session.scalar(select(table.id).where(condition, table.removed.is_(None)).limit(1)):
        raise InUse(f"{item} still has {word}; {advice}")


def read_allocation(text: str) -> Allocation:
    """`Enabled` or `Disabled`. Raises `ParameterError`."""
    try:
        return Allocation(text.capitalize())
    except ValueError as error:
        raise wrong_value("allocationstate", text, "Enabled or Disabled") from error


def read_domain_name(name: str, text: str | None) -> str | None:
    """A DNS domain name, None for nothing. Raises `ParameterError`."""
    if not text:
        return None
    if not DOMAIN_NAME.match(text):
        raise wrong_value(name, text, "a DNS domain name, as cloud.example.org")
    return text.lower()


def read_guest_cidr(name: str, text: str) -> str:
    """A private network big enough for guests. Raises `ParameterError`."""
    network = read_network(name, text)
    if not network.is_private or network.is_loopback or network.is_link_local:
        raise wrong_value(name, text, "a private network (in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16)")
    if network.prefixlen > LARGEST_PREFIX:
        raise wrong_value(name, text, f"a network of prefix length {LARGEST_PREFIX} or shorter")
    return str(network)


def _dns(name: str, text: str) -> str:
    return str(read_address(name, text))


def _check_name_free(session: Session, name: str) -> None:
    if session.scalar(select(Zone.id).where(Zone.name == name, Zone.removed.is_(None))):
        raise ParameterError(f"A zone with name {name} already exists; choose another name")
