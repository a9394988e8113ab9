"""One action at a time per machine, each checked again before anything is touched."""

import logging

from sqlalchemy import select

from mgmt.agents.errors import AgentError, AgentUnreachable
from mgmt.model.errors import CloudError
from mgmt.model.states import VmKind, VmState
from mgmt.ops.compute.domains import put_as_it_is
from mgmt.ops.compute.migration import settle
from mgmt.ops.compute.placement import unplace_vm
from mgmt.ops.compute.states import read_vm, set_vm
from mgmt.ops.compute.vm_workflows import start_vm
from mgmt.ops.endpoints import driver_of, host_endpoint
from mgmt.ops.machines import system_vm_workflows, system_vms
from mgmt.ops.machines.documents import push_machine
from mgmt.ops.network.host_networks import push_host
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga, StepFailed, run_directly
from mgmt.ops.storage.volume_moves import settle as settle_volumes
from mgmt.reconcile.decide import Action, Kind
from mgmt.reconcile.look import is_busy
from mgmt.store.events import record_event
from mgmt.store.tables import Account, Host, User, Vm, Volume
from systemvm.spec.host import DomainStatus

log = logging.getLogger(__name__)


def act(runtime: Runtime, action: Action) -> str:
    """Do it, if it is still to be done. Returns why it failed, in words; empty if it did not."""
    try:
        _ACTIONS[action.kind](runtime, action)
    except (StepFailed, AgentError, CloudError) as error:
        log.error("%s of %s failed, because %s", action.kind, action.subject, error)
        return str(error)
    return ""


def _restart(runtime: Runtime, action: Action) -> None:
    vm = read_vm(runtime, action.subject)
    # A job that implements or restarts a network starts its router itself.
    outer = f"network:{vm.network_id}" if vm.kind == VmKind.router else f"restart:{vm.id}"
    with runtime.locks.try_hold(outer) as is_ours, runtime.locks.try_hold(f"machine:{vm.id}") as is_free:
        if not (is_ours and is_free) or not _is_dead(runtime, vm.id, action):
            return
        is_first = vm.last_start is None
        why = "for the first time" if is_first else f"again, because {action.why}"
        words = f"starting {vm.name} {why}"
        log.warning("%s", words)
        _note(runtime, vm.id, "SYSTEMVM.START" if is_first else "SYSTEMVM.RESTART", words)
        set_vm(runtime, vm.id, state=VmState.starting, healthy=False, reason=words)
        status = _status(runtime, vm.id)
        if status is not None and status.state == "running":
            system_vms.put_down(runtime, vm.id)
        saga = Saga(run_directly)
        try:
            system_vms.boot(runtime, saga, vm.id, vm.name)
        except StepFailed as failure:
            saga.roll_back()
            set_vm(runtime, vm.id, reason=str(failure), desired_power="running")
            raise
        set_vm(runtime, vm.id, reason="" if is_first else f"started again, because {action.why}")


def _start_again(runtime: Runtime, action: Action) -> None:
    """Start a guest that ran until its host rebooted; a start that fails is repeated by the loop."""
    job, machine = f"job:{action.subject}", f"machine:{action.subject}"
    # A job about the VM that comes meanwhile waits for this one's end.
    with runtime.locks.try_hold(job) as is_idle, runtime.locks.try_hold(machine) as is_free:
        if not (is_idle and is_free) or not _is_dead(runtime, action.subject, action):
            return
        vm = read_vm(runtime, action.subject)
        words = f"starting VM {vm.name} again, because {action.why}"
        log.warning("%s", words)
        _note(runtime, vm.id, "VM.START", words)
        set_vm(runtime, vm.id, state=VmState.starting, reason=words)
        saga = Saga(run_directly)
        try:
            start_vm(runtime, saga, vm_id=vm.id)
        except StepFailed as failure:
            saga.roll_back()
            set_vm(runtime, vm.id, reason=str(failure), desired_power="running")
            raise
        set_vm(runtime, vm.id, reason=f"started again, because {action.why}")


def _push(runtime: Runtime, action: Action) -> None:
    vm = read_vm(runtime, action.subject)
    if vm.kind == VmKind.user:
        _tell_host(runtime, vm, action)
    elif vm.state == VmState.running and vm.applied < vm.generation:
        log.info("configuring %s, because %s", vm.name, action.why)
        try:
            push_machine(runtime, vm.id, vm.generation, silent_tries=1)
        except AgentUnreachable as error:
            # It may be dead: the loop looks again at once, and starts it, which it could not do meanwhile.
            log.warning("%s is not configured yet, because %s", vm.name, error)


def _tell_host(runtime: Runtime, vm: Vm, action: Action) -> None:
    """Give the host of a guest its definition again, and the networks that it needs."""
    with runtime.locks.try_hold(f"job:{vm.id}") as is_idle:
        is_due = vm.state == VmState.running and vm.applied < vm.generation and vm.host_id is not None
        if is_idle and is_due and vm.host_id is not None and not _is_busy(runtime, vm.id):
            log.warning("telling a host of VM %s again, because %s", vm.name, action.why)
            push_host(runtime, vm.host_id)
            put_as_it_is(runtime, vm.id)


