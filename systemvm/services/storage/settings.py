"""What the two storage processes are told, and where they keep things."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from msgspec import Struct

from systemvm.spec.appliances import Storage, TemplateSource
from systemvm.spec.types import Cidr

#: Names of the rendered files in their folder.
TRANSFERS, TICKET_KEY, CERTIFICATE, KEY = "transfers.json", "ticket.pem", "server.pem", "server.key"
#: Who the server's worker is; it has the folders of templates and uploads open, and reads nothing else.
USER, GROUP = "nobody", "nogroup"
#: Below the state directory: where the data disk is mounted.
DATA = "storage"
#: Below the run directory: touched by the transfer process every few seconds.
HEARTBEAT = "storage/heartbeat"
#: Names of the servers: one for hosts, one for whoever is outside.
HOSTS, PUBLIC = "hosts", "public"


#: Bytes of the data disk that images never take: what is known about them must still be written.
RESERVE = 4 << 20


def leave_reserve(place: Path | int) -> None:
    """Raises OSError (ENOSPC) when the file system of a path or an open file has only the reserve left."""
    room = os.statvfs(place)
    if room.f_bavail * room.f_frsize < RESERVE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass(frozen=True)
class Face:
    """Where one of the servers listens, and the name of its process."""

    name: str
    address: str
    port: int
    daemon: str


def faces_of(storage: Storage) -> tuple[Face, ...]:
    """The servers of a document."""
    hosts = Face(HOSTS, storage.address, storage.port, "storage-server")
    if storage.public is None:
        return (hosts,)
    return (hosts, Face(PUBLIC, storage.public, storage.public_port, "storage-public"))


class Transfers(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the transfer process makes true."""

    allowed_networks: tuple[Cidr, ...] = ()
    templates: tuple[TemplateSource, ...] = ()


@dataclass(frozen=True)
class Layout:
    """Folders of the data disk."""

    root: Path

    @property
    def templates(self) -> Path:
        """Ready templates, one file each, named by id."""
        return self.root / "templates"

    @property
    def partial(self) -> Path:
        """Downloads on their way; same file system, so that a rename completes them."""
        return self.root / "partial"

    @property
    def uploads(self) -> Path:
        """What is being sent here (`<id>.part`), and what was, until the transfer process takes it."""
        return self.root / "uploads"

    @property
    def database(self) -> Path:
        """What is known about each template."""
        return self.root / "templates.db"
