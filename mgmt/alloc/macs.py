"""MAC addresses of NICs: locally administered, random, unique among the living."""

import secrets

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.store.tables import Nic

#: First octet: locally administered, unicast (IEEE 802-2014, 8.2).
_FIRST = 0x02


def new_mac(session: Session) -> str:
    """A MAC that no NIC has."""
    while True:
        mac = ":".join(f"{octet:02x}" for octet in (_FIRST, *secrets.token_bytes(5)))
        if session.scalar(select(Nic.id).where(Nic.mac == mac)) is None:
            return mac
