"""VMs that move between hosts while they run: prepared where they land, sent from where they are.

libvirt moves memory and disks; its three streams go over Unix sockets, which lead through the other host's
door (docs/decisions/0014).
"""

import contextlib
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt

from appliance.hostagent.domain_xml import Placement
from appliance.hostagent.domains import Domains
from appliance.hostagent.errors import Refused
from appliance.hostagent.hypervisor import Hypervisor
from appliance.hostagent.migration_door import sockets_of
from appliance.hostagent.operations import Operation
from appliance.hostagent.peers import Forwarder
from appliance.hostagent.volumes import VolumeStore
from systemvm.spec.host import Departure, Domain, DomainStatus, Landing
from systemvm.spec.types import Uuid


class Migrations:
    """The VMs that come to this host, and those that leave it."""

    def __init__(self, hypervisor: Hypervisor, domains: Domains, volumes: VolumeStore) -> None:
        self._hypervisor = hypervisor
        self._domains = domains
        self._volumes = volumes

    def land(self, document: Domain, *, wait: float) -> Landing | None:
        """Make ready what a VM needs that comes from another host, and open the door for it; None: not yet.

        Raises Refused, Conflict; StepFailed. `close` ends it.
        """
        places: list[Placement] = []

        def ready(placement: Placement) -> None:
            sockets_of(document.id).mkdir(mode=0o700, parents=True, exist_ok=True)
            places.append(placement)

        while not places:
            if not self._domains.prepare(document, ready, wait=wait):
                return None
        return landing_of(places[0])

    def close(self, vm: Uuid) -> None:
        """Let nothing of a VM come from another host any more; what came stays."""
        shutil.rmtree(sockets_of(vm), ignore_errors=True)

    def depart(self, vm: Uuid, departure: Departure, *, wait: float) -> DomainStatus:
        """Move a running VM to another host; its definition and volumes stay here, the VM stopped.

        One that has left already is left alone. Raises NotFound, Conflict; StepFailed with libvirt's words.
        """

        def work(domain: Any, operation: Operation) -> None:
            if _has_left(domain):
                return
            if not domain.isActive():
                raise Refused(f"VM {vm} does not run here, so it cannot move")
            operation.say("moving the VM to the other host")
            with _forwarders(vm, departure) as (forwarders, folder):
                try:
                    self._migrate(domain, departure, folder)
                except libvirt.libvirtError as error:
                    words = "; ".join(one for each in forwarders for one in each.refusals)
                    raise Refused(f"{error}" + (f" ({words})" if words else "")) from error

        key = f"depart {departure.to.address} {','.join(departure.copies)}"
        return self._domains.work_on(vm, key, work, wait=wait)

    def _migrate(self, domain: Any, departure: Departure, folder: Path) -> None:
        secure = libvirt.VIR_DOMAIN_XML_SECURE
        running = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | secure)
        inactive = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | secure)
        places = {self._volumes.volume_of(path): path for path in _files(running)}
        if missing := sorted(places.keys() - {""} - departure.landing.disks.keys()):
            raise Refused(f"the landing has no place for volume {', '.join(missing)}")
        parameters: dict[str, Any] = {
            libvirt.VIR_MIGRATE_PARAM_URI: f"unix://{folder}/qemu.sock",
            libvirt.VIR_MIGRATE_PARAM_DISKS_URI: f"unix://{folder}/nbd.sock",
            libvirt.VIR_MIGRATE_PARAM_DEST_XML: moved_xml(running, departure.landing, places),
            libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: moved_xml(inactive, departure.landing, places),
        }
        # The caller says which disks are shared; libvirt would only guess by the kind of file system.
        flags = (
            libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNSAFE | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
        )
        if departure.live:
            flags |= libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_AUTO_CONVERGE
        if departure.copies:
            flags |= libvirt.VIR_MIGRATE_NON_SHARED_INC
            targets = targets_of(running, {places[volume] for volume in departure.copies})
            parameters[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = targets
        other = libvirt.open(f"qemu+unix:///system?socket={folder}/libvirt.sock")
        try:
            domain.migrate3(other, parameters, flags)
        finally:
            other.close()


@contextlib.contextmanager
def _forwarders(vm: str, departure: Departure) -> Iterator[tuple[list[Forwarder], Path]]:
    folder = sockets_of(vm)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = [Forwarder(folder / f"{what}.sock", departure.to, what) for what in ("libvirt", "qemu", "nbd")]
    try:
        yield made, folder
    finally:
        for forwarder in made:
            forwarder.close()
        shutil.rmtree(folder, ignore_errors=True)


def landing_of(placement: Placement) -> Landing:
    """What the other host must know of where a VM's parts lie here."""
    return Landing(
        disks={volume: str(path) for volume, path in placement.disks.items()},
        serial_log=str(placement.serial_log),
        vnc_socket=str(placement.vnc_socket),
        iso=str(placement.iso or ""),
        kernel=str(placement.kernel or ""),
        initrd=str(placement.initrd or ""),
        config_disk=str(placement.config_disk or ""),
    )


def _has_left(domain: Any) -> bool:
    state, reason = domain.state()
    return (state, reason) == (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED)


def moved_xml(xml: str, landing: Landing, places: dict[str, Path]) -> str:
    """A VM's definition with the paths of the host where it lands; `places` maps volumes to files here."""
    root = ET.fromstring(xml)  # noqa: S314 (libvirt's own)
    files = {str(path): landing.disks[volume] for volume, path in places.items() if volume}
    for disk in root.findall("devices/disk"):
        source = disk.find("source")
        if source is not None and source.get("file"):
            is_cd = disk.get("device") == "cdrom"
            fixed = landing.iso if is_cd else landing.config_disk
            is_fixed = disk.find("readonly") is not None
            source.set("file", fixed if is_fixed else files[source.get("file", "")])
        for derived in disk.findall("backingStore"):
            disk.remove(derived)  # the other host finds its own
    for tag, path in (("kernel", landing.kernel), ("initrd", landing.initrd)):
        for element in root.findall(f"os/{tag}"):
            element.text = path
    for serial in (*root.findall("devices/serial/source"), *root.findall("devices/console/source")):
        serial.set("path", landing.serial_log)
    for graphics in root.findall("devices/graphics"):
        for socket in (graphics, *graphics.findall("listen")):
            if socket.get("socket"):
                socket.set("socket", landing.vnc_socket)
    return ET.tostring(root, encoding="unicode")


def targets_of(xml: str, files: set[Path]) -> list[str]:
    """Names in the guest (vda) of disks, by their files."""
    root = ET.fromstring(xml)  # noqa: S314 (libvirt's own)
    return [
        target.get("dev", "")
        for disk in root.findall("devices/disk")
        if (source := disk.find("source")) is not None
        and Path(source.get("file", "")) in files
        and (target := disk.find("target")) is not None
    ]


def _files(xml: str) -> list[Path]:
    root = ET.fromstring(xml)  # noqa: S314 (libvirt's own)
    return [
        Path(source.get("file", "")) for source in root.findall("devices/disk/source") if source.get("file")
    ]
