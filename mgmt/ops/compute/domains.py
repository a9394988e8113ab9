"""VMs on their hosts: the domain document from rows, put, and followed until it is so."""

import logging
from dataclasses import dataclass
from urllib.parse import urlencode

from sqlalchemy import and_, bindparam, select
from sqlalchemy.orm import Session

from mgmt.agents.errors import AgentError, AgentUnreachable
from mgmt.agents.host import HostEndpoint
from mgmt.alloc.sizes import size_of
from mgmt.desired.domain import (
    SYSTEM_IMAGE,
    Disk,
    Identity,
    Plug,
    VmInput,
    compile_guest,
    compile_system_vm,
)
from mgmt.desired.host import guest_bridge
from mgmt.desired.links import link_name
from mgmt.drivers.protocol import Driver
from mgmt.model.errors import CloudError, Unavailable
from mgmt.model.states import SnapshotState, VmKind, VmState, VolumeState
from mgmt.ops.endpoints import driver_of, host_endpoint, patiently, placed_host
from mgmt.ops.images.template_zones import in_zone
from mgmt.ops.runtime import Runtime
from mgmt.pki import tickets
from mgmt.pki.authority import vm_name
from mgmt.store.tables import (
    Host,
    Network,
    Nic,
    PhysicalNetwork,
    ServiceOffering,
    Snapshot,
    StoragePool,
    Template,
    TrafficType,
    Vm,
    Volume,
    VolumeUpload,
)
from systemvm.spec.bootstrap import CONTROL_LINK
from systemvm.spec.host import Domain, DomainStatus, TemplatePull
from systemvm.spec.ticket import TicketPurpose
from systemvm.spec.types import Purpose

log = logging.getLogger(__name__)
#: Serial of the storage VM's data disk (see `systemvm.spec.appliances.Storage`).
DATA_SERIAL = "pileus-data"
STORAGE_PORT = 8444
CLOUD_BRIDGE = "cloud0"
#: Seconds that a VM may take to be as asked; a template may have to be pulled first.
DEADLINE = 1800.0
_POLL = 0.5
#: What a host may say of a VM that has the power state it should have.
_MEANS = {"running": ("running",), "stopped": ("stopped", "crashed")}
#: Most of what the document of a VM is made of, by one statement.
_LOADED = (
    select(Vm, Host, ServiceOffering, Volume, StoragePool, Template)
    .join(ServiceOffering, ServiceOffering.id == Vm.offering_id)
    .outerjoin(Host, Host.id == Vm.host_id)
    .outerjoin(Volume, and_(Volume.vm_id == Vm.id, Volume.removed.is_(None)))
    .outerjoin(StoragePool, StoragePool.id == Volume.pool_id)
    .outerjoin(Template, Template.id == Volume.template_id)
    .where(Vm.id == bindparam("vm_id"))
)
_PLUGS = (
    select(Nic, Network)
    .outerjoin(Network, Network.id == Nic.network_id)
    .where(Nic.vm_id == bindparam("vm_id"), Nic.removed.is_(None))
    .order_by(Nic.position)
)
_DISKS = (
    select(Volume).where(Volume.vm_id == bindparam("vm_id"), Volume.removed.is_(None)).order_by(Volume.device)
)
_STORAGE = select(Vm.id, Vm.management_address).where(
    Vm.kind == VmKind.storage, Vm.zone_id == bindparam("zone_id"), Vm.removed.is_(None)
)


def put_vm(
    runtime: Runtime, vm_id: str, power: str, *, force: bool = False, host_id: str | None = None
) -> str:
    """Make a VM on its host what its rows say, with `power`; waits until it is so.

    `host_id` is the host that keeps the definition of a stopped VM, which is on none. Returns what the host
    says of it. Raises AgentError, CloudError; nobody knows then what the host has of it, so the loop tells
    it again, if it is a tenant's.
    """
    try:
        said, is_noted = _put(runtime, vm_id, power, force, host_id)
    except (AgentError, CloudError):
        _note_definition(runtime, vm_id, is_known=False)
        raise
    if not is_noted:
        _note_definition(runtime, vm_id, is_known=True)
    return said


def _put(runtime: Runtime, vm_id: str, power: str, force: bool, host_id: str | None) -> tuple[str, bool]:
    """What the host says, and whether the VM's row says already that the host has its definition."""
    with runtime.database.reading() as session:
        loaded = session.execute(_LOADED, {"vm_id": vm_id}).all()  # held, so that it is read once
        vm = session.get_one(Vm, vm_id)
        host = session.get_one(Host, host_id) if host_id else placed_host(session, vm)
        document = compile_domain(runtime, session, vm, power)
        driver, endpoint = driver_of(runtime, host), host_endpoint(host)
        del loaded
    status = followed(runtime, driver, endpoint, driver.put_domain(endpoint, document, force=force))
    if status is None or not _is_so(status, power):
        raise CloudError(f"VM {document.name} on host {host.name}: {_words(status, power)}")
    return status.reason, vm.kind != VmKind.user or vm.applied == vm.generation


