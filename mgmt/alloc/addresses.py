"""Public addresses: each belongs to one owner at most, also when two ask in the same moment."""

from collections.abc import Mapping

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from mgmt.alloc import limits
from mgmt.model.errors import NoCapacity, ParameterError
from mgmt.model.resources import ResourceType
from mgmt.model.states import AddressState
from mgmt.store.tables import Account, Network, PublicAddress, Vm


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
    query = select(PublicAddress.id).where(
        PublicAddress.zone_id == zone_id,
        PublicAddress.removed.is_(None),
        PublicAddress.state == AddressState.free,
    )
    if wanted is not None:
        query = query.where(PublicAddress.address == wanted)
    while (candidate := session.scalar(query.order_by(PublicAddress.sort).limit(1))) is not None:
        if _take(session, candidate, owner):
            return session.get_one(PublicAddress, candidate, populate_existing=True)
    if wanted is not None:
        raise ParameterError(f"public IP address {wanted} is not free in this zone: choose another")
    raise NoCapacity("the zone has no free public IP address: release one, or add a range")


def _take(session: Session, address_id: str, owner: Mapping[str, object]) -> bool:
    """One conditional UPDATE: whoever sees a changed row has the address, the other looks on."""
    statement = (
        update(PublicAddress)
        .where(PublicAddress.id == address_id, PublicAddress.state == AddressState.free)
        .values(state=AddressState.allocated, **owner)
    )
    result = session.execute(statement, execution_options={"synchronize_session": False})
    return isinstance(result, CursorResult) and result.rowcount == 1
