"""Documents of VMs for their host: tenants' guests, and system VMs with their bootstrap."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from systemvm.spec.bootstrap import FILE_NAME, VOLUME_LABEL, Bootstrap, BootstrapNic
from systemvm.spec.codec import encode
from systemvm.spec.host import (
    LINKLOCAL_NETWORK,
    ConfigDisk,
    DirectBoot,
    Domain,
    DomainNic,
    Power,
    TemplatePull,
    Volume,
)
from systemvm.spec.types import Purpose, Role

#: Image of every system VM in the hosts' local catalogs.
SYSTEM_IMAGE = "systemvm"


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A volume of a VM in a pool of its host; `base` is None for an empty one."""

    id: str
    pool: str
    bytes: int
    base: TemplatePull | None = None
    serial: str = ""


@dataclass(frozen=True, kw_only=True)
class Plug:
    """A NIC and the bridge of the host it is plugged into; `name` is its name inside a system VM."""

    mac: str
    bridge: str
    purpose: str = Purpose.guest
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class VmInput:
    """A VM. `memory` in MiB; NICs and disks in their order; `iso` lies in its CD drive."""

    id: str
    name: str
    power: str
    cpus: int
    memory: int
    plugs: tuple[Plug, ...] = ()
    disks: tuple[Disk, ...] = ()
    iso: TemplatePull | None = None
    reboots: int = 0


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a system VM's agent shows, and whose clients it accepts; PEM."""

    role: str
    linklocal_address: str
    certificate: str
    key: str = field(repr=False)
    client_ca: str


def compile_guest(vm: VmInput) -> Domain:
    """A tenant's VM: boots from its first disk, or from its CD while that disk is blank."""
    return Domain(
        id=vm.id,
        name=vm.name,
        power=Power(vm.power),
        vcpus=vm.cpus,
        memory_mib=vm.memory,
        nics=tuple(DomainNic(mac=plug.mac, bridge=plug.bridge) for plug in vm.plugs),
        volumes=_volumes(vm.disks),
        iso=vm.iso,
        reboots=vm.reboots,
    )


def compile_system_vm(vm: VmInput, identity: Identity) -> Domain:
    """A system VM: kernel of the catalog image, and a config disk that says who it is."""
    bits = LINKLOCAL_NETWORK.partition("/")[2]
    bootstrap = Bootstrap(
        machine=vm.id,
        name=vm.name,
        role=Role(identity.role),
        nics=tuple(
            BootstrapNic(mac=plug.mac, name=plug.name, purpose=Purpose(plug.purpose)) for plug in vm.plugs
        ),
        linklocal_address=f"{identity.linklocal_address}/{bits}",
        certificate=identity.certificate,
        key=identity.key,
        client_ca=identity.client_ca,
    )
    return Domain(
        id=vm.id,
        name=vm.name,
        power=Power(vm.power),
        vcpus=vm.cpus,
        memory_mib=vm.memory,
        nics=tuple(DomainNic(mac=plug.mac, bridge=plug.bridge) for plug in vm.plugs),
        volumes=_volumes(vm.disks),
        direct_boot=DirectBoot(image=SYSTEM_IMAGE, cmdline=""),
        config_disk=ConfigDisk(label=VOLUME_LABEL, files={FILE_NAME: encode(bootstrap).decode()}),
        reboots=vm.reboots,
    )


def _volumes(disks: Sequence[Disk]) -> tuple[Volume, ...]:
    return tuple(
        Volume(id=disk.id, pool=disk.pool, bytes=disk.bytes, base=disk.base, serial=disk.serial)
        for disk in disks
    )