def followed(
    runtime: Runtime, driver: Driver, endpoint: HostEndpoint, status: DomainStatus
) -> DomainStatus | None:
    """What a host says of a VM once it no longer works on it; None when the VM is gone."""
    last: DomainStatus | None = status
    waited = 0.0
    while last is not None and last.state == "preparing" and waited < DEADLINE:
        runtime.sleep(_POLL)
        waited += _POLL
        last = driver.domain_status(endpoint, status.id)
    return last


def _note_definition(runtime: Runtime, vm_id: str, *, is_known: bool) -> None:
    """Whether a tenant's VM is on its host as its rows say: then `applied` is `generation`."""
    with runtime.database.reading() as session:
        vm = session.get_one(Vm, vm_id)
    if vm.kind == VmKind.user and is_known != (vm.applied == vm.generation):
        with runtime.database.writing() as session:
            vm = session.get_one(Vm, vm_id)
            vm.generation += not is_known
            vm.applied = vm.generation if is_known else vm.applied


def put_as_it_is(runtime: Runtime, vm_id: str) -> None:
    """Tell the host that has a VM's definition what its rows say now, in the power state that it has.

    Nothing to do for a VM that no host knows. Raises AgentError, CloudError.
    """
    with runtime.database.reading() as session:
        vm = session.get_one(Vm, vm_id)
        host_id = vm.host_id or vm.last_host_id
        host = session.get(Host, host_id) if host_id else None
    if host is None:
        return
    if vm.host_id is None and driver_of(runtime, host).domain_status(host_endpoint(host), vm_id) is None:
        return
    put_vm(runtime, vm_id, "running" if vm.state == VmState.running else "stopped", host_id=host.id)


def remove_vm(runtime: Runtime, vm_id: str, host_id: str | None) -> None:
    """Remove a VM and its own volumes from a host; fine if it was never there."""
    with runtime.database.reading() as session:
        host = session.get(Host, host_id) if host_id else None
    if host is not None:
        patiently(runtime, lambda: driver_of(runtime, host).delete_domain(host_endpoint(host), vm_id))


def forget_vm(runtime: Runtime, vm_id: str, host_id: str) -> None:
    """Remove a stopped VM's definition from a host that it does not start on; its volumes stay.

    A host that does not answer is tidied up when it is back (`mgmt.reconcile.stale`).
    """
    with runtime.database.reading() as session:
        host = session.get_one(Host, host_id)
    if host.removed is not None:
        return
    try:
        driver_of(runtime, host).delete_domain(host_endpoint(host), vm_id, keep_volumes=True)
    except AgentUnreachable as error:
        log.warning("VM %s stays defined on host %s for now, because %s", vm_id, host.name, error)


def compile_domain(
    runtime: Runtime, session: Session, vm: Vm, power: str, *, is_arriving: bool = False
) -> Domain:
    """The document of any VM, from its rows; `is_arriving`: for the host, and the pools, that it moves to.

    Raises Unavailable when its template cannot be pulled.
    """
    size = size_of(vm, session.get_one(ServiceOffering, vm.offering_id))
    wanted = VmInput(
        id=vm.id,
        name=vm.instance_name,
        power=power,
        cpus=size.cpus,
        memory=size.memory,
        plugs=_plugs(session, vm),
        disks=_disks(runtime, session, vm, is_arriving),
        iso=_iso(runtime, session, vm),
        reboots=vm.reboots,
    )
    if vm.kind == VmKind.user:
        return compile_guest(wanted)
    address = vm.linklocal_address or ""
    agent = runtime.authority.machine_agent(vm.id, address)
    identity = Identity(
        role=vm.kind,
        linklocal_address=address,
        certificate=agent.certificate,
        key=agent.key,
        client_ca=runtime.authority.client_ca,
    )
    return compile_system_vm(wanted, identity)


def host_pool(pool: StoragePool) -> str:
    """What hosts call a pool: a shared one by its id."""
    return pool.id if pool.host_id is None else pool.path.strip("/").rpartition("/")[2]


def disk_of(runtime: Runtime, session: Session, volume: Volume, *, is_arriving: bool = False) -> Disk:
    """A volume as its host is told about it, or the host that it moves to. Raises Unavailable."""
    pool_id = (volume.target_pool_id if is_arriving else None) or volume.pool_id
    pool = session.get(StoragePool, pool_id) if pool_id else None
    if pool is None:
        raise Unavailable(f"volume {volume.name} is in no pool yet")
    vm = session.get(Vm, volume.vm_id) if volume.vm_id else None
    is_storage_data = vm is not None and vm.kind == VmKind.storage and volume.device != 0
    return Disk(
        id=volume.id,
        pool=host_pool(pool),
        bytes=volume.size,
        base=_base(runtime, session, volume, vm),
        serial=DATA_SERIAL if is_storage_data else "",
    )


