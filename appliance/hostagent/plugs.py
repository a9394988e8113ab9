"""What must be plugged, unplugged or replugged on a running VM: a pure plan, then its execution."""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from appliance.hostagent import hypervisor
from appliance.hostagent.domain_xml import (
    Placement,
    cdrom_element,
    disk_element,
    nic_element,
    serial_of,
    target_name,
)
from appliance.hostagent.errors import Conflict
from systemvm.spec.host import Domain, DomainNic, Volume


@dataclass(frozen=True)
class NicPlan:
    """NICs by difference: `detach` are MACs, `replug` change their bridge."""

    attach: tuple[DomainNic, ...]
    replug: tuple[DomainNic, ...]
    detach: tuple[str, ...]


@dataclass(frozen=True)
class DiskPlan:
    """Volumes by difference: to attach with their target names, and files to detach."""

    attach: tuple[tuple[Volume, str], ...]
    detach: tuple[Path, ...]


def plan_nics(wanted: tuple[DomainNic, ...], plugged: dict[str, str]) -> NicPlan:
    """`plugged` maps MACs to bridges."""
    return NicPlan(
        attach=tuple(nic for nic in wanted if nic.mac not in plugged),
        replug=tuple(nic for nic in wanted if plugged.get(nic.mac, nic.bridge) != nic.bridge),
        detach=tuple(mac for mac in plugged if mac not in {nic.mac for nic in wanted}),
    )


def plan_disks(wanted: tuple[Volume, ...], files: dict[str, Path], plugged: dict[Path, str]) -> DiskPlan:
    """`files` maps wanted volumes to files, `plugged` maps files in the VM to target names."""
    detach = tuple(path for path in plugged if path not in files.values())
    taken = {target for path, target in plugged.items() if path not in detach}
    free = (name for name in map(target_name, range(26)) if name not in taken)
    missing = (volume for volume in wanted if files[volume.id] not in plugged)
    return DiskPlan(attach=tuple(zip(missing, free, strict=False)), detach=detach)


def plugged_nics(domain: Any) -> dict[str, ET.Element]:
    """MAC to element, of a running VM."""
    found = {}
    for element in hypervisor.device_elements(domain, "interface", running=True):
        mac = element.find("mac")
        if mac is not None:
            found[mac.get("address", "")] = element
    return found


def plugged_disks(domain: Any, *, running: bool) -> dict[Path, ET.Element]:
    """File to element, of the writable disks (so without the config disk)."""
    found = {}
    for element in hypervisor.device_elements(domain, "disk", running=running):
        source = element.find("source")
        if source is not None and element.find("readonly") is None and source.get("file"):
            found[Path(source.get("file", ""))] = element
    return found


def used_files(domain: Any) -> set[Path]:
    """Every file that a VM has as a disk or CD, running or by its definition."""
    found = set()
    for running in {False, bool(domain.isActive())}:
        for element in hypervisor.device_elements(domain, "disk", running=running):
            found |= {Path(source.get("file", "")) for source in element.iter("source") if source.get("file")}
    return found


def refuse_moved(domain: Any, files: Iterable[Path]) -> None:
    """Raise Conflict if a running VM has the volume of one of these files in another file.

    It moved since that was written: nobody may plug the old file, or make a new one in its place.
    """
    plugged = {path.name: path for path in plugged_disks(domain, running=True)}
    for file in files:
        if plugged.get(file.name, file) != file:
            raise Conflict(
                f"volume {file.stem} is in {plugged[file.name].parent} by now, not in {file.parent}"
            )


def converge(domain: Any, document: Domain, placement: Placement, say: Callable[[str], None]) -> None:
    """Plug and unplug until a running VM has the NICs, volumes and CD of its document."""
    _converge_nics(domain, document, placement, say)
    _converge_disks(domain, document, placement, say)
    _change_cd(domain, placement, say)


def _converge_nics(domain: Any, document: Domain, placement: Placement, say: Callable[[str], None]) -> None:
    elements = plugged_nics(domain)
    bridges = {mac: _attribute(element, "source", "bridge") for mac, element in elements.items()}
    plan = plan_nics(document.nics, bridges)
    for mac in plan.detach:
        say(f"unplugging NIC {mac}")
        hypervisor.detach_device(domain, elements[mac], partial(_is_unplugged, domain, mac))
    for nic in plan.replug:
        say(f"moving NIC {nic.mac} to {nic.bridge}")
        source = elements[nic.mac].find("source")
        if source is not None:
            source.attrib.clear()
            source.set("bridge", nic.bridge)
        hypervisor.update_device(domain, elements[nic.mac])
    for nic in plan.attach:
        say(f"plugging NIC {nic.mac} into {nic.bridge}")
        hypervisor.attach_device(domain, nic_element(nic, placement))


def _converge_disks(domain: Any, document: Domain, placement: Placement, say: Callable[[str], None]) -> None:
    elements = plugged_disks(domain, running=True)
    targets = {path: _attribute(element, "target", "dev") for path, element in elements.items()}
    plan = plan_disks(document.volumes, placement.disks, targets)
    for path in plan.detach:
        say(f"detaching {path.name}")
        hypervisor.detach_device(domain, elements[path], partial(_is_detached, domain, path))
    for volume, target in plan.attach:
        say(f"attaching volume {volume.id}")
        element = disk_element(placement.disks[volume.id], target, serial_of(volume))
        hypervisor.attach_device(domain, element)


def _change_cd(domain: Any, placement: Placement, say: Callable[[str], None]) -> None:
    """Put another CD into the drive, or take it out; a VM without a drive has had no CD since it started."""
    drive = hypervisor.cd_drive(domain)
    if drive is None or _attribute(drive, "source", "file") == str(placement.iso or ""):
        return
    say(f"inserting CD {placement.iso.name}" if placement.iso else "ejecting the CD")
    hypervisor.change_medium(domain, cdrom_element(placement.iso, placement))


def _is_unplugged(domain: Any, mac: str) -> bool:
    return mac not in plugged_nics(domain)


def _is_detached(domain: Any, path: Path) -> bool:
    return path not in plugged_disks(domain, running=True)


def _attribute(element: ET.Element, tag: str, name: str) -> str:
    child = element.find(tag)
    return child.get(name, "") if child is not None else ""
