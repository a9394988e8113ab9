"""System VMs: rows of routers, console proxies and storage VMs; power-on until the agent works."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.agents.errors import AgentUnreachable
from mgmt.alloc.addresses import claim_for_machine, release
from mgmt.alloc.control import management_address
from mgmt.alloc.macs import new_mac
from mgmt.model.errors import CloudError, Unavailable
from mgmt.model.states import VmKind, VmState, VolumeKind
from mgmt.ops.compute.domains import put_vm, remove_vm
from mgmt.ops.compute.instance_names import next_instance_name
from mgmt.ops.compute.placement import mark_volumes_ready, place_vm, unplace_vm
from mgmt.ops.compute.states import read_vm, set_vm
from mgmt.ops.endpoints import driver_of, host_endpoint, machine_agent, placed_host
from mgmt.ops.machines.documents import push_machine
from mgmt.ops.network.host_networks import push_host, tidy_host
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.store.tables import (
    Account,
    ImageStore,
    Network,
    Nic,
    PublicAddress,
    ServiceOffering,
    VlanRange,
    Vm,
    Volume,
)
from mgmt.store.tables.base import now
from systemvm.spec.types import Purpose

OFFERINGS = {
    VmKind.router: "domainrouter",
    VmKind.console: "consoleproxy",
    VmKind.storage: "secondarystoragevm",
}
SYSTEM_ACCOUNT = "system"
#: The system VM image has this many bytes; its overlay never needs to be larger.
ROOT_BYTES = 1024**3
#: Seconds until an agent must have answered; under emulation on a busy host a boot takes long.
BOOT_DEADLINE = 300.0
_POLL = 1.0


def boot(runtime: Runtime, saga: Saga, vm_id: str, name: str, host_id: str | None = None) -> None:
    """Steps that start a system VM and end when it works; on failure it is stopped, with the reason."""
    saga.on_failure(f"start {name}", lambda: give_up(runtime, vm_id))
    placed: dict[str, Any] = saga.step(f"choose a host for {name}", lambda: place_vm(runtime, vm_id, host_id))
    saga.step(f"prepare the networks of host {placed['host']}", lambda: push_host(runtime, placed["host_id"]))
    saga.step(f"start {name} on host {placed['host']}", lambda: power_on(runtime, vm_id))
    saga.step(f"wait for the agent of {name}", lambda: wait_for_agent(runtime, vm_id))
    saga.step(f"configure {name}", lambda: configure(runtime, vm_id))


def power_on(runtime: Runtime, vm_id: str) -> None:
    """Start the VM on the host it is placed on."""
    put_vm(runtime, vm_id, "running")
    with runtime.database.writing() as session:
        mark_volumes_ready(session, vm_id)


def configure(runtime: Runtime, vm_id: str) -> None:
    """Push the document to a machine whose agent answers; then it is Running."""
    push_machine(runtime, vm_id)
    set_vm(runtime, vm_id, state=VmState.running, reason="", healthy=True, last_start=runtime.now())


def wait_for_agent(runtime: Runtime, vm_id: str) -> None:
    """Wait until the agent answers and has recovered. Raises Unavailable with what the host says."""
    waited = 0.0
    while True:
        try:
            with runtime.database.reading() as session:
                vm = session.get_one(Vm, vm_id)
                agent = machine_agent(runtime, session, vm)
            health = agent.health()
            if health.activity != "recovering":
                return
            last = "it still recovers its last configuration"
        except AgentUnreachable as error:
            last = str(error)
        if waited >= BOOT_DEADLINE:
            raise Unavailable(f"{vm.name} did not answer within {BOOT_DEADLINE:.0f} s: {last}")
        _check_running(runtime, vm)
        runtime.sleep(_POLL)
        waited += _POLL


def give_up(runtime: Runtime, vm_id: str) -> None:
    """A system VM that could not start is taken from its host; its disks of data stay where they are."""
    vm = read_vm(runtime, vm_id)
    if vm.host_id is not None:
        put_down(runtime, vm_id)
    unplace_vm(runtime, vm_id, VmState.stopped)


def let_run(runtime: Runtime, vm_id: str) -> None:
    """A system VM that was to stop runs again: on its host it counts as before; the loop sees what it is."""
    vm = read_vm(runtime, vm_id)
    is_on = vm.state == VmState.stopping and vm.host_id is not None
    set_vm(runtime, vm_id, desired_power="running", state=VmState.running if is_on else vm.state)
    runtime.wake.set()


def put_down(runtime: Runtime, vm_id: str, *, force: bool = True) -> None:
    """Power a VM off on its host; fine when the host does not know it."""
    with runtime.database.reading() as session:
        vm = session.get_one(Vm, vm_id)
        host = placed_host(session, vm)
    if driver_of(runtime, host).domain_status(host_endpoint(host), vm_id) is not None:
        put_vm(runtime, vm_id, "stopped", force=force)


def create_router(runtime: Runtime, network_id: str) -> str:
    """The row of a network's router, made unless there is one; its id."""
    with runtime.database.writing() as session:
        network = session.get_one(Network, network_id)
        existing = session.scalar(
            select(Vm.id).where(Vm.kind == VmKind.router, Vm.network_id == network_id, Vm.removed.is_(None))
        )
        if existing is not None:
            return existing
        owner = (network.account_id, network.domain_id)
        vm = _new_machine(session, VmKind.router, owner, network.zone_id, network_id)
        _add_nic(session, vm, Purpose.linklocal, 0)
        _add_nic(session, vm, Purpose.public, 1)
        _add_nic(
            session,
            vm,
            Purpose.guest,
            2,
            network_id=network.id,
            address=network.gateway,
            netmask=network.netmask,
        )
        return vm.id


