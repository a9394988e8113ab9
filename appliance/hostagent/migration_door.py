"""The door through which VMs and volumes move between hosts: for each, whoever has its certificate.

A client sends a line that says what, and reads a line `OK` or `ERR <words>`. `libvirt`, `qemu` and `nbd` are
the sockets of a migration to this host, for a VM whose landing was prepared here; `volume`, or `volume` and
a pool, is its file, and `base` the template in this host's cache that the volume is based on: it may be
deleted everywhere else.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from appliance.hostagent.image_header import read_backing
from appliance.hostagent.shared_pools import TEMPLATES
from appliance.hostagent.streams import close, relay
from appliance.hostagent.tls import dns_names
from appliance.paths import Paths
from systemvm.engine.errors import EngineError

_log = logging.getLogger("pileus.relay")
#: Ends the DNS name in the client certificate; before it stands the id of the VM or volume.
MIGRATION_SUFFIX = ".migration.pileus.internal"
#: Where both hosts have the sockets of a migration: QEMU connects to a path that is the same on both.
SOCKETS = Path("/run/pileus/migrations")
REQUEST_DEADLINE = 10.0
_CHUNK = 1 << 18
_NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})" + re.escape(MIGRATION_SUFFIX))


class DoorClosed(EngineError):
    """This VM or volume does not move through this door; the words go back to the other host."""

    code = "door_closed"
    status = 403


def sockets_of(vm: str) -> Path:
    """The folder with the sockets of a VM's migration; its presence says that a landing is prepared."""
    return SOCKETS / vm


class MigrationDoor:
    """Serves one stream per connection. `pools` tells the folders of the pools by their names."""

    def __init__(self, paths: Paths, pools: Callable[[], Mapping[str, Path]]) -> None:
        self._paths = paths
        self._pools = pools

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One stream, until either side ends."""
        try:
            subject = subject_of(dns_names(writer.get_extra_info("peercert")))
            what, _, pool = (await _read_request(reader)).partition(" ")
            if what in ("volume", "base"):
                path = self.file(subject, what, pool)
                _log.info("the %s of volume %s is sent to another host", what, subject)
                await _send(path, writer)
                return
            there = await asyncio.open_unix_connection(str(self.socket(subject, what)))
        except (EngineError, OSError) as error:
            _log.warning("migration refused to %s: %s", writer.get_extra_info("peername"), error)
            words = re.sub(r"\s+", " ", str(error))
            writer.write(f"ERR {words}\n".encode())
            await close(writer)
            return
        _log.info("%s of VM %s opened to another host, because it moves here", what, subject)
        writer.write(b"OK\n")
        await relay((reader, writer), there)

    def socket(self, vm: str, what: str) -> Path:
        """The socket on this host. Raises DoorClosed."""
        folder = sockets_of(vm)
        if not folder.is_dir():
            raise DoorClosed(f"no landing of VM {vm} is prepared here")
        sockets = {
            "libvirt": self._paths.libvirt_socket,
            "qemu": folder / "qemu.sock",
            "nbd": folder / "nbd.sock",
        }
        if what not in sockets:
            raise DoorClosed(f"{what!r} is none of {', '.join(sockets)}, volume, base")
        return sockets[what]

    def file(self, volume: str, what: str, pool: str = "") -> Path:
        """The file of a volume, or of the cached template that it is based on. Raises DoorClosed."""
        folders = (folder for name, folder in self._pools().items() if pool in ("", name))
        files = (folder / f"{volume}.qcow2" for folder in folders)
        path = next((path for path in files if path.exists()), None)
        if path is None:
            raise DoorClosed(f"there is no volume {volume} here")
        if what == "volume":
            return path
        base = read_backing(path)
        if base is None or base.parent not in (self._paths.templates, path.parent / TEMPLATES):
            raise DoorClosed(f"volume {volume} is based on no template")
        return base


async def _send(path: Path, writer: asyncio.StreamWriter) -> None:
    with path.open("rb") as file:
        writer.write(f"OK\n{path.stat().st_size}\n".encode())
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            writer.write(chunk)
            await writer.drain()
    await close(writer)


def subject_of(names: set[str]) -> str:
    """The VM or volume that a certificate is for. Raises DoorClosed."""
    found = [match[1] for name in names if (match := _NAME.fullmatch(name))]
    if len(found) != 1:
        shown = ", ".join(sorted(names)) or "no name"
        raise DoorClosed(f"the client certificate has {shown}; it must be that of a migration")
    return found[0]


async def _read_request(reader: asyncio.StreamReader) -> str:
    try:
        line = await asyncio.wait_for(reader.readuntil(b"\n"), REQUEST_DEADLINE)
    except TimeoutError:
        raise DoorClosed("no request came in time") from None
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise DoorClosed("expected one line that says what") from None
    return line.decode("ascii", errors="replace").strip()
