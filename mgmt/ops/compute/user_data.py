"""User data of VMs: as it was given, or a copy of what is registered under a name."""

import base64
import secrets
from dataclasses import dataclass, field
from email.message import EmailMessage
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.ops.machines.documents import touch_router
from mgmt.store.tables import Nic, Vm

#: First lines by which cloud-init knows what it is given, and the type that says the same in a part.
#: https://docs.cloudinit.io/en/latest/explanation/format.html
_KINDS = {
    b"#cloud-config": "cloud-config",
    b"#!": "x-shellscript",
    b"#include": "x-include-url",
    b"#cloud-boothook": "cloud-boothook",
    b"## template: jinja": "jinja2",
}


_GZIP = b"\x1f\x8b"


class Policy(StrEnum):
    """What becomes of a template's user data if a VM brings its own; CloudStack's words."""

    allow = "ALLOWOVERRIDE"
    append = "APPEND"
    deny = "DENYOVERRIDE"


@dataclass(frozen=True)
class UserDataChoice:
    """User data (base64), the registered object it is from, and the values of its variables."""

    data: str = field(repr=False)
    registered_id: str | None = None
    values: dict[str, str] = field(default_factory=dict, repr=False)


def give_user_data(session: Session, vm: Vm, choice: UserDataChoice) -> None:
    """Give a VM this user data; its routers need another document then."""
    vm.user_data = choice.data
    vm.user_data_id = choice.registered_id
    vm.user_data_values = dict(choice.values)
    touch_routers_of(session, vm)


def touch_routers_of(session: Session, vm: Vm) -> None:
    """Note that the routers of a VM's networks need another document."""
    networks = select(Nic.network_id).where(
        Nic.vm_id == vm.id, Nic.removed.is_(None), Nic.network_id.is_not(None)
    )
    for network_id in session.scalars(networks).all():
        if network_id is not None:
            touch_router(session, network_id)


def joined(first: str, second: str) -> str:
    """Both user data, base64 each, as one message of two parts, which cloud-init handles in their order."""
    boundary = secrets.token_hex(16)
    head = f'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="{boundary}"\n'
    parts = (b"\n--%b\n%b" % (boundary.encode(), _entity(base64.b64decode(text))) for text in (first, second))
    message = b"%b%b\n--%b--\n" % (head.encode(), b"".join(parts), boundary.encode())
    return base64.b64encode(message).decode()


def _entity(data: bytes) -> bytes:
    """The data with the headers of a part; what has such headers already is one as it stands."""
    if data.startswith((b"MIME-Version:", b"Content-Type: multipart/")):
        return data
    part = EmailMessage()
    if data.startswith(_GZIP):
        part.set_content(data, maintype="application", subtype="gzip")
    else:
        kind = next((kind for mark, kind in _KINDS.items() if data.startswith(mark)), "plain")
        part.set_content(data, maintype="text", subtype=kind)
    return part.as_bytes()
