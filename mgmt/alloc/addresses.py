"""Public addresses: each belongs to one owner at most, also when two ask in the same moment."""

from collections.abc import Mapping

from sqlalchemy import ColumnElement, CursorResult, and_, func, or_, select, update
from sqlalchemy.orm import Session

from mgmt.alloc import limits
from mgmt.model.errors import NoCapacity, ParameterError
from mgmt.model.resources import ResourceType
from mgmt.model.states import AddressState
from mgmt.store.tables import Account, Domain, Network, PublicAddress, VlanRange, Vm
from mgmt.store.usage import note_usage


def claim(
    session: Session, *, network: Network, address: str | None = None, is_source_nat: bool = False
) -> PublicAddress:
    """Take the lowest free address of the network's zone, or `address`, for the network's owner.

    Raises NoCapacity when none is left, ParameterError when the wanted one is taken or unknown, LimitReached
    when the owner has enough.
    """
    limits.reserve(session, session.get_one(Account, network.account_id), ResourceType.public_ip)
    owner = {
        "account_id": network.account_id,
        "domain_id": network.domain_id,
        "network_id": network.id,
        "is_source_nat": is_source_nat,
    }
    return _claim(session, network.zone_id, owner, address)


def claim_for_machine(session: Session, vm: Vm) -> PublicAddress:
    """Take the lowest free address for a console proxy or storage VM. Raises NoCapacity."""
    owner = {"account_id": vm.account_id, "domain_id": vm.domain_id, "vm_id": vm.id, "is_system": True}
    return _claim(session, vm.zone_id, owner, None)


def release(session: Session, address: PublicAddress) -> None:
    """Give an address back to its zone; one that is free already stays as it is."""
    if address.state != AddressState.free and address.account_id and not address.is_system:
        limits.release(session, session.get_one(Account, address.account_id), ResourceType.public_ip)
    address.state = AddressState.free
    address.account_id = address.domain_id = address.network_id = None
    address.vm_id = address.vm_address = None
    address.is_source_nat = address.is_static_nat = address.is_system = False


def _claim(session: Session, zone_id: str, owner: Mapping[str, object], wanted: str | None) -> PublicAddress:
    query = (
        select(PublicAddress.id)
        .join(VlanRange, VlanRange.id == PublicAddress.range_id)
        .where(
            PublicAddress.zone_id == zone_id,
            PublicAddress.removed.is_(None),
            PublicAddress.state == AddressState.free,
            _may_use(owner),
        )
        .order_by(VlanRange.domain_id.is_(None), PublicAddress.sort)  # from a range of the owner's own first
    )
    if wanted is not None:
        query = query.where(PublicAddress.address == wanted)
    while (candidate := session.scalar(query.limit(1))) is not None:
        if _take(session, candidate, owner):
            taken = session.get_one(PublicAddress, candidate, populate_existing=True)
            note_usage(session, taken)
            return taken
    if wanted is not None:
        raise ParameterError(f"public IP address {wanted} is not free in this zone: choose another")
    raise NoCapacity("the zone has no free public IP address: release one, or add a range")


def _may_use(owner: Mapping[str, object]) -> ColumnElement[bool]:
    """Whether a range is dedicated to nobody, or to the owner, or to a domain that the owner is in."""
    path = select(Domain.path).where(Domain.id == owner["domain_id"]).scalar_subquery()
    around = select(Domain.id).where(func.substr(path, 1, func.length(Domain.path)) == Domain.path)
    is_theirs = or_(VlanRange.account_id.is_(None), VlanRange.account_id == owner["account_id"])
    return or_(VlanRange.domain_id.is_(None), and_(VlanRange.domain_id.in_(around), is_theirs))


def _take(session: Session, address_id: str, owner: Mapping[str, object]) -> bool:
    """One conditional UPDATE: whoever sees a changed row has the address, the other looks on."""
    statement = (
        update(PublicAddress)
        .where(PublicAddress.id == address_id, PublicAddress.state == AddressState.free)
        .values(state=AddressState.allocated, **owner)
    )
    result = session.execute(statement, execution_options={"synchronize_session": False})
    return isinstance(result, CursorResult) and result.rowcount == 1
