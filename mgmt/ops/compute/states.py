"""Small changes of VM rows."""

from typing import Any

from sqlalchemy.orm import Session

from mgmt.alloc.counted import set_vm_state
from mgmt.ops.runtime import Runtime
from mgmt.store.tables import Vm


def set_vm(runtime: Runtime, vm_id: str, **columns: Any) -> None:
    """Change columns of a VM in a transaction of its own."""
    with runtime.database.writing() as session:
        change_vm(session, vm_id, **columns)


def change_vm(session: Session, vm_id: str, **columns: Any) -> None:
    """Change columns of a VM."""
    vm = session.get_one(Vm, vm_id)
    for name, value in columns.items():
        if not hasattr(vm, name):
            raise AttributeError(f"VMs have no {name}")
        if name == "state":
            set_vm_state(session, vm, value)
        else:
            setattr(vm, name, value)


def read_vm(runtime: Runtime, vm_id: str) -> Vm:
    """A detached copy of a VM's row."""
    with runtime.database.reading() as session:
        return session.get_one(Vm, vm_id)
