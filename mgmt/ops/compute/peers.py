"""What one host needs to reach another's migration door."""

from mgmt.ops.runtime import Runtime
from mgmt.pki.authority import host_name
from mgmt.store.tables import Host
from systemvm.spec.host import Peer


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
