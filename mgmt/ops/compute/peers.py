"""What one host needs to reach another's migration door, and what it fetches through it."""

from collections.abc import Callable
from typing import TypeVar

from mgmt.agents.host import HostEndpoint
from mgmt.drivers.protocol import Driver
from mgmt.model.errors import Unavailable
from mgmt.ops.compute.domains import DEADLINE
from mgmt.ops.runtime import Runtime
from mgmt.pki.authority import host_name
from mgmt.store.tables import Host
from systemvm.spec.host import Peer, Volume, VolumeFetch

_POLL = 0.5
T = TypeVar("T")


def peer_of(runtime: Runtime, host: Host, subject: str) -> Peer:
    """A host's door, opened for one VM or volume. It holds a fresh key: never to be kept."""
    identity = runtime.authority.migration_client(subject)
    return Peer(
        address=host.address,
        server_name=host_name(host.id),
        server_ca=runtime.authority.server_ca,
        certificate=identity.certificate,
        key=identity.key,
    )


def fetch_base(
    runtime: Runtime, driver: Driver, endpoint: HostEndpoint, volume: Volume, source: Host
) -> None:
    """Have a host get the template that a volume of another host is based on, which gives it, too.

    Raises AgentError, Unavailable.
    """
    if volume.base is None or not volume.base.url or volume.base.once:
        return
    copy = VolumeFetch(volume=volume, source=peer_of(runtime, source, volume.id))
    words = f"host {endpoint.name} had no template of volume {volume.id}"
    until_done(runtime, lambda: driver.fetch_base(endpoint, copy), words)


def until_done(runtime: Runtime, ask: Callable[[], T | None], words: str) -> T:
    """Ask again while the answer is None or False: what it is then. Raises Unavailable with `words`."""
    waited = 0.0
    while not (answer := ask()):
        if waited >= DEADLINE:
            raise Unavailable(f"{words} within {DEADLINE:.0f} s")
        runtime.sleep(_POLL)
        waited += _POLL
    return answer
