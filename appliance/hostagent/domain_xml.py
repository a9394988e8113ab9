"""Domain documents to libvirt XML and back; pure. The XML's metadata carries what libvirt has no word for.

Elements: https://libvirt.org/formatdomain.html.
"""

import hashlib
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from systemvm.spec.host import Domain, DomainNic, Power, Volume

NAMESPACE = "https://pileus.internal/xmlns/domain/1"
NAME_PREFIX = "pileus-"
#: Hot-pluggable PCI Express ports beyond those that the VM's own devices take.
SPARE_PORTS = 6
#: Name of the config disk in the guest, behind every volume.
CONFIG_TARGET = "vdz"
#: Name of the CD drive in the guest's definition.
CDROM_TARGET = "sda"
#: virtio-blk serials hold 20 bytes (VIRTIO_BLK_ID_BYTES).
SERIAL_LENGTH = 20
#: Processor of VMs under TCG: the fastest to boot of those that were measured (`max` takes a fifth longer).
EMULATED_CPU = "Haswell-noTSX-IBRS"
#: Of one VM's translated code under TCG; QEMU's own 1 GiB makes warm resets slow (docs/decisions/0007).
TRANSLATION_CACHE_MIB = 64

ET.register_namespace("pileus", NAMESPACE)


@dataclass(frozen=True)
class Placement:
    """Where a VM's parts lie on this host, and what the host is able to do.

    `mtus` maps bridges to the MTU that guests must use there; NICs on `isolated` bridges see the host
    only, not each other.
    """

    acceleration: str
    cpu_model: str
    machine_type: str
    disks: dict[str, Path]
    serial_log: Path
    vnc_socket: Path
    kernel: Path | None = None
    initrd: Path | None = None
    cmdline: str = ""
    config_disk: Path | None = None
    iso: Path | None = None
    mtus: dict[str, int] = field(default_factory=dict)
    isolated: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Record:
    """What the metadata of a domain says."""

    name: str
    power: Power
    reboots: int
    digest: str


def digest(document: Domain) -> str:
    """Tells documents apart; a fresh signature in a template's URL makes no new document."""
    volumes = tuple(
        msgspec.structs.replace(volume, base=volume.base and msgspec.structs.replace(volume.base, url=""))
        for volume in document.volumes
    )
    iso = document.iso and msgspec.structs.replace(document.iso, url="")
    raw = msgspec.json.encode(msgspec.structs.replace(document, volumes=volumes, iso=iso), order="sorted")
    return hashlib.sha256(raw).hexdigest()


def domain_xml(document: Domain, placement: Placement) -> str:
    """The whole definition of a VM."""
    root = ET.Element("domain", type=placement.acceleration)
    _text(root, "name", NAME_PREFIX + document.name)
    _text(root, "uuid", document.id)
    _metadata(root, document)
    _text(root, "memory", str(document.memory_mib), unit="MiB")
    _text(root, "vcpu", str(document.vcpus))
    _boot(root, document, placement)
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    if placement.acceleration == "qemu":
        _text(ET.SubElement(features, "tcg"), "tb-cache", str(TRANSLATION_CACHE_MIB), unit="MiB")
    _cpu(root, document, placement)
    clock = ET.SubElement(root, "clock", offset="utc")
    ET.SubElement(clock, "timer", name="hpet", present="no")
    for event, action in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        _text(root, event, action)
    root.append(_devices(document, placement))
    return ET.tostring(root, encoding="unicode")


def read_record(xml: str) -> Record | None:
    """The record in a domain's XML; None when the domain is none of ours."""
    vm = ET.fromstring(xml).find(f"metadata/{{{NAMESPACE}}}vm")  # noqa: S314 (libvirt's own answer)
    if vm is None:
        return None
    return Record(
        name=vm.get("name", ""),
        power=Power(vm.get("power", Power.stopped)),
        reboots=int(vm.get("reboots", "0")),
        digest=vm.get("digest", ""),
    )


def tap_name(mac: str) -> str:
    """The tap of a NIC: known beforehand, unique as the MAC is, and not libvirt's own `vnetN`."""
    return "t" + mac.replace(":", "")


def nic_element(nic: DomainNic, placement: Placement) -> ET.Element:
    """One NIC."""
    interface = ET.Element("interface", type="bridge")
    ET.SubElement(interface, "mac", address=nic.mac)
    ET.SubElement(interface, "source", bridge=nic.bridge)
    ET.SubElement(interface, "target", dev=tap_name(nic.mac))
    ET.SubElement(interface, "model", type="virtio")
    if nic.bridge in placement.mtus:
        ET.SubElement(interface, "mtu", size=str(placement.mtus[nic.bridge]))
    if nic.bridge in placement.isolated:
        ET.SubElement(interface, "port", isolated="yes")
    ET.SubElement(interface, "rom", enabled="no")  # nothing boots from the network, and the ROM takes time
    return interface


def disk_element(path: Path, target: str, serial: str, *, boot: bool = False) -> ET.Element:
    """One volume."""
    disk = _disk(path, target, serial, {"type": "qcow2", "cache": "writeback", "discard": "unmap"})
    if boot:
        ET.SubElement(disk, "boot", order="1")
    return disk


