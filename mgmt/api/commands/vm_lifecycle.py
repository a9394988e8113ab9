"""What changes a VM that exists: power, destruction and return, password, texts."""

from typing import Annotated

from mgmt.api.absent import Planner
from mgmt.api.access import EVERYONE, ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.commands.virtual_machines import part_of_zone, with_password
from mgmt.api.params import NoEffect, Unsupported
from mgmt.api.registry import AsyncCommand, Response, Spec, SyncCommand
from mgmt.api.responses.virtual_machines import VIRTUAL_MACHINE
from mgmt.api.user_vms import KIND, must_be, user_vm
from mgmt.model.errors import ParameterError
from mgmt.model.states import VmState, VolumeKind
from mgmt.ops import names
from mgmt.ops.compute.passwords import set_new_password
from mgmt.ops.compute.vms import recover_vm
from mgmt.store.tables import Cluster, Host, Job, Pod, Vm, Volume


class StartVirtualMachine(AsyncCommand, kw_only=True, frozen=True):
    """Starts a virtual machine."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE, event="VM.START")
    id: Annotated[str, Ref(Vm)]
    hostid: Annotated[str | None, Ref(Host), "the host to start it on"] = None
    podid: Annotated[str | None, Ref(Pod), "the pod to start it in"] = None
    clusterid: Annotated[str | None, Ref(Cluster), "the cluster to start it in"] = None
    bootintosetup: Annotated[bool, Unsupported("a VM starts from its disk")] = False
    deploymentplanner: Planner = None

    def run(self, call: Call) -> Job:
        """Only a stopped one."""
        vm = user_vm(call, self.id)
        must_be(vm, "started", VmState.stopped)
        within = part_of_zone(call, vm.zone_id, self.podid, self.clusterid)
        arguments = {"vm_id": vm.id, "host_id": self.hostid, "within": within}
        return call.submit(names.START_VM, arguments, kind=KIND, about=vm)


class StopVirtualMachine(AsyncCommand, kw_only=True, frozen=True):
    """Stops a virtual machine."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE, event="VM.STOP")
    id: Annotated[str, Ref(Vm)]
    forced: Annotated[bool, "true: cut the power without asking the guest"] = False

    def run(self, call: Call) -> Job:
        """Only a running one; with force also one that hangs between.

        One that is Stopped although it should run, because starting it again failed, stays so.
        """
        vm = user_vm(call, self.id)
        between = (VmState.stopping, VmState.starting) if self.forced else ()
        if vm.state != VmState.stopped or vm.desired_power != "running":
            must_be(vm, "stopped", VmState.running, *between)
        return call.submit(names.STOP_VM, {"vm_id": vm.id, "forced": self.forced}, kind=KIND, about=vm)


class RebootVirtualMachine(AsyncCommand, kw_only=True, frozen=True):
    """Reboots a virtual machine."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE, event="VM.REBOOT")
    id: Annotated[str, Ref(Vm)]
    forced: Annotated[bool, NoEffect("a reboot is a power cycle")] = False

    def run(self, call: Call) -> Job:
        """Only a running one."""
        vm = user_vm(call, self.id)
        must_be(vm, "rebooted", VmState.running)
        return call.submit(names.REBOOT_VM, {"vm_id": vm.id}, kind=KIND, about=vm)


class DestroyVirtualMachine(AsyncCommand, kw_only=True, frozen=True):
    """Destroys a virtual machine; it can be recovered until it is expunged."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE, event="VM.DESTROY")
    id: Annotated[str, Ref(Vm)]
    expunge: Annotated[bool, "true: for good, now"] = False
    volumeids: Annotated[list[str] | None, Ref(Volume), "data volumes that go with it"] = None

    def run(self, call: Call) -> Job:
        """In any state but gone; the volumes must be its own."""
        vm = user_vm(call, self.id)
        if vm.delete_protection:
            raise ParameterError(
                f"VM {vm.name} is protected: updateVirtualMachine with deleteprotection=false first"
            )
        states = (VmState.running, VmState.stopped, VmState.error, VmState.starting, VmState.stopping)
        must_be(vm, "destroyed", *states, *((VmState.destroyed,) if self.expunge else ()))
        for volume_id in self.volumeids or []:
            volume = call.row(Volume, volume_id)
            if volume.vm_id != vm.id or volume.kind != VolumeKind.data:
                raise ParameterError(f"Volume {volume.name} is no data volume of VM {vm.name}")
        arguments = {"vm_id": vm.id, "expunge": self.expunge, "volume_ids": list(self.volumeids or [])}
        return call.submit(names.DESTROY_VM, arguments, kind=KIND, about=vm)


class RecoverVirtualMachine(SyncCommand, kw_only=True, frozen=True):
    """Brings a destroyed virtual machine back, stopped."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE, event="VM.RECOVER")
    id: Annotated[str, Ref(Vm)]

    def run(self, call: Call) -> Vm:
        """Only a destroyed, not yet expunged one."""
        vm = user_vm(call, self.id)
        recover_vm(call.session, vm)
        return vm


class ExpungeVirtualMachine(AsyncCommand, kw_only=True, frozen=True):
    """Removes a destroyed virtual machine for good, with its root disk."""

    spec = Spec(access=ROOT, event="VM.EXPUNGE")
    id: Annotated[str, Ref(Vm)]

    def run(self, call: Call) -> Job:
        """Only a destroyed one."""
        vm = user_vm(call, self.id)
        must_be(vm, "expunged", VmState.destroyed, VmState.expunging)
        return call.submit(names.EXPUNGE_VM, {"vm_id": vm.id}, kind=KIND, about=vm)


class ResetPasswordForVirtualMachine(AsyncCommand, kw_only=True, frozen=True):
    """Gives a stopped virtual machine a new password, which it fetches at its next start."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE, event="VM.RESETPASSWORD")
    id: Annotated[str, Ref(Vm)]

    def run(self, call: Call) -> Job:
        """Only a stopped one: guests ask at boot."""
        vm = user_vm(call, self.id)
        must_be(vm, "given a new password", VmState.stopped)
        set_new_password(vm, call.context.seal)
        return call.submit(names.REFRESH_GUEST, {"vm_id": vm.id}, kind=KIND, about=vm)

    @classmethod
    def result(cls, call: Call, job: Job, answer: Response) -> Response:
        """The password is in the answer of the job that made it."""
        return with_password(call, job, answer)


class UserData(Response, kw_only=True):
    """A VM's user data, as it was given."""

    virtualmachineid: str
    userdata: str | None = None


class GetVirtualMachineUserData(SyncCommand, kw_only=True, frozen=True):
    """Returns a virtual machine's user data in base64."""

    spec = Spec(answer=UserData, access=EVERYONE, key="virtualmachineuserdata")
    virtualmachineid: Annotated[str, Ref(Vm)]

    def run(self, call: Call) -> Response:
        """Read it."""
        vm = user_vm(call, self.virtualmachineid)
        return UserData(virtualmachineid=vm.id, userdata=vm.user_data or None)
