"""The cloud's certificate authority: all of it in `<home>/pki`, issued on demand, renewed before its end."""

import shutil
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mgmt.pki import tickets
from mgmt.pki.certificates import Identity, Usage, create_root, issue_leaf, names_of, sign_request
from mgmt.pki.files import read_identity, write_identity, write_private

#: Name in the certificate with which mgmt talks to agents (`systemvm.spec.bootstrap.MGMT_NAME`).
MGMT_NAME = "mgmt.pileus.internal"
CONSOLE_NAME = "console.pileus.internal"
#: How long a move's certificate opens doors; connections that are open then go on.
MIGRATION_LIFE = timedelta(hours=1)


def vm_name(machine: str) -> str:
    """DNS name of a system VM's agent."""
    return f"{machine}.vm.pileus.internal"


def host_name(host: str) -> str:
    """DNS name of a host's agent."""
    return f"{host}.host.pileus.internal"


def migration_name(subject: str) -> str:
    """DNS name in the client certificate with which a VM or volume moves."""
    return f"{subject}.migration.pileus.internal"


def system_now() -> datetime:
    """The current moment, UTC."""
    return datetime.now(UTC)


class Authority:
    """Issues and keeps certificates in `folder` (mode 0700); `now` is the clock.

    An identity that was issued stays the same until it is due, so that documents which carry it do not
    change with every compilation.
    """

    def __init__(self, folder: Path, now: Callable[[], datetime] = system_now) -> None:
        self._folder = folder
        self._now = now
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._roots = {usage: self._root(usage) for usage in Usage}
        self._ticket_key = self._read_or_create("ticket.key", tickets.create_key)

    @property
    def server_ca(self) -> str:
        """PEM of the root that signed agents and other servers."""
        return self._roots[Usage.server].certificate

    @property
    def client_ca(self) -> str:
        """PEM of the root that signed mgmt and other clients."""
        return self._roots[Usage.client].certificate

    @property
    def ticket_public_key(self) -> str:
        """PEM of the public key that verifies tickets."""
        return tickets.public_key(self._ticket_key)

    @property
    def ticket_key(self) -> str:
        """PEM of the private key that signs tickets."""
        return self._ticket_key

    def management(self) -> Identity:
        """mgmt's own client identity."""
        return self._kept("mgmt", Usage.client, (MGMT_NAME,))

    def management_file(self) -> Path:
        """PEM file of `management`, certificate and key, for libraries that only read files."""
        self.management()
        return self._path("mgmt")

    def console_client(self) -> Identity:
        """The console proxies' client identity towards the hosts' relays."""
        return self._kept("console-client", Usage.client, (CONSOLE_NAME,))

    def migration_client(self, subject: str) -> Identity:
        """A client identity that opens hosts' migration doors for one VM or volume: short-lived, not kept."""
        root, now = self._roots[Usage.client], self._now()
        return issue_leaf(root, Usage.client, now, names=(migration_name(subject),), life=MIGRATION_LIFE)

    def host_agent(self, host: str, address: str) -> Identity:
        """A host agent's server identity, for its management address."""
        return self._kept(f"hosts/{host}", Usage.server, (host_name(host),), (address,))

    def machine_agent(self, machine: str, address: str) -> Identity:
        """A system VM agent's server identity, for its link-local address."""
        return self._kept(f"machines/{machine}/agent", Usage.server, (vm_name(machine),), (address,))

    def machine_service(self, machine: str, name: str, addresses: Sequence[str]) -> Identity:
        """Server identity of what a system VM serves to others (`console`, `storage`) on `addresses`."""
        return self._kept(f"machines/{machine}/{name}", Usage.server, (vm_name(machine),), tuple(addresses))

    def renew_host_agent(self, request: str, host: str, address: str) -> str:
        """A certificate (PEM) for the key that a host's agent made itself. Raises ValueError."""
        return self._sign(request, host_name(host), address)

    def renew_machine_agent(self, request: str, machine: str, address: str) -> str:
        """A certificate (PEM) for the key that a system VM's agent made itself. Raises ValueError."""
        return self._sign(request, vm_name(machine), address)

    def roots(self) -> dict[Path, tuple[datetime, datetime]]:
        """The files of the roots, and from when until when each is valid."""
        return {self._path(f"root-{usage}"): root.period() for usage, root in self._roots.items()}

    def forget_machine(self, machine: str) -> None:
        """Drop the identities of a system VM that is gone."""
        shutil.rmtree(self._folder / "machines" / machine, ignore_errors=True)

    def due(self) -> list[str]:
        """Kept identities that the next request will renew, as paths below the folder, sorted."""
        now = self._now()
        found = []
        for path in sorted(self._folder.rglob("*.pem")):
            name = str(path.relative_to(self._folder).with_suffix(""))
            identity = read_identity(path)
            if identity is not None and not name.startswith("root-") and identity.is_due(now):
                found.append(name)
        return found

    def _sign(self, request: str, name: str, address: str) -> str:
        root = self._roots[Usage.server]
        return sign_request(root, Usage.server, self._now(), request, names=(name,), addresses=(address,))

    def _kept(
        self, name: str, usage: Usage, names: tuple[str, ...], addresses: tuple[str, ...] = ()
    ) -> Identity:
        now = self._now()
        with self._lock:
            identity = read_identity(self._path(name))
            if identity is not None and _serves(identity, (*names, *addresses), now):
                return identity
            identity = issue_leaf(self._roots[usage], usage, now, names=names, addresses=addresses)
            write_identity(self._path(name), identity)
            return identity

    def _root(self, usage: Usage) -> Identity:
        name = f"root-{usage}"
        identity = read_identity(self._path(name))
        if identity is None:
            identity = create_root(f"Pileus {usage} root", self._now())
            write_identity(self._path(name), identity)
        return identity

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.pem"

    def _read_or_create(self, name: str, create: Callable[[], str]) -> str:
        path = self._folder / name
        if not path.exists():
            write_private(path, create())
        return path.read_text()


def _serves(identity: Identity, names: tuple[str, ...], now: datetime) -> bool:
    return not identity.is_due(now) and names_of(identity.certificate) == names
