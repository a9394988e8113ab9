"""The door to libvirt: one connection that comes back by itself, and the few verbs that the agent needs."""

import contextlib
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from typing import Any

import libvirt

from appliance.hostagent.changes import Changes, run_events
from appliance.hostagent.domain_xml import NAME_PREFIX
from appliance.hostagent.errors import Conflict, HypervisorUnavailable

_POLL = 0.1
#: Seconds that a guest gets to let go of a device.
DETACH_DEADLINE = 20.0

_STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: "stopped",
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_BLOCKED: "running",
    libvirt.VIR_DOMAIN_PAUSED: "running",
    libvirt.VIR_DOMAIN_SHUTDOWN: "running",
    libvirt.VIR_DOMAIN_SHUTOFF: "stopped",
    libvirt.VIR_DOMAIN_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "running",
}
_SHUTOFF_REASONS = {
    libvirt.VIR_DOMAIN_SHUTOFF_UNKNOWN: "not started since libvirtd was",
    libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN: "powered off from inside",
    libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED: "stopped by the host",
    libvirt.VIR_DOMAIN_SHUTOFF_CRASHED: "its process ended",
    libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED: "migrated to another host",
    libvirt.VIR_DOMAIN_SHUTOFF_SAVED: "saved",
    libvirt.VIR_DOMAIN_SHUTOFF_FAILED: "did not start",
    libvirt.VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT: "loaded from a snapshot",
    libvirt.VIR_DOMAIN_SHUTOFF_DAEMON: "libvirtd lost its process",
}
#: Paused, and not running yet: a VM whose memory is on its way from another host must not pass for one
#: that has arrived.
_PREPARING_REASONS = {
    libvirt.VIR_DOMAIN_PAUSED_STARTING_UP: "starting",
    libvirt.VIR_DOMAIN_PAUSED_MIGRATION: "moving between hosts",
}
_PAUSED_REASONS = {
    libvirt.VIR_DOMAIN_PAUSED_IOERROR: "paused: the disk of the host is full or broken",
    libvirt.VIR_DOMAIN_PAUSED_CRASHED: "paused: the guest crashed",
}