def _mark_stopped(runtime: Runtime, action: Action) -> None:
    vm = read_vm(runtime, action.subject)
    status = _status(runtime, vm.id)
    if vm.state == VmState.migrating:
        return
    if _is_busy(runtime, vm.id) or (status is not None and status.state in ("running", "preparing")):
        return
    log.warning("VM %s is Stopped now, because %s", vm.name, action.why)
    unplace_vm(runtime, vm.id, VmState.stopped, action.why)
    _note(runtime, vm.id, "VM.STOP", action.why)


def _mark_running(runtime: Runtime, action: Action) -> None:
    status = _status(runtime, action.subject)
    if not _is_busy(runtime, action.subject) and status is not None and status.state == "running":
        log.info("VM %s is Running, because %s", action.subject, action.why)
        set_vm(runtime, action.subject, state=VmState.running, desired_power="running")


def _make_system_vms(runtime: Runtime, action: Action) -> None:
    with runtime.locks.try_hold(f"zone:{action.subject}") as is_ours:
        if not is_ours:
            return
        log.info("making system VMs, because %s", action.why)
        for kind in system_vm_workflows.ZONE_KINDS:
            vm_id = system_vms.create_service_vm(runtime, action.subject, kind)
            if read_vm(runtime, vm_id).state == VmState.stopped:
                set_vm(runtime, vm_id, desired_power="running")
    runtime.wake.set()


def _settle(runtime: Runtime, action: Action) -> None:
    """End a migration whose job ended without: where the VM runs, there it is."""
    with runtime.locks.try_hold(f"vm:{action.subject}") as is_free:
        has_job = _is_busy(runtime, action.subject, read_vm(runtime, action.subject).host_id)
        vm = read_vm(runtime, action.subject)  # after its jobs: one that ended meanwhile has settled it
        if not is_free or vm.state != VmState.migrating or has_job:
            return
        log.warning("looking where VM %s is, because %s", vm.name, action.why)
        settle(runtime, vm.id)


def _settle_volumes(runtime: Runtime, action: Action) -> None:
    """End a move of volumes whose job ended without: each is where whole files are."""
    with runtime.database.reading() as session:
        vm_id = session.get_one(Volume, action.subject).vm_id
    lock = f"vm:{vm_id}" if vm_id else f"volume:{action.subject}"
    with runtime.locks.try_hold(lock) as is_free:
        with runtime.database.reading() as session:
            is_idle = not is_busy(session, action.subject, vm_id)
            is_same = session.get_one(Volume, action.subject).vm_id == vm_id
        if is_free and is_same and is_idle:
            log.warning("looking where volume %s is, because %s", action.subject, action.why)
            settle_volumes(runtime, vm_id, action.subject)


_ACTIONS = {
    Kind.settle_volumes: _settle_volumes,
    Kind.settle: _settle,
    Kind.restart: _restart,
    Kind.start_again: _start_again,
    Kind.push: _push,
    Kind.mark_stopped: _mark_stopped,
    Kind.mark_running: _mark_running,
    Kind.make_system_vms: _make_system_vms,
}


def _is_dead(runtime: Runtime, vm_id: str, action: Action) -> bool:
    """Whether a VM that should run is still in need of a start; the snapshot is older than this moment."""
    if _is_busy(runtime, vm_id):
        return False
    vm = read_vm(runtime, vm_id)
    if vm.removed is not None or vm.desired_power != "running" or vm.state == VmState.migrating:
        return False
    if vm.state in (VmState.stopped, VmState.starting) or action.force:
        return True
    status = _status(runtime, vm_id)
    return status is None or status.state not in ("running", "preparing")


def _is_busy(runtime: Runtime, *subjects: str | None) -> bool:
    with runtime.database.reading() as session:
        return is_busy(session, *subjects)


def _status(runtime: Runtime, vm_id: str) -> DomainStatus | None:
    with runtime.database.reading() as session:
        vm = session.get_one(Vm, vm_id)
        host = session.get(Host, vm.host_id) if vm.host_id else None
    return None if host is None else driver_of(runtime, host).domain_status(host_endpoint(host), vm_id)


def _note(runtime: Runtime, vm_id: str, event_type: str, text: str) -> None:
    with runtime.database.writing() as session:
        vm = session.get_one(Vm, vm_id)
        user = session.scalars(
            select(User)
            .join(Account, Account.id == User.account_id)
            .where(Account.name == system_vms.SYSTEM_ACCOUNT)
        ).one()
        record_event(
            session,
            event_type,
            text,
            user_id=user.id,
            account_id=vm.account_id,
            domain_id=vm.domain_id,
            level="WARN",
            resource_type="VirtualMachine",
            resource_id=vm_id,
        )
