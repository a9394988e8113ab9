"""Start dnsmasq, or make it read its hosts again; give back leases that stand in the way."""

import logging
import time
from ipaddress import IPv4Address
from pathlib import Path

from systemvm.engine.errors import ApplyFailed
from systemvm.engine.service import Doors, Rendering
from systemvm.engine.swap import under
from systemvm.services.dnsmasq.dhcp import release
from systemvm.services.dnsmasq.leases import Lease, read_leases, remove_from_file, stale_leases
from systemvm.services.dnsmasq.render import LEASES

log = logging.getLogger(__name__)

#: Seconds in which a running dnsmasq gives leases back before it is restarted without them.
RELEASE_SECONDS = 2.0
_POLL = 0.1


def apply(new: Rendering, old: Rendering, doors: Doors) -> None:
    """Restart only for another main file; hosts and names need a signal. Raises CommandError."""
    if not new.daemons:
        return
    daemon = new.daemons[0]
    path = under(doors.root, LEASES)
    path.parent.mkdir(parents=True, exist_ok=True)
    if doors.daemons.is_running(daemon.name):
        # Before it reads the new hosts: dnsmasq ignores a release by a MAC that it no longer knows.
        _give_back(new, path)
    else:
        _forget(path, _stale(path, new))
    if not doors.daemons.ensure(daemon) and new.files != old.files:
        doors.daemons.reload(daemon)
    if stale := _stale(path, new):
        log.warning("dnsmasq is restarted, because it keeps %d leases that are over", len(stale))
        doors.daemons.stop(daemon.name)
        _forget(path, _stale(path, new))
        doors.daemons.ensure(daemon)


def _give_back(new: Rendering, path: Path) -> None:
    """Release leases in their holders' names; what dnsmasq does not hear in time stays in its file."""
    deadline = time.monotonic() + RELEASE_SECONDS
    while (stale := _stale(path, new)) and time.monotonic() < deadline:
        for lease in stale:
            _release(lease, new)
        time.sleep(_POLL)


def _stale(path: Path, new: Rendering) -> list[Lease]:
    """Only in subnets that are served: elsewhere nobody asks, and dnsmasq does not listen."""
    networks = [network for _, _, network in new.kernel.subnets]
    found = stale_leases(read_leases(path), new.kernel.hosts)
    return [lease for lease in found if any(IPv4Address(lease.address) in network for network in networks)]


def _release(lease: Lease, new: Rendering) -> None:
    address = IPv4Address(lease.address)
    for link, own, network in new.kernel.subnets:
        if address in network:
            try:
                release(link, own, lease.mac, address, lease.client_id)
            except OSError as error:
                raise ApplyFailed(f"lease of {address}: cannot be released on {link}: {error}") from error


def _forget(path: Path, stale: list[Lease]) -> None:
    if stale:
        remove_from_file(path, stale)
        log.info("%d leases are over, because their guests are gone or moved", len(stale))
