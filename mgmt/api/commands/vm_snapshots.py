"""VM snapshots: all disks of a VM at one moment, and its memory if wanted."""

from typing import Annotated

from sqlalchemy import select

from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.lists import Equals, OwnedListCommand
from mgmt.api.params import unknown_entity
from mgmt.api.registry import AsyncCommand, Spec, Success
from mgmt.api.responses.virtual_machines import VIRTUAL_MACHINE
from mgmt.api.responses.vm_snapshots import VM_SNAPSHOT
from mgmt.api.user_vms import KIND, must_be, user_vm
from mgmt.model.configuration import VM_SNAPSHOT_MAX
from mgmt.model.errors import ParameterError, Unavailable
from mgmt.model.states import VmSnapshotKind, VmSnapshotState, VmState, VolumeState
from mgmt.ops import names
from mgmt.ops.compute.vm_snapshots import snapshots_of
from mgmt.store.configured import configured
from mgmt.store.tables import Job, Vm, VmSnapshot, Volume

BUSY = (VmSnapshotState.creating, VmSnapshotState.reverting, VmSnapshotState.expunging)


class ListVMSnapshot(OwnedListCommand, kw_only=True, frozen=True):
    """Lists VM snapshots."""

    spec = Spec(answer=VM_SNAPSHOT, access=EVERYONE, key="vmSnapshot")
    searched = (VmSnapshot.name, VmSnapshot.display_name, VmSnapshot.description)
    tag_type = "VMSnapshot"

    vmsnapshotid: Annotated[
        str | None, "the ID of the VM snapshot", Ref(VmSnapshot, use=True), Equals(VmSnapshot.id)
    ] = None
    vmsnapshotids: Annotated[
        list[str] | None, "IDs of VM snapshots", Ref(VmSnapshot, use=True), Equals(VmSnapshot.id)
    ] = None
    virtualmachineid: Annotated[str | None, Ref(Vm), Equals(VmSnapshot.vm_id)] = None
    name: Annotated[str | None, "the name its owner gave it", Equals(VmSnapshot.display_name)] = None
    state: Annotated[str | None, Equals(VmSnapshot.state)] = None


class CreateVMSnapshot(AsyncCommand, kw_only=True, frozen=True):
    """Makes a snapshot of a virtual machine's disks, and of its memory if wanted."""

    spec = Spec(answer=VM_SNAPSHOT, access=EVERYONE, event="VMSNAPSHOT.CREATE")
    creates = True

    virtualmachineid: Annotated[str, Ref(Vm)]
    name: Annotated[str | None, "its name, one of its own among the VM's snapshots"] = None
    description: Annotated[str | None, "a description"] = None
    snapshotmemory: Annotated[bool, "true: keep the memory of the running VM too"] = False
    quiescevm: Annotated[bool, "true is refused: guests have no agent that could do it"] = False

    def run(self, call: Call) -> Job:
        """Check and insert."""
        vm = user_vm(call, self.virtualmachineid, "virtualmachineid")
        must_be(vm, "kept in a snapshot", VmState.running, VmState.stopped)
        if self.quiescevm:
            raise ParameterError(
                "quiescevm=true needs an agent in the guest, and none is asked here: stop the VM"
            )
        if self.snapshotmemory and vm.state != VmState.running:
            raise ParameterError(f"VM {vm.name} is {vm.state}; snapshotmemory=true needs a Running one")
        _require_disks(call, vm)
        others = snapshots_of(call.session, vm.id)
        refuse_while_busy(vm, others)
        most = configured(call.session, VM_SNAPSHOT_MAX)
        if len(others) >= most:
            raise ParameterError(
                f"VM {vm.name} has {len(others)} VM snapshots, the most that {VM_SNAPSHOT_MAX.name} allows:"
                " delete one first"
            )
        name = f"{vm.instance_name}_VS_{call.now():%Y%m%d%H%M%S}"
        display_name = self.name or name
        if any(row.display_name == display_name for row in others):
            raise ParameterError(
                f"VM {vm.name} has a VM snapshot {display_name} already: choose another name"
            )
        current = next((row for row in others if row.is_current), None)
        row = VmSnapshot(
            account_id=vm.account_id,
            domain_id=vm.domain_id,
            zone_id=vm.zone_id,
            vm_id=vm.id,
            name=name,
            display_name=display_name,
            description=self.description or "",
            kind=VmSnapshotKind.disk_and_memory if self.snapshotmemory else VmSnapshotKind.disk,
            parent_id=current.id if current else None,
        )
        call.session.add(row)
        return _submit(call, names.CREATE_VM_SNAPSHOT, row, "VMSnapshot")


