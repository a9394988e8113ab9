"""Names of VMs on their hosts: `i-7-VM` for tenants', `r-`, `v-`, `s-` for system VMs, as in CloudStack."""

from sqlalchemy import BigInteger, String, cast, delete, func, select, update
from sqlalchemy.orm import Session

from mgmt.model.states import VmKind
from mgmt.store.tables import Setting, Vm

_LETTER = {VmKind.user: "i", VmKind.router: "r", VmKind.console: "v", VmKind.storage: "s"}
#: Where the number of the last VM is kept, because counting 25,000 takes PostgreSQL longer than all else.
_LAST = "vm.number"
_NEXT = (
    update(Setting)
    .where(Setting.name == _LAST)
    .values(value=cast(cast(Setting.value, BigInteger) + 1, String))
    .returning(Setting.value)
)


def next_instance_name(session: Session, kind: VmKind) -> str:
    """A name that no VM ever had; whoever asks has the turn to write."""
    number = session.scalar(_NEXT, execution_options={"synchronize_session": False})
    if number is None:  # rows are marked as removed, never deleted, so counting them is enough
        number = str((session.scalar(select(func.count(Vm.id))) or 0) + 1)
        session.add(Setting(name=_LAST, value=number))
        session.flush()
    return f"{_LETTER[kind]}-{number}-VM"


def count_anew(session: Session) -> None:
    """Count the VMs for the next name: for whoever has added rows without asking for names."""
    session.execute(delete(Setting).where(Setting.name == _LAST))
