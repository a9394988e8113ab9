"""What should be done, from one snapshot: pure; one action per machine, each with its reason in words."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mgmt.model.states import VmKind, VmState
from systemvm.spec.host import DomainStatus

#: How often in a row a system VM's agent may be silent before the VM is restarted.
MOST_SILENCE = 5
#: A system VM whose agent's certificate could not be renewed over the connection is started anew, which
#: brings it another, when that has fewer days left.
LEAST_DAYS = 10


class Kind(StrEnum):
    """Kinds of actions."""

    restart = "restart"
    start_again = "start_again"
    push = "push"
    mark_stopped = "mark_stopped"
    mark_running = "mark_running"
    settle = "settle"
    settle_volumes = "settle_volumes"
    make_system_vms = "make_system_vms"


@dataclass(frozen=True)
class Action:
    """One thing to do about `subject` (a VM, a volume, or a zone), and why; `force` although the VM runs."""

    kind: Kind
    subject: str
    why: str
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class VmView:
    """A VM as its row says; `is_busy` while a job is about it; `silent` times its agent did not answer.

    `days_left` are those of its agent's certificate if that is due and could not be renewed, else None.
    """

    id: str
    name: str
    kind: str
    state: str
    desired_power: str
    host_id: str | None
    generation: int = 0
    applied: int = 0
    is_busy: bool = False
    silent: int = 0
    days_left: int | None = None


@dataclass(frozen=True, kw_only=True)
class VolumeView:
    """A volume in state Migrating, as its row says; `vm_id` is the VM that has it."""

    id: str
    name: str
    vm_id: str | None = None
    is_busy: bool = False


@dataclass(frozen=True, kw_only=True)
class ZoneView:
    """A zone: `lacks` are the kinds of system VMs that it should have and has not; `can_host` once it may."""

    id: str
    name: str
    lacks: tuple[str, ...] = ()
    can_host: bool = False


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Rows and reports of one moment. Hosts that did not answer have no entry in `reports`."""

    vms: tuple[VmView, ...] = ()
    volumes: tuple[VolumeView, ...] = ()
    zones: tuple[ZoneView, ...] = ()
    reports: Mapping[str, Mapping[str, DomainStatus]] = field(default_factory=dict)


def decide(snapshot: Snapshot) -> list[Action]:
    """The actions, at most one per machine, volume and zone."""
    return [*_for_vms(snapshot), *_for_volumes(snapshot.volumes), *_for_zones(snapshot.zones)]


def _for_vms(snapshot: Snapshot) -> Iterable[Action]:
    # Guests last: they need their routers.
    for vm in sorted(snapshot.vms, key=lambda vm: vm.kind == VmKind.user):
        if vm.is_busy:
            continue
        action = _for_machine(vm, snapshot) if vm.kind != VmKind.user else _for_guest(vm, snapshot)
        if action is not None:
            yield action


def _for_volumes(volumes: Iterable[VolumeView]) -> Iterable[Action]:
    for volume in volumes:
        if not volume.is_busy:
            words = f"volume {volume.name} is Migrating, and no job is about it any more"
            yield Action(Kind.settle_volumes, volume.id, words)


def _for_zones(zones: Iterable[ZoneView]) -> Iterable[Action]:
    for zone in zones:
        if zone.lacks and zone.can_host:
            kinds = " and ".join(zone.lacks)
            yield Action(Kind.make_system_vms, zone.id, f"zone {zone.name} has no {kinds} VM yet")


def _for_machine(vm: VmView, snapshot: Snapshot) -> Action | None:
    if vm.state in (VmState.stopped, VmState.starting):
        if vm.desired_power != "running":
            return None
        return Action(Kind.restart, vm.id, f"{vm.name} should run and is {vm.state}")
    if vm.state != VmState.running:
        return None
    death = _death(vm, snapshot)
    if death:
        return Action(Kind.restart, vm.id, f"{vm.name} {death}")
    if vm.silent > MOST_SILENCE:
        words = f"the agent of {vm.name} did not answer {vm.silent} times"
        return Action(Kind.restart, vm.id, words, force=True)
    if vm.days_left is not None and vm.days_left < LEAST_DAYS:
        words = f"the certificate of {vm.name} ends in {vm.days_left} days and could not be renewed in place"
        return Action(Kind.restart, vm.id, words, force=True)
    if vm.applied < vm.generation:
        words = f"{vm.name} has generation {vm.applied} of its document, {vm.generation} is wanted"
        return Action(Kind.push, vm.id, words)
    return None


def _for_guest(vm: VmView, snapshot: Snapshot) -> Action | None:
    if vm.state == VmState.migrating:
        words = f"VM {vm.name} is Migrating, and no job is about it any more"
        return Action(Kind.settle, vm.id, words)
    if vm.desired_power == "running" and (why := _power_cut(vm, snapshot)):
        return Action(Kind.start_again, vm.id, why)
    if vm.state in (VmState.running, VmState.starting, VmState.stopping):
        death = _death(vm, snapshot)
        if death:
            return Action(Kind.mark_stopped, vm.id, f"VM {vm.name} {death}")
        if vm.state != VmState.running and _report(vm, snapshot) is not None:
            return Action(Kind.mark_running, vm.id, f"VM {vm.name} runs, and no job is about it any more")
        if vm.state == VmState.running and vm.applied < vm.generation:
            words = f"nobody knows whether the host of VM {vm.name} heard its last change"
            return Action(Kind.push, vm.id, words)
    return None


def _power_cut(vm: VmView, snapshot: Snapshot) -> str:
    """Why a guest is off that nobody powered off; empty if it is on, or somebody did, or nobody knows."""
    if vm.state == VmState.stopped:
        return f"VM {vm.name} should run and is Stopped"
    status = _report(vm, snapshot)
    if vm.state in (VmState.running, VmState.starting) and status is not None and status.host_rebooted:
        return f"VM {vm.name} ran when {status.reason}"
    return ""


def _report(vm: VmView, snapshot: Snapshot) -> DomainStatus | None:
    return snapshot.reports.get(vm.host_id or "", {}).get(vm.id)


def _death(vm: VmView, snapshot: Snapshot) -> str:
    """Why a VM that should be there is not, as the end of a sentence; empty if it is, or nobody knows."""
    if vm.host_id is None:
        return "is on no host"
    if vm.host_id not in snapshot.reports:
        return ""  # its host is silent, which says nothing about the VM
    status = _report(vm, snapshot)
    if status is None:
        return "is not on its host any more"
    if status.state == "crashed":
        return f"crashed ({status.reason})" if status.reason else "crashed"
    if status.state in ("stopped", "failed"):
        return f"was powered off ({status.reason})" if status.reason else "was powered off"
    return ""