def create_service_vm(runtime: Runtime, zone_id: str, kind: VmKind) -> str:
    """The row of a zone's console proxy or storage VM, made unless there is one; its id."""
    with runtime.database.writing() as session:
        existing = session.scalar(
            select(Vm.id).where(Vm.kind == kind, Vm.zone_id == zone_id, Vm.removed.is_(None))
        )
        if existing is not None:
            return existing
        account = session.scalars(select(Account).where(Account.name == SYSTEM_ACCOUNT)).one()
        vm = _new_machine(session, kind, (account.id, account.domain_id), zone_id, None)
        _add_nic(session, vm, Purpose.linklocal, 0)
        address, pod = management_address(session, zone_id)
        vm.management_address = address
        _add_nic(
            session, vm, Purpose.management, 1, address=address, netmask=pod.netmask, gateway=pod.gateway
        )
        public = claim_for_machine(session, vm)
        range_ = session.get_one(VlanRange, public.range_id)
        _add_nic(
            session,
            vm,
            Purpose.public,
            2,
            address=public.address,
            netmask=range_.netmask,
            gateway=range_.gateway,
        )
        if kind == VmKind.storage:
            _add_data_volume(session, vm)
        return vm.id


def remove_machine(runtime: Runtime, vm_id: str) -> None:
    """Remove a system VM for good: from its host, its rows, its addresses, its certificates."""
    vm = read_vm(runtime, vm_id)
    host_id = vm.host_id or vm.last_host_id
    remove_vm(runtime, vm_id, host_id)
    with runtime.database.writing() as session:
        moment = now()
        vm = session.get_one(Vm, vm_id)
        vm.removed, vm.state, vm.host_id = moment, VmState.expunging, None
        for row in session.scalars(select(Nic).where(Nic.vm_id == vm_id, Nic.removed.is_(None))):
            row.removed = moment
        for volume in session.scalars(select(Volume).where(Volume.vm_id == vm_id, Volume.removed.is_(None))):
            volume.removed = moment
        held = select(PublicAddress).where(
            PublicAddress.vm_id == vm_id, PublicAddress.is_system.is_(True), PublicAddress.removed.is_(None)
        )
        for address in session.scalars(held):
            release(session, address)
    runtime.authority.forget_machine(vm_id)
    tidy_host(runtime, host_id)


def _check_running(runtime: Runtime, vm: Vm) -> None:
    with runtime.database.reading() as session:
        host = placed_host(session, session.get_one(Vm, vm.id))
    status = driver_of(runtime, host).domain_status(host_endpoint(host), vm.id)
    if status is None or status.state not in ("running", "preparing"):
        words = f"{status.state}: {status.reason}" if status else "gone"
        raise CloudError(f"{vm.name} did not come up on host {host.name}, it is {words}; see its serial log")


def _new_machine(
    session: Session, kind: VmKind, owner: tuple[str, str], zone_id: str, network_id: str | None
) -> Vm:
    offering = session.scalars(
        select(ServiceOffering)
        .where(ServiceOffering.system_vm_type == OFFERINGS[kind], ServiceOffering.removed.is_(None))
        .order_by(ServiceOffering.default_use.desc(), ServiceOffering.created)
    ).first()
    if offering is None:
        raise Unavailable(f"there is no service offering for {OFFERINGS[kind]}: create one")
    name = next_instance_name(session, kind)
    vm = Vm(
        kind=kind,
        name=name,
        display_name=name,
        instance_name=name,
        account_id=owner[0],
        domain_id=owner[1],
        zone_id=zone_id,
        network_id=network_id,
        offering_id=offering.id,
        generation=1,
    )
    session.add(vm)
    session.flush()
    session.add(
        Volume(
            account_id=vm.account_id,
            domain_id=vm.domain_id,
            zone_id=zone_id,
            vm_id=vm.id,
            name=f"ROOT-{name}",
            kind=VolumeKind.root,
            size=ROOT_BYTES,
            device=0,
        )
    )
    return vm


def _add_data_volume(session: Session, vm: Vm) -> None:
    store = session.scalars(
        select(ImageStore).where(ImageStore.zone_id == vm.zone_id, ImageStore.removed.is_(None))
    ).first()
    if store is None:
        raise Unavailable("the zone has no secondary storage: addImageStore first")
    session.add(
        Volume(
            account_id=vm.account_id,
            domain_id=vm.domain_id,
            zone_id=vm.zone_id,
            vm_id=vm.id,
            name=f"DATA-{vm.name}",
            kind=VolumeKind.data,
            size=store.capacity,
            device=1,
        )
    )


def _add_nic(session: Session, vm: Vm, purpose: Purpose, position: int, **columns: Any) -> None:
    session.add(
        Nic(
            account_id=vm.account_id,
            domain_id=vm.domain_id,
            vm_id=vm.id,
            purpose=purpose,
            position=position,
            mac=new_mac(session),
            **columns,
        )
    )
    session.flush()