class DeleteVMSnapshot(AsyncCommand, kw_only=True, frozen=True):
    """Deletes a VM snapshot."""

    spec = Spec(answer=Success, access=EVERYONE, event="VMSNAPSHOT.DELETE")

    vmsnapshotid: Annotated[str, "the ID of the VM snapshot", Ref(VmSnapshot)]

    def run(self, call: Call) -> Job:
        """Only one that nothing is done with."""
        row, _vm = _idle_snapshot(call, self.vmsnapshotid, VmSnapshotState.ready, VmSnapshotState.error)
        row.state = VmSnapshotState.expunging
        return _submit(call, names.DELETE_VM_SNAPSHOT, row, "VMSnapshot")


class RevertToVMSnapshot(AsyncCommand, kw_only=True, frozen=True):
    """Puts a virtual machine back to a VM snapshot; what happened since is lost."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE, event="VMSNAPSHOT.REVERTTO")

    vmsnapshotid: Annotated[str, "the ID of the VM snapshot", Ref(VmSnapshot)]

    def run(self, call: Call) -> Job:
        """The VM's state stays: a running one needs a snapshot with memory, a stopped one one without."""
        row, vm = _idle_snapshot(call, self.vmsnapshotid, VmSnapshotState.ready)
        must_be(vm, "put back to a VM snapshot", VmState.running, VmState.stopped)
        needed = VmState.running if row.kind == VmSnapshotKind.disk_and_memory else VmState.stopped
        if vm.state != needed:
            raise ParameterError(
                f"VM {vm.name} is {vm.state}, and VM snapshot {row.display_name} keeps {row.kind}: only a"
                f" {needed} VM can go back to it"
            )
        row.state = VmSnapshotState.reverting
        return _submit(call, names.REVERT_VM_SNAPSHOT, row, KIND, about=vm)


def refuse_while_busy(vm: Vm, snapshots: list[VmSnapshot]) -> None:
    """Raise `Unavailable` while a snapshot of the VM is being worked on."""
    busy = next((row for row in snapshots if row.state in BUSY), None)
    if busy is not None:
        raise Unavailable(
            f"VM snapshot {busy.display_name} of VM {vm.name} is {busy.state}: wait for its end"
        )


def _idle_snapshot(call: Call, snapshot_id: str, *states: VmSnapshotState) -> tuple[VmSnapshot, Vm]:
    row = call.row(VmSnapshot, snapshot_id)
    vm = call.session.get(Vm, row.vm_id)
    if vm is None or vm.removed is not None:
        raise unknown_entity("vmsnapshotid", snapshot_id)
    if row.state not in states:
        raise ParameterError(
            f"VM snapshot {row.display_name} is {row.state}; this needs one that is {' or '.join(states)}"
        )
    refuse_while_busy(vm, snapshots_of(call.session, vm.id))
    return row, vm


def _require_disks(call: Call, vm: Vm) -> None:
    query = select(Volume.id).where(
        Volume.vm_id == vm.id, Volume.removed.is_(None), Volume.state == VolumeState.ready
    )
    if call.session.scalar(query.limit(1)) is None:
        raise ParameterError(f"VM {vm.name} has never run, so it has no disks to keep: start it once")


def _submit(call: Call, workflow: str, row: VmSnapshot, kind: str, about: Vm | None = None) -> Job:
    call.session.flush()
    arguments = {"snapshot_id": row.id, "vm_id": row.vm_id}
    return call.submit(workflow, arguments, kind=kind, about=about or row, lock=row.vm_id)