class Hypervisor:
    """This cloud's libvirtd behind `uri`. All methods raise HypervisorUnavailable when it does not answer,
    and libvirt.libvirtError with its own words when it refuses.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._lock = threading.Lock()
        self._connection: Any = None
        self.changes = Changes()
        run_events()
        # Without it libvirt prints every error to stderr, besides raising it.
        libvirt.registerErrorHandler(lambda _context, _error: None, None)

    def connection(self) -> Any:
        """A connection that answers, opened again when libvirtd was restarted."""
        with self._lock:
            if self._connection is not None:
                with contextlib.suppress(libvirt.libvirtError):
                    self._connection.getLibVersion()
                    return self._connection
            try:
                self._connection = libvirt.open(self._uri)
                self.changes.follow(self._connection)
            except libvirt.libvirtError as error:
                self._connection = None
                raise HypervisorUnavailable(f"libvirtd does not answer: {error}") from None
            return self._connection

    def find(self, uuid: str) -> Any | None:
        """The libvirt domain of a VM; None when there is none."""
        try:
            return self.connection().lookupByUUIDString(uuid)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise

    def domains(self) -> list[Any]:
        """Our libvirt domains, running or not."""
        return [domain for domain in self.connection().listAllDomains() if _is_ours(domain)]

    def states(self) -> dict[str, tuple[str, str, str]]:
        """VM to its name, state and reason in words, of all VMs, by one call."""
        answers = self.connection().getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, 0)
        return {
            domain.UUIDString(): (domain.name().removeprefix(NAME_PREFIX), *describe_state(stats))
            for domain, stats in answers
            if _is_ours(domain)
        }

    def paused(self) -> list[Any]:
        """Our libvirt domains that stand still, for whatever reason."""
        found = self.connection().listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_PAUSED)
        return [domain for domain in found if _is_ours(domain)]

    def statistics(self) -> list[tuple[str, dict[str, Any]]]:
        """VM and its counters (libvirt's names), of all running VMs, by one call."""
        wanted = (
            libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
            | libvirt.VIR_DOMAIN_STATS_BALLOON
            | libvirt.VIR_DOMAIN_STATS_INTERFACE
            | libvirt.VIR_DOMAIN_STATS_BLOCK
        )
        flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING
        answers = self.connection().getAllDomainStats(wanted, flags)
        return [(domain.UUIDString(), stats) for domain, stats in answers if _is_ours(domain)]


def describe_state(stats: dict[str, Any]) -> tuple[str, str]:
    """State and reason of one answer of getAllDomainStats."""
    state, reason = stats["state.state"], stats["state.reason"]
    if state == libvirt.VIR_DOMAIN_SHUTOFF:
        crashed = reason in (libvirt.VIR_DOMAIN_SHUTOFF_CRASHED, libvirt.VIR_DOMAIN_SHUTOFF_DAEMON)
        return ("crashed" if crashed else "stopped"), _SHUTOFF_REASONS.get(reason, "")
    if state == libvirt.VIR_DOMAIN_PAUSED and reason in _PREPARING_REASONS:
        return "preparing", _PREPARING_REASONS[reason]
    if state == libvirt.VIR_DOMAIN_PAUSED:
        return "running", _PAUSED_REASONS.get(reason, "paused")
    return _STATES[state], ""


def power_off(domain: Any, grace: float, say: Callable[[str], None]) -> None:
    """Press the power button, wait `grace` seconds, then pull the plug. 0 pulls at once."""
    if grace > 0:
        say(f"asking the VM to power off, for at most {grace:.0f} s")
        with _already_off():
            domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
        _wait(lambda: not domain.isActive(), grace)
    say("stopping the VM")
    with _already_off():
        domain.destroy()


def undefine(domain: Any) -> None:
    """Let libvirt forget a VM that does not run; its disks stay."""
    domain.undefineFlags(
        libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
        | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    )


def discard(domain: Any) -> None:
    """Stop a VM at once and forget it."""
    power_off(domain, 0.0, lambda _step: None)
    undefine(domain)


def device_elements(domain: Any, tag: str, *, running: bool) -> list[ET.Element]:
    """The `interface` or `disk` elements of a running VM, or of its definition."""
    flags = 0 if running else libvirt.VIR_DOMAIN_XML_INACTIVE
    root = ET.fromstring(domain.XMLDesc(flags))  # noqa: S314 (libvirt's own answer)
    return root.findall(f"devices/{tag}")


def detach_device(domain: Any, element: ET.Element, is_gone: Callable[[], bool]) -> None:
    """Unplug from a running VM. Raises Conflict when the guest does not let go."""
    domain.detachDeviceFlags(ET.tostring(element, encoding="unicode"), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    if not _wait(is_gone, DETACH_DEADLINE):
        raise Conflict(
            f"the guest did not let go of its {element.tag} within {DETACH_DEADLINE:.0f} s: "
            "unmount it inside, or stop the VM"
        )


def attach_device(domain: Any, element: ET.Element) -> None:
    """Plug into a running VM."""
    domain.attachDeviceFlags(ET.tostring(element, encoding="unicode"), libvirt.VIR_DOMAIN_AFFECT_LIVE)


def update_device(domain: Any, element: ET.Element) -> None:
    """Change a plugged device of a running VM, for example the bridge of a NIC."""
    domain.updateDeviceFlags(ET.tostring(element, encoding="unicode"), libvirt.VIR_DOMAIN_AFFECT_LIVE)


def cd_drive(domain: Any) -> ET.Element | None:
    """The CD drive of a running VM, None if it has none."""
    disks = device_elements(domain, "disk", running=True)
    return next((disk for disk in disks if disk.get("device") == "cdrom"), None)


def change_medium(domain: Any, drive: ET.Element) -> None:
    """Change the medium in a drive of a running VM, also one that its guest has locked or still reads."""
    flags = libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_DEVICE_MODIFY_FORCE
    domain.updateDeviceFlags(ET.tostring(drive, encoding="unicode"), flags)


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if done():
            return True
        time.sleep(_POLL)
    return done()


@contextlib.contextmanager
def _already_off() -> Iterator[None]:
    try:
        yield
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise


def _is_ours(domain: Any) -> bool:
    return bool(domain.name().startswith(NAME_PREFIX))
