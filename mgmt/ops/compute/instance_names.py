"""Names of VMs on their hosts: `i-7-VM` for tenants', `r-`, `v-`, `s-` for system VMs, as in CloudStack."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mgmt.model.states import VmKind
from mgmt.store.tables import Vm

_LETTER = {VmKind.user: "i", VmKind.router: "r", VmKind.console: "v", VmKind.storage: "s"}


def next_instance_name(session: Session, kind: VmKind) -> str:
    """A name that no VM ever had: rows are marked as removed, never deleted, so counting them is enough."""
    number = (session.scalar(select(func.count(Vm.id))) or 0) + 1
    return f"{_LETTER[kind]}-{number}-VM"
