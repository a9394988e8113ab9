"""ISOs in the CD drives of VMs: the row says which one, the VM's host follows."""

from mgmt.model.errors import ParameterError
from mgmt.ops.compute.domains import put_as_it_is
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.store.tables import Template, Vm


def attach_iso(runtime: Runtime, saga: Saga, *, vm_id: str, iso_id: str) -> None:
    """Put an ISO into a VM's drive, running or not; one that is in it makes room."""
    _change(runtime, saga, vm_id, iso_id)


def detach_iso(runtime: Runtime, saga: Saga, *, vm_id: str) -> None:
    """Take the ISO out of a VM's drive, also while its guest reads it."""
    _change(runtime, saga, vm_id, None)


def _change(runtime: Runtime, saga: Saga, vm_id: str, iso_id: str | None) -> None:
    with runtime.locks.hold(f"vm:{vm_id}"):
        before: str | None = saga.step("look at the VM's drive", lambda: _iso_of(runtime, vm_id))
        saga.step(
            "choose the ISO",
            lambda: _choose(runtime, vm_id, iso_id),
            undo=lambda _: _put_back(runtime, vm_id, before),
        )
        saga.step("change the medium in the VM's drive", lambda: put_as_it_is(runtime, vm_id))


def _iso_of(runtime: Runtime, vm_id: str) -> str | None:
    with runtime.database.reading() as session:
        return session.get_one(Vm, vm_id).iso_id


def _choose(runtime: Runtime, vm_id: str, iso_id: str | None) -> None:
    with runtime.database.reading() as session:
        iso = session.get_one(Template, iso_id) if iso_id else None
        if iso is not None and iso.removed is not None:
            raise ParameterError(f"ISO {iso.name} was deleted meanwhile: attach another one")
    _set_iso(runtime, vm_id, iso_id)


def _set_iso(runtime: Runtime, vm_id: str, iso_id: str | None) -> None:
    with runtime.database.writing() as session:
        session.get_one(Vm, vm_id).iso_id = iso_id


def _put_back(runtime: Runtime, vm_id: str, iso_id: str | None) -> None:
    _set_iso(runtime, vm_id, iso_id)
    put_as_it_is(runtime, vm_id)
