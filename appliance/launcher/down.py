"""`pileus down` stops the cloud and keeps its data; `pileus clean` removes all that `pileus up` made."""

import contextlib
import errno
import pwd
import shutil
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import libvirt

from appliance.hostagent.boots import Boots
from appliance.hostagent.domain_xml import NAME_PREFIX
from appliance.hostagent.networks import remove_all
from appliance.launcher import node
from appliance.launcher.boot_unit import BootUnit
from appliance.launcher.daemons import machine_daemons, uses_systemd
from appliance.launcher.libvirt import DAEMON_NAME, libvirt_uri
from appliance.launcher.settings import read_settings
from appliance.launcher.steps import Progress, Step, StepFailed
from appliance.paths import Paths
from systemvm.engine.command import run

#: Seconds that guests get to power off by themselves, all together.
GRACE = 15.0


def down_steps(paths: Paths) -> list[Step]:
    """Boot starts nothing; management server, VMs, agents, libvirtd, networks stop, in this order."""
    daemons = machine_daemons(paths)

    def boot(say: Progress) -> str:
        was_enabled = uses_systemd() and BootUnit().disable()
        return "the cloud stays down when the machine boots" if was_enabled else "no unit"

    def management(say: Progress) -> str:
        daemons.stop(node.MGMT)
        return "stopped"

    def vms(say: Progress) -> str:
        return _stop_vms(paths, say) if daemons.is_running(DAEMON_NAME) else "none run"

    def host(say: Progress) -> str:
        node.stop_node(paths, daemons)
        return "host agent, relay and libvirt stopped"

    def networks(say: Progress) -> str:
        return f"{remove_all(paths)} removed"

    return [
        # First: a `pileus up` that boot began must not go on beside this.
        Step("Start at boot", boot),
        Step("Management server", management),
        Step("VMs", vms, hint="see the serial logs below the home's log folder"),
        Step("Host", host),
        Step("Networks", networks),
    ]


def clean_steps(paths: Paths, keep_images: bool) -> list[Step]:
    """All of `down_steps`, then remove boot unit, home, unprivileged user and built images."""
    settings = read_settings(paths)

    def unit(say: Progress) -> str:
        file = BootUnit().file
        return f"{file} removed" if uses_systemd() and BootUnit().remove() else "there is none"

    def data(say: Progress) -> str:
        _unmount_below(paths)
        _remove_folder(paths.home)
        return f"{paths.home} removed"

    def user(say: Progress) -> str:
        name = settings.user if settings else ""
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            run(("userdel", name))
            return f"{name} removed"
        return "there is none"

    def images(say: Progress) -> str:
        if keep_images:
            return f"kept in {paths.cache}"
        _remove_folder(paths.cache)
        return f"{paths.cache} removed"

    return [
        *down_steps(paths),
        Step("Boot unit", unit),
        Step("Data", data),
        Step("User", user),
        Step("Images", images),
    ]


def _stop_vms(paths: Paths, say: Progress) -> str:
    try:
        connection = libvirt.open(libvirt_uri(paths))
    except libvirt.libvirtError as error:
        raise StepFailed(
            f"libvirtd does not answer: {error}", "end it by its pid, then run this again"
        ) from None
    running = [
        item
        for item in connection.listAllDomains()
        if item.name().startswith(NAME_PREFIX) and item.isActive()
    ]
    # System VMs hold nothing that their journals do not, and have nobody who hears a power button.
    guests = [domain for domain in running if not _is_system_vm(domain)]
    boots = Boots(paths.domains)
    for domain in running:
        # Before: who asks afterwards why it is off starts it again with the next `pileus up`.
        boots.take_down(domain.UUIDString())
        with contextlib.suppress(libvirt.libvirtError):
            domain.shutdown() if domain in guests else domain.destroy()
    until = time.monotonic() + GRACE
    left = guests
    while left and time.monotonic() < until:
        say(f"{len(left)} of {len(running)} still run")
        time.sleep(0.5)
        left = [domain for domain in left if _is_active(domain)]
    for domain in left:
        with contextlib.suppress(libvirt.libvirtError):
            domain.destroy()
    connection.close()
    return f"{len(running)} stopped"


def _is_system_vm(domain: Any) -> bool:
    """Whether we chose its kernel: guests boot from their own disks."""
    return ET.fromstring(domain.XMLDesc()).find("os/kernel") is not None  # noqa: S314 (libvirt's own)


def _remove_folder(folder: Path) -> None:
    """Remove a folder with all in it; a mount point is emptied and stays."""
    if not folder.exists():
        return
    for item in folder.iterdir():
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise


def _is_active(domain: Any) -> bool:
    try:
        return bool(domain.isActive())
    except libvirt.libvirtError:
        return False


def _unmount_below(paths: Paths) -> None:
    home = str(paths.home)
    with open("/proc/self/mounts") as mounts:
        below = [line.split()[1] for line in mounts if line.split()[1].startswith(f"{home}/")]
    for target in sorted(below, reverse=True):
        run(("umount", target))
