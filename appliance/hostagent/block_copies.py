"""A disk of a running VM copied into another file, which then takes its place: QEMU's mirror job, by libvirt.

The job is libvirt's and outlives this agent: the VM's XML says which file is copied into and whether both are
the same yet. Which file counts is said by the VM's definition alone, and that follows at the end, while the
guest stands still for a moment: so no end of QEMU, libvirtd or this agent leaves writes in a file that does
not count. https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainBlockCopy
"""

import contextlib
import shutil
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt

from appliance.hostagent.errors import Cancelled, HostError
from appliance.hostagent.hypervisor import device_elements

#: Seconds between two looks at a job.
_POLL = 0.2
#: The files are ours, not libvirt's to make; guests that write faster than the copy goes cannot outrun it;
#: and a job that ends with its QEMU is all right, because the definition names the old file until the end.
_FLAGS = (
    libvirt.VIR_DOMAIN_BLOCK_COPY_REUSE_EXT
    | libvirt.VIR_DOMAIN_BLOCK_COPY_SYNCHRONOUS_WRITES
    | libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
)


class CopyFailed(HostError):
    """QEMU could not copy the disk; the VM has its old file."""

    code = "copy_failed"
    status = 502


@dataclass(frozen=True)
class CopiedDisk:
    """A disk of a running VM, its name in the guest, and the file it is being copied into, if it is.

    `is_equal`: both files have the same content, and whatever the guest writes goes into both.
    """

    device: str
    file: Path
    into: Path | None = None
    is_equal: bool = False


def disks_of(domain: Any) -> list[CopiedDisk]:
    """The writable disks of a running VM. Raises libvirt.libvirtError."""
    found = []
    for element in device_elements(domain, "disk", running=True):
        target, source = element.find("target"), element.find("source")
        if target is None or source is None or element.find("readonly") is not None:
            continue
        mirror, into = element.find("mirror"), element.find("mirror/source")
        found.append(
            CopiedDisk(
                device=target.get("dev", ""),
                file=Path(source.get("file", "")),
                into=Path(into.get("file", "")) if into is not None else None,
                is_equal=mirror is not None and mirror.get("ready") == "yes",
            )
        )
    return found


def begin(domain: Any, disk: CopiedDisk, into: Path, *, keeps_base: bool) -> None:
    """Start to copy into a file that was made for it; `keeps_base`: all but what both are based on."""
    root = ET.Element("disk", type="file")
    ET.SubElement(root, "driver", type="qcow2")
    ET.SubElement(root, "source", file=str(into))
    shallow = libvirt.VIR_DOMAIN_BLOCK_COPY_SHALLOW if keeps_base else 0
    domain.blockCopy(disk.device, ET.tostring(root, encoding="unicode"), None, _FLAGS | shallow)


def follow(domain: Any, device: str, into: Path, tell: Callable[[int], None], end: threading.Event) -> None:
    """Wait until both files have the same content; `tell` gets percents. Raises CopyFailed, Cancelled."""
    while True:
        disk = next((disk for disk in disks_of(domain) if disk.device == device), None)
        if disk is None or disk.into != into:
            raise CopyFailed(_why_it_ended(domain, into))
        if disk.is_equal:
            return
        job = domain.blockJobInfo(device, 0)
        tell(int(job.get("cur", 0)) * 100 // max(int(job.get("end", 0)), 1))
        if end.wait(_POLL):
            raise Cancelled("the copy of the running VM's disk was cancelled")


def take_over(domain: Any, device: str, old: Path, new: Path, mark: Path) -> None:
    """Let the VM go on with the new file, running and by its definition. Raises libvirt.libvirtError.

    `mark` is there while the guest stands still: see `wake`.
    """
    runs = domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING
    if runs:
        mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark.touch(mode=0o600)
        domain.suspend()
    try:
        domain.blockJobAbort(device, libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
        define_with(domain, old, new)
    finally:
        if runs:
            wake(domain, mark)


def wake(domain: Any, mark: Path) -> None:
    """Let a guest go on that an agent stopped for a moment, perhaps one that is no more."""
    if not mark.exists():
        return
    state, reason = domain.state()
    if (state, reason) == (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER):
        domain.resume()
    mark.unlink()


def define_with(domain: Any, old: Path, new: Path) -> None:
    """See that the definition names the new file, also where libvirt did not see to it.

    It finds the disk there by its name in the guest, which may be another after the next start.
    """
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
    root = ET.fromstring(domain.XMLDesc(flags))  # noqa: S314 (libvirt's own)
    stale = [
        (disk, source)
        for disk in root.findall("devices/disk")
        if (source := disk.find("source")) is not None and source.get("file") == str(old)
    ]
    for disk, source in stale:
        source.set("file", str(new))
        for derived in disk.findall("backingStore"):
            disk.remove(derived)
    if stale:
        domain.connect().defineXML(ET.tostring(root, encoding="unicode"))


def end(domain: Any, into: Path) -> None:
    """End a copy into a file, if there is one; the VM keeps its old file."""
    for disk in disks_of(domain) if domain.isActive() else ():
        if disk.into == into:
            with contextlib.suppress(libvirt.libvirtError):  # it ended by itself
                domain.blockJobAbort(disk.device, 0)


def _why_it_ended(domain: Any, into: Path) -> str:
    if not domain.isActive():
        return "the VM stopped before its disk was copied"
    free = shutil.disk_usage(into.parent).free
    return f"QEMU ended the copy into {into.parent}, which has {free} bytes free: see that it has room"
