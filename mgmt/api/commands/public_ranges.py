"""Ranges of public addresses: changed, given to one domain or account alone, and taken back."""

from ipaddress import IPv4Address
from typing import Annotated

from sqlalchemy import select

from mgmt.api.access import ROOT, Ref
from mgmt.api.addresses import AddressRange, read_range
from mgmt.api.call import Call
from mgmt.api.commands.pods import check_no_overlap
from mgmt.api.commands.vlan_ranges import AccountName, OfProject, beneficiary, public_addresses
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.infra import VLAN_RANGE
from mgmt.model.errors import InUse, ParameterError
from mgmt.model.states import AddressState
from mgmt.store.tables import Domain, PublicAddress, VlanRange


class UpdateVlanIpRange(SyncCommand, kw_only=True, frozen=True):
    """Changes a range of public addresses; addresses that leave it must be free."""

    spec = Spec(answer=VLAN_RANGE, access=ROOT, event="VLAN.IP.RANGE.UPDATE")

    id: Annotated[str, Ref(VlanRange)]
    startip: Annotated[str | None, "the first address"] = None
    endip: Annotated[str | None, "the last address"] = None
    gateway: Annotated[str | None, "the gateway; only while all addresses are free"] = None
    netmask: Annotated[str | None, "the netmask; only while all addresses are free"] = None

    def run(self, call: Call) -> VlanRange:
        """Check the new range against all others; add and remove addresses."""
        row = call.row(VlanRange, self.id)
        wanted = read_range(
            self.gateway or row.gateway,
            self.netmask or row.netmask,
            self.startip or row.start_ip,
            self.endip or row.end_ip,
        )
        check_no_overlap(call.session, row.zone_id, wanted, but=row.id)
        query = select(PublicAddress).where(PublicAddress.range_id == row.id, PublicAddress.removed.is_(None))
        rows = list(call.session.scalars(query))
        self._check_used(row, wanted, [item for item in rows if item.state != AddressState.free])
        for item in rows:
            if not wanted.start <= IPv4Address(item.address) <= wanted.end:
                item.removed = call.now()
        there = {item.address for item in rows}
        row.gateway, row.netmask = str(wanted.gateway), str(wanted.network.netmask)
        row.start_ip, row.end_ip = str(wanted.start), str(wanted.end)
        call.session.add_all(item for item in public_addresses(row, wanted) if item.address not in there)
        return row

    def _check_used(self, row: VlanRange, wanted: AddressRange, used: list[PublicAddress]) -> None:
        outside = [
            item.address for item in used if not wanted.start <= IPv4Address(item.address) <= wanted.end
        ]
        if outside:
            raise InUse(f"Addresses {', '.join(outside[:5])} are in use; keep them in, or release them")
        moved = (str(wanted.gateway), str(wanted.network.netmask)) != (row.gateway, row.netmask)
        if moved and used:
            raise InUse(f"Address {used[0].address} is in use; gateway and netmask cannot change")


class DedicatePublicIpRange(SyncCommand, kw_only=True, frozen=True):
    """Gives a range of public addresses to one domain, or to one account or project of it, alone."""

    spec = Spec(answer=VLAN_RANGE, access=ROOT, event="VLAN.IP.RANGE.DEDICATE")

    id: Annotated[str, Ref(VlanRange)]
    domainid: Annotated[str, Ref(Domain), "the domain it is for, with those below"]
    account: AccountName = None
    projectid: OfProject = None

    def run(self, call: Call) -> VlanRange:
        """Nobody else may have an address of it."""
        row = call.row(VlanRange, self.id)
        if row.domain_id is not None:
            raise ParameterError(f"Range {row.start_ip}-{row.end_ip} is dedicated already; release it first")
        domain, owner = beneficiary(call, self.domainid, self.account, self.projectid)
        assert domain is not None  # noqa: S101 (the parameter is required; this tells the type checker)
        for address in self._used(call, row):
            theirs = call.session.get_one(Domain, address.domain_id)
            is_ours = address.account_id == owner.id if owner else theirs.path.startswith(domain.path)
            if not is_ours:
                raise InUse(f"Address {address.address} of this range is somebody else's; release it first")
        row.domain_id, row.account_id = domain.id, owner.id if owner else None
        return row

    def _used(self, call: Call, row: VlanRange) -> list[PublicAddress]:
        query = select(PublicAddress).where(
            PublicAddress.range_id == row.id,
            PublicAddress.removed.is_(None),
            PublicAddress.domain_id.is_not(None),
        )
        return list(call.session.scalars(query))


class ReleasePublicIpRange(SyncCommand, kw_only=True, frozen=True):
    """Lets everybody use a dedicated range of public addresses again."""

    spec = Spec(access=ROOT, event="VLAN.IP.RANGE.RELEASE")

    id: Annotated[str, Ref(VlanRange)]

    def run(self, call: Call) -> Response:
        """Addresses that are in use stay with their owners."""
        row = call.row(VlanRange, self.id)
        if row.domain_id is None:
            raise ParameterError(f"Range {row.start_ip}-{row.end_ip} is not dedicated to anybody")
        row.domain_id = row.account_id = None
        return DONE