def _plugs(session: Session, vm: Vm) -> tuple[Plug, ...]:
    return tuple(
        Plug(
            mac=nic.mac,
            bridge=_bridge(session, vm.zone_id, nic, network),
            purpose=nic.purpose,
            name=CONTROL_LINK if nic.purpose == Purpose.linklocal else link_name(nic.purpose),
        )
        for nic, network in session.execute(_PLUGS, {"vm_id": vm.id})
    )


def _bridge(session: Session, zone_id: str, nic: Nic, network: Network | None) -> str:
    if nic.purpose == Purpose.linklocal:
        return CLOUD_BRIDGE
    if network is not None:
        if network.vni is None:
            raise Unavailable(f"network {network.name} is not implemented")
        return guest_bridge(network.vni)
    kind = nic.purpose.capitalize()
    query = (
        select(TrafficType.label)
        .join(PhysicalNetwork, PhysicalNetwork.id == TrafficType.physical_network_id)
        .where(
            PhysicalNetwork.zone_id == zone_id,
            PhysicalNetwork.removed.is_(None),
            TrafficType.removed.is_(None),
            TrafficType.type == kind,
        )
    )
    label = session.scalar(query)
    if not label:
        raise Unavailable(f"the zone has no bridge for {kind} traffic: addTrafficType with kvmnetworklabel")
    return label


def _disks(runtime: Runtime, session: Session, vm: Vm, is_arriving: bool) -> tuple[Disk, ...]:
    volumes = session.scalars(_DISKS, {"vm_id": vm.id})
    return tuple(disk_of(runtime, session, volume, is_arriving=is_arriving) for volume in volumes)


def _base(runtime: Runtime, session: Session, volume: Volume, vm: Vm | None) -> TemplatePull | None:
    if vm is not None and vm.kind != VmKind.user:
        return TemplatePull(template=SYSTEM_IMAGE) if volume.device == 0 else None
    if volume.snapshot_id is not None:
        # Once it is made, nothing of the snapshot is needed any more.
        is_made = volume.state in (VolumeState.ready, VolumeState.migrating)
        snapshot = None if is_made else session.get_one(Snapshot, volume.snapshot_id)
        return pull_snapshot(runtime, session, snapshot) if snapshot is not None else None
    if volume.state == VolumeState.uploaded:
        upload = session.get_one(VolumeUpload, volume.id)
        return _pull(
            runtime, session, _Upload(volume.id, volume.name, volume.zone_id, upload.sha256), once=True
        )
    if volume.template_id is None:
        return None
    template = session.get_one(Template, volume.template_id)
    return _pull(runtime, session, in_zone(session, template, volume.zone_id) or template)


def _iso(runtime: Runtime, session: Session, vm: Vm) -> TemplatePull | None:
    iso = session.get(Template, vm.iso_id) if vm.iso_id else None
    here = in_zone(session, iso, vm.zone_id) if iso is not None else None
    return None if here is None else _pull(runtime, session, here)


def pull_snapshot(runtime: Runtime, session: Session, snapshot: Snapshot) -> TemplatePull:
    """Where a host gets a snapshot's content, for one volume. Raises Unavailable."""
    if snapshot.removed is not None or snapshot.state != SnapshotState.backed_up:
        raise Unavailable(f"snapshot {snapshot.name} is {snapshot.state}, so nothing can be made of it")
    return _pull(runtime, session, snapshot, once=True)


@dataclass(frozen=True)
class _Upload:
    """A volume that its owner brought, as the image that the storage VM has."""

    id: str
    name: str
    zone_id: str
    sha256: str
    __tablename__: str = "volume"


def _pull(
    runtime: Runtime, session: Session, image: Template | Snapshot | _Upload, *, once: bool = False
) -> TemplatePull:
    storage = session.execute(_STORAGE, {"zone_id": image.zone_id}).first()
    if storage is None or storage.management_address is None:
        kind = image.__tablename__
        raise Unavailable(f"{kind} {image.name}: the zone has no storage VM yet; try again in a minute")
    token = tickets.sign(
        runtime.authority.ticket_key, TicketPurpose.template, image.id, runtime.now().timestamp()
    )
    query = urlencode({"ticket": token})
    return TemplatePull(
        template=image.id,
        url=f"https://{storage.management_address}:{STORAGE_PORT}/v1/templates/{image.id}?{query}",
        sha256=image.sha256,
        server_name=vm_name(storage.id),
        server_ca=runtime.authority.server_ca,
        once=once,
    )


def _is_so(status: DomainStatus, power: str) -> bool:
    return status.state in _MEANS[power] and not has_failed(status)


def has_failed(status: DomainStatus) -> bool:
    """Whether the last work of a host on a VM ended badly."""
    return status.reason.startswith("the last change failed")


def _words(status: DomainStatus | None, power: str) -> str:
    if status is None:
        return "the host has no such VM any more"
    return f"it is {status.state}, not {power}" + (f": {status.reason}" if status.reason else "")
