"""Rows of tenants' VMs: made, recovered. What happens on hosts is in `vm_workflows`."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mgmt.alloc.guests import guest_address
from mgmt.alloc.macs import new_mac
from mgmt.model.errors import ParameterError
from mgmt.model.states import TemplateState, VmKind, VmState, VolumeKind
from mgmt.ops.instance_names import next_instance_name
from mgmt.ops.passwords import set_new_password
from mgmt.store.sealing import Seal
from mgmt.store.tables import DiskOffering, Network, Nic, ServiceOffering, Template, Vm, Volume
from mgmt.store.tables.base import new_id


@dataclass(frozen=True, kw_only=True)
class VmRequest:
    """A VM to create, checked and authorized. `networks` are (network, wanted address); the first is default.

    `name` is the host name, empty for a generated one; `user_data` is base64; sizes are bytes.
    `disk_offering` adds a data disk, of `disk_bytes` where the offering leaves it open.
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
    user_data: str = field(default="", repr=False)
    key_names: tuple[str, ...] = ()
    public_keys: tuple[str, ...] = ()
    root_disk_bytes: int = 0
    disk_offering: DiskOffering | None = None
    disk_bytes: int = 0
    details: dict[str, Any] = field(default_factory=dict)


def create_vm(session: Session, seal: Seal, request: VmRequest) -> Vm:
    """Insert a VM (state Stopped) with its root volume, data volume and NICs; DEPLOY_VM does the rest.

    Raises ParameterError or NoCapacity with a sentence.
    """
    _check_template(request)
    vm_id = new_id()
    name = request.name or f"vm-{vm_id[:8]}"
    _check_name(session, request, name)
    vm = Vm(
        id=vm_id,
        kind=VmKind.user,
        name=name,
        display_name=request.display_name or name,
        instance_name=next_instance_name(session, VmKind.user),
        group=request.group,
        account_id=request.account_id,
        domain_id=request.domain_id,
        zone_id=request.zone_id,
        offering_id=request.offering.id,
        template_id=request.template.id,
        user_data=request.user_data,
        key_names=list(request.key_names),
        public_keys=list(request.public_keys),
        details=dict(request.details),
    )
    if request.template.password_enabled:
        set_new_password(vm, seal)
    session.add(vm)
    session.flush()
    _add_nics(session, vm, request)
    _add_volumes(session, vm, request)
    session.flush()
    return vm


def recover_vm(vm: Vm) -> None:
    """Bring a destroyed, not yet expunged VM back as a stopped one. Raises ParameterError."""
    if vm.state != VmState.destroyed:
        raise ParameterError(f"VM {vm.name} is {vm.state}: only a Destroyed one can be recovered")
    vm.state = VmState.stopped
    vm.reason = ""


def _check_template(request: VmRequest) -> None:
    template = request.template
    if template.state != TemplateState.ready:
        raise ParameterError(f"template {template.name} is {template.state}: wait until it is Ready")
    if template.zone_id != request.zone_id:
        raise ParameterError(f"template {template.name} is not in that zone: register it there first")
    if not request.networks:
        raise ParameterError("a VM needs a network: name one in networkids")
    for network, _address in request.networks:
        if network.zone_id != request.zone_id:
            raise ParameterError(f"network {network.name} is in another zone")
    if len({network.id for network, _address in request.networks}) < len(request.networks):
        raise ParameterError("networkids names a network twice")


def _check_name(session: Session, request: VmRequest, name: str) -> None:
    """Names resolve in the network's DNS, where case does not count, so they are unique there."""
    networks = [network.id for network, _address in request.networks]
    query = (
        select(Vm.name)
        .join(Nic, Nic.vm_id == Vm.id)
        .where(func.lower(Vm.name) == name.lower(), Vm.removed.is_(None))
        .where(Nic.removed.is_(None), Nic.network_id.in_(networks))
    )
    if session.scalar(query.limit(1)):
        raise ParameterError(f"a VM named {name} is already in one of these networks: choose another name")


def _add_nics(session: Session, vm: Vm, request: VmRequest) -> None:
    for position, (network, wanted) in enumerate(request.networks):
        session.add(
            Nic(
                account_id=vm.account_id,
                domain_id=vm.domain_id,
                vm_id=vm.id,
                network_id=network.id,
                position=position,
                mac=new_mac(session),
                address=guest_address(session, network, wanted),
                netmask=network.netmask,
                gateway=network.gateway,
                is_default=position == 0,
            )
        )
        session.flush()


def _add_volumes(session: Session, vm: Vm, request: VmRequest) -> None:
    wanted = request.root_disk_bytes or request.offering.root_disk_bytes
    _add_volume(
        session,
        vm,
        name=f"ROOT-{vm.id[:8]}",
        kind=VolumeKind.root,
        size=max(wanted, request.template.virtual_size),
        device=0,
        template_id=request.template.id,
    )
    if request.disk_offering is not None:
        _add_volume(
            session,
            vm,
            name=f"DATA-{vm.id[:8]}",
            kind=VolumeKind.data,
            size=request.disk_offering.disk_bytes or request.disk_bytes,
            device=1,
            offering_id=request.disk_offering.id,
        )


def _add_volume(session: Session, vm: Vm, **columns: Any) -> None:
    session.add(
        Volume(account_id=vm.account_id, domain_id=vm.domain_id, zone_id=vm.zone_id, vm_id=vm.id, **columns)
    )
