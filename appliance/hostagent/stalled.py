"""Guests that stand still because their disks found no room: they go on by themselves once there is some.

QEMU stops a guest whose disk is full instead of telling it of an error, which would cost it its file system,
and repeats the write when it goes on. It does not look for room itself.
"""

import logging
import shutil
import threading
from typing import Any

import libvirt

from appliance.hostagent.backup import RESERVE
from appliance.hostagent.block_copies import disks_of
from appliance.hostagent.hypervisor import Hypervisor
from systemvm.engine.errors import EngineError

_log = logging.getLogger("pileus.host")
#: Seconds between two looks.
PERIOD = 10.0
_STALLED = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR)


def watch(hypervisor: Hypervisor) -> None:
    """Look now and then, in a thread that ends with the process."""
    pause = threading.Event()

    def run() -> None:
        while not pause.wait(PERIOD):
            try:
                wake_stalled(hypervisor)
            except (EngineError, libvirt.libvirtError) as error:
                _log.warning("it is not known whether guests stand still for want of room: %s", error)

    threading.Thread(target=run, name="stalled", daemon=True).start()


def wake_stalled(hypervisor: Hypervisor) -> None:
    """Let guests go on that stand still, if all their disks have room by now."""
    for domain in hypervisor.paused():
        try:
            if tuple(domain.state()) == _STALLED and _has_room(domain):
                _log.warning("VM %s goes on, because its disks have room again", domain.UUIDString())
                domain.resume()
        except (libvirt.libvirtError, OSError) as error:  # it ended meanwhile, or its pool is away
            _log.warning("VM %s stands still, because %s", domain.UUIDString(), error)


def _has_room(domain: Any) -> bool:
    folders = {disk.file.parent for disk in disks_of(domain)}
    return all(shutil.disk_usage(folder).free >= RESERVE for folder in folders)
