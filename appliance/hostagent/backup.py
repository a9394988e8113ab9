"""A volume's content at one moment, as a qcow2 file of its own: of a running VM, or of a volume at rest.

A running VM: a push-mode backup job of libvirt's (`virDomainBackupBegin`), which is QEMU's own: the copy is
of the moment when the job begins, and the guest goes on writing. At rest: `qemu-img convert`, which takes
the image locks, so no VM can start with the volume meanwhile. Both read through the chain of overlays, so
the result has no backing file.
"""

import contextlib
import json
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libvirt

from appliance.hostagent.errors import Cancelled, HostError, Refused
from appliance.hostagent.hypervisor import device_elements
from systemvm.engine.command import run, run_watched

Tell = Callable[[int], None]
#: Seconds that a copy may take; a disk of a terabyte does, on disks as slow as any still in use.
DEADLINE = 6 * 3600.0
#: Seconds between two looks at a job, and that a job which was told to end may take.
POLL, ABORT_SECONDS = 0.2, 30.0
#: Bytes that stay free in a pool: VMs stop when it is full.
RESERVE = 256 << 20


class BackupFailed(HostError):
    """QEMU could not make the copy."""

    code = "backup_failed"
    status = 502


def check_room(source: Path, target: Path, free: int) -> None:
    """Raise Refused unless a copy of `source` fits beside it and leaves the guests room."""
    argv = ("qemu-img", "measure", "-U", "--output=json", "-f", "qcow2", "-O", "qcow2", str(source))
    needed = int(json.loads(run(argv).stdout)["required"])
    if needed + RESERVE > free:
        words = f"{needed} bytes are needed and {RESERVE} must stay free, but {free} are free: make room"
        raise Refused(f"no room for a copy in {target.parent}: {words}")


def copy_at_rest(source: Path, target: Path, tell: Tell, cancelled: threading.Event) -> None:
    """Copy a volume that no running VM has. `tell` gets bytes so far. Raises CommandError, Cancelled."""

    def watch() -> None:
        if cancelled.is_set():
            raise Cancelled(f"the copy of {source.stem} was cancelled")
        with contextlib.suppress(FileNotFoundError):
            tell(target.stat().st_blocks * 512)

    argv = ("qemu-img", "convert", "-q", "-f", "qcow2", "-O", "qcow2", str(source), str(target))
    run_watched(argv, watch, timeout=DEADLINE)


def copy_running(domain: Any, source: Path, target: Path, tell: Tell, cancelled: threading.Event) -> None:
    """Copy a disk of a running VM. Raises BackupFailed, Cancelled, libvirt.libvirtError."""
    document = _document(domain, source, target)
    _end_forgotten(domain)
    domain.backupBegin(document, None, 0)
    try:
        _follow(domain, tell, cancelled)
    except BaseException:
        _abort(domain)
        raise
    _check_result(domain)


def _document(domain: Any, source: Path, target: Path) -> str:
    """The backup of one disk and of no other (formatbackup.html of libvirt)."""
    root = ET.Element("domainbackup", mode="push")
    disks = ET.SubElement(root, "disks")
    is_there = False
    for element in device_elements(domain, "disk", running=True):
        name, file = element.find("target"), element.find("source")
        if name is None or element.get("device") != "disk":
            continue
        is_it = file is not None and file.get("file") == str(source)
        disk = ET.SubElement(disks, "disk", name=name.get("dev", ""), backup="yes" if is_it else "no")
        if is_it:
            is_there = True
            disk.set("type", "file")
            ET.SubElement(disk, "target", file=str(target))
            ET.SubElement(disk, "driver", type="qcow2")
    if not is_there:
        raise BackupFailed(f"the running VM does not have {source.name} plugged in")
    return ET.tostring(root, encoding="unicode")


def _follow(domain: Any, tell: Tell, cancelled: threading.Event) -> None:
    while True:
        stats = domain.jobStats()
        if stats["type"] == libvirt.VIR_DOMAIN_JOB_NONE:
            return
        tell(int(stats.get("disk_processed", 0)))
        if cancelled.wait(POLL):
            raise Cancelled("the copy of the running VM's disk was cancelled")


def _check_result(domain: Any) -> None:
    stats = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    if stats.get("type") != libvirt.VIR_DOMAIN_JOB_COMPLETED:
        raise BackupFailed(f"QEMU could not copy the disk: {stats.get('errmsg') or 'the job was ended'}")


def _end_forgotten(domain: Any) -> None:
    """End a backup that an agent began which is no more: nobody waits for it."""
    stats = domain.jobStats()
    if stats["type"] != libvirt.VIR_DOMAIN_JOB_NONE:
        if stats.get("operation") != libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP:
            raise BackupFailed("the VM is busy with another job, perhaps it moves: try again later")
        _abort(domain)


def _abort(domain: Any) -> None:
    """End a job and wait until it has ended; the VM may be gone meanwhile, and the job with it."""
    with contextlib.suppress(libvirt.libvirtError):
        domain.abortJob()
    pause, waited = threading.Event(), 0.0
    with contextlib.suppress(libvirt.libvirtError):
        while waited < ABORT_SECONDS and domain.jobStats()["type"] != libvirt.VIR_DOMAIN_JOB_NONE:
            pause.wait(POLL)
            waited += POLL
