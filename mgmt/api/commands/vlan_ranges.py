"""Ranges of public addresses: one row of `public_address` for each."""

import re
from typing import Annotated, Any

from sqlalchemy import Select, select

from mgmt.api.absent import Ip6
from mgmt.api.access import ROOT, Ref
from mgmt.api.addresses import AddressRange, read_range
from mgmt.api.call import Call
from mgmt.api.commands.pods import check_no_overlap
from mgmt.api.lists import AllAre, Equals, ListCommand
from mgmt.api.params import Unsupported, wrong_value
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.infra import VLAN_RANGE
from mgmt.model.errors import InUse, MissingParameter, ParameterError
from mgmt.model.states import AddressState
from mgmt.store.tables import (
    Account,
    Domain,
    Network,
    PhysicalNetwork,
    Pod,
    Project,
    PublicAddress,
    VlanRange,
    Zone,
)

UNTAGGED = "vlan://untagged"
VLAN_ID = re.compile(r"^(?:vlan://)?(\d{1,4})$")
MOST_VLAN = 4094
AccountName = Annotated[str | None, "the account of that domain it is for alone"]
OfProject = Annotated[str | None, Ref(Project), "the project it is for alone, instead of an account"]


class ListVlanIpRanges(ListCommand, kw_only=True, frozen=True):
    """Lists the ranges of public addresses."""

    spec = Spec(answer=VLAN_RANGE, access=ROOT, key="vlaniprange")

    zoneid: Annotated[str | None, Ref(Zone), Equals(VlanRange.zone_id)] = None
    physicalnetworkid: Annotated[str | None, Ref(PhysicalNetwork), Equals(VlanRange.physical_network_id)] = (
        None
    )
    vlan: Annotated[str | None, "the VLAN of the range", Equals(VlanRange.vlan)] = None
    domainid: Annotated[str | None, Ref(Domain), Equals(VlanRange.domain_id)] = None
    account: Annotated[str | None, "list only those for the account of this name"] = None
    projectid: Annotated[str | None, Ref(Project)] = None
    forvirtualnetwork: Annotated[bool | None, "false for those of shared networks: none", AllAre(True)] = None
    networkid: Annotated[str | None, Ref(Network), "of this shared network: none", AllAre(None)] = None
    podid: Annotated[str | None, Ref(Pod), "of this pod's guests: none", AllAre(None)] = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Those that an account or a project has alone."""
        if self.account is not None:
            named = select(Account.id).where(Account.name == self.account, Account.removed.is_(None))
            query = query.where(VlanRange.account_id.in_(named))
        if self.projectid is not None:
            query = query.where(VlanRange.account_id == call.row(Project, self.projectid).account_id)
        return query


class CreateVlanIpRange(SyncCommand, kw_only=True, frozen=True):
    """Creates a range of public addresses; for everybody, or for one domain, account or project alone."""

    spec = Spec(answer=VLAN_RANGE, access=ROOT, event="VLAN.IP.RANGE.CREATE")

    startip: Annotated[str, "the first address"]
    gateway: Annotated[str | None, "the gateway of the public network"] = None
    netmask: Annotated[str | None, "the netmask of the public network"] = None
    endip: Annotated[str | None, "the last address"] = None
    zoneid: Annotated[str | None, Ref(Zone)] = None
    physicalnetworkid: Annotated[str | None, Ref(PhysicalNetwork)] = None
    vlan: Annotated[str | None, "the VLAN of the range; untagged"] = None
    forvirtualnetwork: Annotated[bool, "true for public addresses of isolated networks"] = True
    domainid: Annotated[str | None, Ref(Domain), "the domain it is for, with those below"] = None
    account: AccountName = None
    projectid: OfProject = None
    startipv6: Ip6 = None
    endipv6: Ip6 = None
    ip6cidr: Ip6 = None
    ip6gateway: Ip6 = None
    networkid: Annotated[str | None, Unsupported("ranges are of public addresses")] = None
    podid: Annotated[str | None, Unsupported("ranges are of public addresses")] = None
    forsystemvms: Annotated[bool, Unsupported("system VMs take free addresses of any range")] = False

    def run(self, call: Call) -> VlanRange:
        """Check the range against all others; insert it and its addresses."""
        if not self.forvirtualnetwork:
            raise ParameterError("Only ranges for virtual networks are supported; set forvirtualnetwork=true")
        for name, value in (("gateway", self.gateway), ("netmask", self.netmask)):
            if not value:
                text = f"Unable to execute API command createvlaniprange due to missing parameter {name}"
                raise MissingParameter(text)
        physical = self._physical_network(call)
        wanted = read_range(str(self.gateway), str(self.netmask), self.startip, self.endip)
        check_no_overlap(call.session, physical.zone_id, wanted)
        domain, owner = beneficiary(call, self.domainid, self.account, self.projectid)
        row = VlanRange(
            zone_id=physical.zone_id,
            physical_network_id=physical.id,
            vlan=read_vlan(self.vlan),
            gateway=str(wanted.gateway),
            netmask=str(wanted.network.netmask),
            start_ip=str(wanted.start),
            end_ip=str(wanted.end),
            domain_id=domain.id if domain else None,
            account_id=owner.id if owner else None,
        )
        call.session.add(row)
        call.session.flush()
        call.session.add_all(public_addresses(row, wanted))
        return row

    def _physical_network(self, call: Call) -> PhysicalNetwork:
        named = call.row_or_none(PhysicalNetwork, self.physicalnetworkid)
        if named is not None:
            if self.zoneid and named.zone_id != self.zoneid:
                raise ParameterError(f"Physical network {named.name} is not in zone {self.zoneid}")
            return named
        if self.zoneid is None:
            text = "Unable to execute API command createvlaniprange due to missing parameter zoneid"
            raise MissingParameter(text)
        query = select(PhysicalNetwork).where(
            PhysicalNetwork.zone_id == self.zoneid, PhysicalNetwork.removed.is_(None)
        )
        found = call.session.scalars(query).first()
        if found is None:
            raise ParameterError(f"Zone {self.zoneid} has no physical network; create one first")
        return found


class DeleteVlanIpRange(SyncCommand, kw_only=True, frozen=True):
    """Deletes a range of public addresses, none of which is in use."""

    spec = Spec(access=ROOT, event="VLAN.IP.RANGE.DELETE")

    id: Annotated[str, Ref(VlanRange)]

    def run(self, call: Call) -> Response:
        """Refuse while an address is in use; the addresses go with the range."""
        row = call.row(VlanRange, self.id)
        query = select(PublicAddress).where(PublicAddress.range_id == row.id, PublicAddress.removed.is_(None))
        addresses = call.session.scalars(query).all()
        used = [item.address for item in addresses if item.state != AddressState.free]
        if used:
            raise InUse(f"Addresses {', '.join(used[:5])} of this range are in use; release them first")
        for address in addresses:
            address.removed = call.now()
        row.removed = call.now()
        return DONE


def beneficiary(
    call: Call, domain_id: str | None, account: str | None, project_id: str | None
) -> tuple[Domain | None, Account | None]:
    """Whom a range is for: a domain, one account of it, or a project's account. Raises ParameterError."""
    project = call.row_or_none(Project, project_id)
    if project is not None:
        if account is not None:
            raise ParameterError(f"Send account or projectid ({project.name}), not both")
        return call.session.get_one(Domain, project.domain_id), call.session.get_one(
            Account, project.account_id
        )
    domain = call.row_or_none(Domain, domain_id)
    if account is None:
        return domain, None
    if domain is None:
        raise ParameterError(f"Send domainid with account {account}: names of accounts are those of a domain")
    query = select(Account).where(
        Account.name == account, Account.domain_id == domain.id, Account.removed.is_(None)
    )
    found = call.session.scalar(query)
    if found is None:
        raise wrong_value("account", account, f"the name of an account in domain {domain.name}")
    return domain, found


def read_vlan(text: str | None) -> str:
    """`vlan://<id>` or `vlan://untagged`. Raises `ParameterError`."""
    if not text or text.lower() in ("untagged", UNTAGGED):
        return UNTAGGED
    found = VLAN_ID.match(text.lower())
    if not found or not 1 <= int(found[1]) <= MOST_VLAN:
        raise wrong_value("vlan", text, f"untagged, or a VLAN id in 1-{MOST_VLAN}")
    return f"vlan://{int(found[1])}"


def public_addresses(row: VlanRange, wanted: AddressRange) -> list[PublicAddress]:
    """The rows of a range's addresses."""
    return [
        PublicAddress(zone_id=row.zone_id, range_id=row.id, address=str(address), sort=int(address))
        for address in wanted.addresses()
    ]
