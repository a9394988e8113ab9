"""Rows of tenants' VMs: made, recovered. What happens on hosts is in `vm_workflows`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from mgmt.alloc.counted import amounts_of_vm, amounts_of_volumes
from mgmt.alloc.guests import guest_address
from mgmt.alloc.limits import reserve_all
from mgmt.alloc.macs import new_mac
from mgmt.alloc.sizes import Size, set_size
from mgmt.model.errors import ParameterError
from mgmt.model.states import ImageKind, TemplateState, VmKind, VmState, VolumeKind
from mgmt.ops.compute.instance_groups import group_named
from mgmt.ops.compute.instance_names import next_instance_name
from mgmt.ops.compute.passwords import set_new_password
from mgmt.ops.images.template_zones import in_zone
from mgmt.ops.machines.documents import touch_router
from mgmt.store.sealing import Seal
from mgmt.store.tables import (
    Account,
    AffinityGroup,
    AffinityMember,
    DiskOffering,
    Network,
    Nic,
    ServiceOffering,
    Template,
    Vm,
    Volume,
)
from mgmt.store.tables.base import new_id

_NETWORK_IDS = (
    select(Nic.network_id)
    .where(Nic.vm_id == bindparam("vm_id"), Nic.removed.is_(None), Nic.network_id.is_not(None))
    .order_by(Nic.position)
)
_NAMESAKE = (
    select(Vm.name)
    .join(Nic, Nic.vm_id == Vm.id)
    .where(func.lower(Vm.name) == bindparam("name"), Vm.removed.is_(None), Vm.id != bindparam("vm_id"))
    .where(Nic.removed.is_(None), Nic.network_id.in_(bindparam("networks", expanding=True)))
    .limit(1)
)


@dataclass(frozen=True, kw_only=True)
class VmRequest:
    """A VM to create, checked and authorized. `networks` are (network, wanted address); the first is default.

    `name` is the host name, empty for a generated one; `user_data` is base64, `user_data_values` are its
    variables; sizes are bytes. `disk_offering` adds a data disk, of `disk_bytes` where the offering leaves it
    open; where the template is an ISO, it is the blank root disk's, and the ISO lies in the CD drive. `size`
    is the VM's where its own offering does (None: the offering's). `group` is a name.
    """

    account_id: str
    domain_id: str
    zone_id: str
    offering: ServiceOffering
    template: Template
    networks: tuple[tuple[Network, str | None], ...]
    name: str = ""
    display_name: str = ""
    group: str | None = None
    affinity_groups: tuple[AffinityGroup, ...] = ()
    size: Size | None = None
    user_data: str = field(default="", repr=False)
    user_data_id: str | None = None
    user_data_values: dict[str, str] = field(default_factory=dict, repr=False)
    key_names: tuple[str, ...] = ()
    public_keys: tuple[str, ...] = ()
    root_disk_bytes: int = 0
    disk_offering: DiskOffering | None = None
    disk_bytes: int = 0
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def is_from_iso(self) -> bool:
        """Whether its root disk begins blank."""
        return self.template.kind == ImageKind.iso


def create_vm(session: Session, seal: Seal, request: VmRequest) -> Vm:
    """Insert a VM (state Stopped) with its root volume, data volume and NICs; DEPLOY_VM does the rest.

    Raises ParameterError, NoCapacity or LimitReached with a sentence.
    """
    _check_template(session, request)
    vm = _new_row(session, request)
    if request.template.password_enabled:
        set_new_password(vm, seal)
    session.add(vm)
    session.flush()
    for position, (network, wanted) in enumerate(request.networks):
        add_nic(session, vm, network, position, wanted)
    volumes = _volumes(vm, request)
    members = [AffinityMember(group_id=group.id, vm_id=vm.id) for group in request.affinity_groups]
    session.add_all([*volumes, *members])
    session.flush()
    _reserve(session, vm, volumes)
    for network, _address in request.networks:
        touch_router(session, network.id)
    return vm


def _new_row(session: Session, request: VmRequest) -> Vm:
    vm_id = new_id()
    name = request.name or f"vm-{vm_id[:8]}"
    check_vm_name(session, name, [network.id for network, _address in request.networks])
    vm = Vm(
        id=vm_id,
        kind=VmKind.user,
        name=name,
        display_name=request.display_name or name,
        instance_name=next_instance_name(session, VmKind.user),
        account_id=request.account_id,
        domain_id=request.domain_id,
        zone_id=request.zone_id,
        offering_id=request.offering.id,
        template_id=request.template.id,
        iso_id=request.template.id if request.is_from_iso else None,
        user_data=request.user_data,
        user_data_id=request.user_data_id,
        user_data_values=dict(request.user_data_values),
        key_names=list(request.key_names),
        public_keys=list(request.public_keys),
        details=dict(request.details),
    )
    if request.size is not None:
        set_size(vm, request.offering, request.size)
    if request.group:
        vm.group_id = group_named(session, vm.account_id, vm.domain_id, request.group).id
    return vm


def recover_vm(session: Session, vm: Vm) -> None:
    """Bring a destroyed, not yet expunged VM back as a stopped one. Raises ParameterError, LimitReached."""
    if vm.state != VmState.destroyed:
        raise ParameterError(f"VM {vm.name} is {vm.state}: only a Destroyed one can be recovered")
    reserve_all(session, session.get_one(Account, vm.account_id), amounts_of_vm(session, vm))
    vm.state = VmState.stopped
    vm.reason = ""


def _reserve(session: Session, vm: Vm, volumes: Iterable[Volume]) -> None:
    """Count a new VM and its volumes. It comes last: counts stay locked until the transaction ends."""
    amounts = {**amounts_of_vm(session, vm), **amounts_of_volumes(*(volume.size for volume in volumes))}
    reserve_all(session, session.get_one(Account, vm.account_id), amounts)


def _check_template(session: Session, request: VmRequest) -> None:
    template = in_zone(session, request.template, request.zone_id)
    if template is None:
        name = request.template.name
        raise ParameterError(
            f"template {name} is not in that zone: copy it there, or register it there first"
        )
    if template.state != TemplateState.ready:
        raise ParameterError(f"template {template.name} is {template.state}: wait until it is Ready")
    if request.is_from_iso and not template.bootable:
        raise ParameterError(f"ISO {template.name} is not bootable: deploy from another one and attach it")
    if request.is_from_iso and request.disk_offering is None:
        raise ParameterError(f"ISO {template.name} brings no root disk: send diskofferingid for one")
    if request.disk_offering is not None and not (request.disk_offering.disk_bytes or request.disk_bytes):
        raise ParameterError(f"disk offering {request.disk_offering.name} leaves the size open: send size")
    if not request.networks:
        raise ParameterError("a VM needs a network: name one in networkids")
    for network, _address in request.networks:
        if network.zone_id != request.zone_id:
            raise ParameterError(f"network {network.name} is in another zone")
    if len({network.id for network, _address in request.networks}) < len(request.networks):
        raise ParameterError("networkids names a network twice")


def network_ids(session: Session, vm_id: str) -> list[str]:
    """The networks that a VM has NICs in, in their order."""
    found = session.scalars(_NETWORK_IDS, {"vm_id": vm_id})
    return [network_id for network_id in found if network_id]


def check_vm_name(session: Session, name: str, networks: Sequence[str], vm_id: str = "") -> None:
    """Names resolve in a network's DNS, where case does not count, so they are unique there.

    `networks` are ids, `vm_id` a VM that may have the name already. Raises ParameterError.
    """
    if session.scalar(_NAMESAKE, {"name": name.lower(), "vm_id": vm_id, "networks": list(networks)}):
        raise ParameterError(f"a VM named {name} is already in one of these networks: choose another name")


def add_nic(
    session: Session,
    vm: Vm,
    network: Network,
    position: int,
    address: str | None = None,
    mac: str | None = None,
) -> Nic:
    """Add a NIC; the one at position 0 is the default. Raises ParameterError, NoCapacity."""
    nic = Nic(
        account_id=vm.account_id,
        domain_id=vm.domain_id,
        vm_id=vm.id,
        network_id=network.id,
        position=position,
        mac=mac or new_mac(session),
        address=guest_address(session, network, address),
        netmask=network.netmask,
        gateway=network.gateway,
        is_default=position == 0,
    )
    session.add(nic)
    return nic


def _volumes(vm: Vm, request: VmRequest) -> list[Volume]:
    if request.is_from_iso and request.disk_offering is not None:
        return [
            _volume(
                vm,
                name=f"ROOT-{vm.id[:8]}",
                kind=VolumeKind.root,
                size=request.root_disk_bytes or request.disk_offering.disk_bytes or request.disk_bytes,
                device=0,
                offering_id=request.disk_offering.id,
            )
        ]
    wanted = request.root_disk_bytes or request.offering.root_disk_bytes
    root = _volume(
        vm,
        name=f"ROOT-{vm.id[:8]}",
        kind=VolumeKind.root,
        size=max(wanted, request.template.virtual_size),
        device=0,
        template_id=request.template.id,
    )
    if request.disk_offering is None:
        return [root]
    data = _volume(
        vm,
        name=f"DATA-{vm.id[:8]}",
        kind=VolumeKind.data,
        size=request.disk_offering.disk_bytes or request.disk_bytes,
        device=1,
        offering_id=request.disk_offering.id,
    )
    return [root, data]


def _volume(vm: Vm, **columns: Any) -> Volume:
    return Volume(
        account_id=vm.account_id, domain_id=vm.domain_id, zone_id=vm.zone_id, vm_id=vm.id, **columns
    )