def cdrom_element(iso: Path | None, placement: Placement) -> ET.Element:
    """The CD drive with what lies in it. It is there even when empty, because drives cannot be plugged in."""
    disk = ET.Element("disk", type="file", device="cdrom")
    ET.SubElement(disk, "driver", name="qemu", type="raw")
    if iso is not None:
        ET.SubElement(disk, "source", file=str(iso))
    bus = "sata" if placement.machine_type == "q35" else "ide"
    ET.SubElement(disk, "target", dev=CDROM_TARGET if bus == "sata" else "hda", bus=bus)
    ET.SubElement(disk, "readonly")
    # After the first disk: firmware goes on to the CD as long as that disk is blank.
    ET.SubElement(disk, "boot", order="2")
    return disk


def serial_of(volume: Volume) -> str:
    """What the guest reads as the disk's serial; by default the volume's id without dashes, shortened."""
    return (volume.serial or volume.id.replace("-", ""))[:SERIAL_LENGTH]


def target_name(index: int) -> str:
    """vda, vdb, …: the order of the volumes."""
    return "vd" + chr(ord("a") + index)


def _metadata(root: ET.Element, document: Domain) -> None:
    metadata = ET.SubElement(root, "metadata")
    ET.SubElement(
        metadata,
        f"{{{NAMESPACE}}}vm",
        name=document.name,
        power=document.power.value,
        reboots=str(document.reboots),
        digest=digest(document),
    )


def _boot(root: ET.Element, document: Domain, placement: Placement) -> None:
    system = ET.SubElement(root, "os")
    _text(system, "type", "hvm", arch="x86_64", machine=placement.machine_type)
    if document.direct_boot and placement.kernel and placement.initrd:
        _text(system, "kernel", str(placement.kernel))
        _text(system, "initrd", str(placement.initrd))
        _text(system, "cmdline", f"{placement.cmdline} {document.direct_boot.cmdline}".strip())


def _cpu(root: ET.Element, document: Domain, placement: Placement) -> None:
    model = placement.cpu_model or ("host" if placement.acceleration == "kvm" else EMULATED_CPU)
    if model == "host":
        cpu = ET.SubElement(root, "cpu", mode="host-passthrough")
    elif model == "max":
        cpu = ET.SubElement(root, "cpu", mode="maximum")
    else:
        cpu = ET.SubElement(root, "cpu", mode="custom", match="exact", check="none")
        _text(cpu, "model", model, fallback="forbid")
    ET.SubElement(cpu, "topology", sockets="1", cores=str(document.vcpus), threads="1")


def _devices(document: Domain, placement: Placement) -> ET.Element:
    devices = ET.Element("devices")
    if placement.machine_type == "q35":
        # +2: the random generator and the balloon.
        ports = len(document.nics) + len(document.volumes) + bool(placement.config_disk) + 2 + SPARE_PORTS
        ET.SubElement(devices, "controller", type="pci", index="0", model="pcie-root")
        for index in range(1, ports + 1):
            ET.SubElement(devices, "controller", type="pci", index=str(index), model="pcie-root-port")
    devices.extend(nic_element(nic, placement) for nic in document.nics)
    for index, volume in enumerate(document.volumes):
        boot = index == 0 and document.direct_boot is None
        path = placement.disks[volume.id]
        devices.append(disk_element(path, target_name(index), serial_of(volume), boot=boot))
    if document.direct_boot is None:
        devices.append(cdrom_element(placement.iso, placement))
    if placement.config_disk:
        disk = _disk(placement.config_disk, CONFIG_TARGET, "pileus-config", {"type": "raw"})
        ET.SubElement(disk, "readonly")
        devices.append(disk)
    _serial(devices, placement.serial_log)
    _screen(devices, placement, has_tablet=document.direct_boot is None)
    rng = ET.SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
    ET.SubElement(devices, "memballoon", model="virtio")
    ET.SubElement(devices, "panic", model="isa")
    return devices


def _disk(path: Path, target: str, serial: str, driver: dict[str, str]) -> ET.Element:
    disk = ET.Element("disk", type="file", device="disk")
    ET.SubElement(disk, "driver", {"name": "qemu", **driver})
    ET.SubElement(disk, "source", file=str(path))
    ET.SubElement(disk, "target", dev=target, bus="virtio")
    _text(disk, "serial", serial)
    return disk


def _serial(devices: ET.Element, log: Path) -> None:
    serial = ET.SubElement(devices, "serial", type="file")
    ET.SubElement(serial, "source", path=str(log), append="on")
    ET.SubElement(serial, "target", port="0")


def _screen(devices: ET.Element, placement: Placement, *, has_tablet: bool) -> None:
    if has_tablet:
        # Absolute pointer, so that the browser's pointer and the guest's are one.
        ET.SubElement(devices, "controller", type="usb", index="0", model="qemu-xhci")
        ET.SubElement(devices, "input", type="tablet", bus="usb")
    else:
        ET.SubElement(devices, "controller", type="usb", index="0", model="none")
    graphics = ET.SubElement(devices, "graphics", type="vnc")
    ET.SubElement(graphics, "listen", type="socket", socket=str(placement.vnc_socket))
    video = ET.SubElement(devices, "video")
    ET.SubElement(video, "model", type="vga")


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text
