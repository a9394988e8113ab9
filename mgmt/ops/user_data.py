"""User data of VMs: as it was given, or a copy of what is registered under a name."""

from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.ops.documents import touch_router
from mgmt.store.tables import Nic, Vm


@dataclass(frozen=True)
class UserDataChoice:
    """User data (base64), the registered object it is from, and the values of its variables."""

    data: str = field(repr=False)
    registered_id: str | None = None
    values: dict[str, str] = field(default_factory=dict, repr=False)


def give_user_data(session: Session, vm: Vm, choice: UserDataChoice) -> None:
    """Give a VM this user data; its routers need another document then."""
    vm.user_data = choice.data
    vm.user_data_id = choice.registered_id
    vm.user_data_values = dict(choice.values)
    touch_routers_of(session, vm)


def touch_routers_of(session: Session, vm: Vm) -> None:
    """Note that the routers of a VM's networks need another document."""
    networks = select(Nic.network_id).where(
        Nic.vm_id == vm.id, Nic.removed.is_(None), Nic.network_id.is_not(None)
    )
    for network_id in session.scalars(networks).all():
        if network_id is not None:
            touch_router(session, network_id)
