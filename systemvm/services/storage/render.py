"""The files of the storage processes, and the processes: one downloads, one serves hosts, one the public."""

import sys

from systemvm.engine.daemons import Daemon
from systemvm.engine.service import File, Rendering
from systemvm.services.storage.settings import (
    CERTIFICATE,
    DATA,
    GROUP,
    HEARTBEAT,
    KEY,
    TICKET_KEY,
    TRANSFERS,
    USER,
    Face,
    Transfers,
    faces_of,
)
from systemvm.spec import codec
from systemvm.spec.state import State

FOLDER = "/etc/pileus/storage"
_DATA, _HEARTBEAT = f"/var/lib/pileus/{DATA}", f"/run/pileus/{HEARTBEAT}"

TRANSFER = Daemon(
    name="storage-transfer",
    argv=(
        *(sys.executable, "-m", "systemvm.services.storage.transfer"),
        *(f"--settings={FOLDER}/{TRANSFERS}", f"--data={_DATA}", f"--heartbeat={_HEARTBEAT}"),
    ),
    reload=("kill", "-HUP", "{pid}"),
)


def render(state: State) -> Rendering:
    """See systemvm.engine.service."""
    storage = state.storage
    if storage is None:
        return Rendering()
    transfers = Transfers(allowed_networks=storage.allowed_networks, templates=storage.templates)
    secrets = {TICKET_KEY: storage.ticket_key, CERTIFICATE: storage.certificate, KEY: storage.key}
    return Rendering(
        files=(
            File(f"{FOLDER}/{TRANSFERS}", codec.encode(transfers).decode(), mode=0o600),
            *(
                File(f"{FOLDER}/{name}", text, mode=0o400, owner=USER, group=GROUP)
                for name, text in secrets.items()
            ),
        ),
        daemons=(TRANSFER, *(server_of(face) for face in faces_of(storage))),
    )


def server_of(face: Face) -> Daemon:
    """An HTTPS server; it reads key, certificate and ticket key anew when it needs them.

    Hosts and the public have one each, so that no crowd outside keeps hosts from their templates.
    """
    return Daemon(
        name=face.daemon,
        argv=(
            *(sys.executable, "-m", "systemvm.services.storage.server", f"--face={face.name}"),
            *(f"--listen={face.address}:{face.port}", f"--folder={FOLDER}"),
            *(f"--data={_DATA}", f"--user={USER}", f"--group={GROUP}"),
        ),
    )
