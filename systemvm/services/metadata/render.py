"""The file of all guests, and the server that reads it."""

import sys
from ipaddress import IPv4Interface
from typing import Any

from systemvm.engine.daemons import Daemon
from systemvm.engine.problems import addresses_of, nics_by_name
from systemvm.engine.service import File, Rendering
from systemvm.engine.templates import header, to_json
from systemvm.services.metadata.settings import (
    DATA,
    DATABASE,
    GROUP,
    HTTP_PORT,
    PASSWORD_PORT,
    USER,
)
from systemvm.spec.network import GuestMetadata
from systemvm.spec.state import State


def render(state: State) -> Rendering:
    """One data file and one process; nothing if the section is absent or serves no interface."""
    section = state.metadata
    addresses = served_addresses(state)
    if section is None or not addresses:
        return Rendering()
    guests = {guest.address: _guest(guest) for guest in section.guests}
    text = to_json({"about": header(state), "guests": guests}) + "\n"
    return Rendering(
        files=(File(DATA, text, mode=0o400, owner=USER, group=GROUP),),
        daemons=(server(addresses),),
        kernel=tuple(guest.password.id for guest in section.guests if guest.password),
    )


def served_addresses(state: State) -> list[IPv4Interface]:
    """This machine's addresses on the served interfaces: guests ask whichever they learned."""
    nics = nics_by_name(state)
    names = state.metadata.interfaces if state.metadata else ()
    return [address for name in names for address in addresses_of(nics[name])]


def server(addresses: list[IPv4Interface]) -> Daemon:
    """The process. It reads its file again when that changed: no reload, and no secret in its argv."""
    ports = (HTTP_PORT, PASSWORD_PORT)
    listen = [f"--listen={address.ip}:{port}" for address in addresses for port in ports]
    return Daemon(
        name="metadata",
        argv=(
            *(sys.executable, "-m", "systemvm.services.metadata.server"),
            *listen,
            *(f"--data={DATA}", f"--database={DATABASE}", f"--user={USER}", f"--group={GROUP}"),
        ),
    )


def _guest(guest: GuestMetadata) -> dict[str, Any]:
    password = guest.password
    return {
        "user_data": guest.user_data,
        "meta_data": dict(guest.meta_data),
        "password": {"id": password.id, "value": password.value} if password else None,
    }
