"""What operators and the reconcile loop do to system VMs: start, stop, reboot, destroy, make."""

from mgmt.model.states import VmKind, VmState
from mgmt.ops.compute.placement import unplace_vm
from mgmt.ops.compute.states import read_vm, set_vm
from mgmt.ops.machines import system_vms
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga

#: System VMs that every enabled zone has.
ZONE_KINDS = (VmKind.storage, VmKind.console)


def start_system_vm(runtime: Runtime, saga: Saga, *, vm_id: str) -> None:
    """Start a system VM and end when it works. One that works already is left alone."""
    with runtime.locks.hold(f"machine:{vm_id}"), saga.nested() as inner:
        name, is_running = inner.step("look at the system VM", lambda: _look(runtime, vm_id))
        if not is_running:
            system_vms.boot(runtime, inner, vm_id, name)


def stop_system_vm(runtime: Runtime, saga: Saga, *, vm_id: str, forced: bool = False) -> None:
    """Stop a system VM; it stays stopped until somebody starts it."""
    with runtime.locks.hold(f"machine:{vm_id}"):
        saga.on_failure("let the system VM run on", lambda: system_vms.let_run(runtime, vm_id))
        saga.step("stop the system VM on its host", lambda: _stop(runtime, vm_id, forced))
        saga.step("take it from its host", lambda: unplace_vm(runtime, vm_id, VmState.stopped))


def reboot_system_vm(runtime: Runtime, saga: Saga, *, vm_id: str) -> None:
    """Power-cycle a system VM and end when it works again; after a failure the reconcile loop starts it."""
    with runtime.locks.hold(f"machine:{vm_id}"), saga.nested() as inner:
        name, reboots = inner.step("count the reboot", lambda: _next_reboot(runtime, vm_id))
        inner.on_failure("reboot the system VM", lambda: _fail_reboot(runtime, vm_id))
        inner.step(f"reboot {name}", lambda: _reboot(runtime, vm_id, reboots))
        inner.step(f"wait for the agent of {name}", lambda: system_vms.wait_for_agent(runtime, vm_id))
        inner.step(f"configure {name}", lambda: system_vms.configure(runtime, vm_id))


def destroy_system_vm(runtime: Runtime, saga: Saga, *, vm_id: str) -> None:
    """Remove a system VM for good. A zone gets a new one by itself; a network with its next VM or restart."""
    with runtime.locks.hold(f"machine:{vm_id}"):
        saga.step("remove the system VM", lambda: system_vms.remove_machine(runtime, vm_id))
    runtime.wake.set()


def ensure_system_vms(runtime: Runtime, saga: Saga, *, zone_id: str) -> None:
    """Make the zone's console proxy and storage VM, and start them, unless that is done."""
    with runtime.locks.hold(f"zone:{zone_id}"):
        for kind in ZONE_KINDS:
            vm_id: str = saga.step(
                f"create the {kind} VM",
                lambda kind=kind: system_vms.create_service_vm(runtime, zone_id, kind),  # type: ignore[misc]
            )
            start_system_vm(runtime, saga, vm_id=vm_id)


def _look(runtime: Runtime, vm_id: str) -> tuple[str, bool]:
    vm = read_vm(runtime, vm_id)
    return vm.name, vm.state == VmState.running and vm.applied > 0


def _stop(runtime: Runtime, vm_id: str, forced: bool) -> None:
    if read_vm(runtime, vm_id).host_id is None:
        return
    set_vm(runtime, vm_id, state=VmState.stopping, desired_power="stopped", healthy=False)
    system_vms.put_down(runtime, vm_id, force=forced)


def _fail_reboot(runtime: Runtime, vm_id: str) -> None:
    """Who asked for a reboot wants it to run: a network without its router is worse than a start too many."""
    system_vms.give_up(runtime, vm_id)
    set_vm(runtime, vm_id, desired_power="running")
    runtime.wake.set()


def _next_reboot(runtime: Runtime, vm_id: str) -> tuple[str, int]:
    vm = read_vm(runtime, vm_id)
    return vm.name, vm.reboots + 1


def _reboot(runtime: Runtime, vm_id: str, reboots: int) -> None:
    set_vm(runtime, vm_id, reboots=reboots, state=VmState.starting, healthy=False)
    system_vms.power_on(runtime, vm_id)
