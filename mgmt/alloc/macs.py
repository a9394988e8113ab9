"""MAC addresses of NICs: locally administered, random, unique among the living."""

import secrets

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from mgmt.store.tables import Nic

#: First octet: locally administered, unicast (IEEE 802-2014, 8.2).
_FIRST = 0x02
#: Among the living, as the index that it uses.
_OF_MAC = select(Nic.id).where(Nic.mac == bindparam("mac"), Nic.removed.is_(None))


def new_mac(session: Session) -> str:
    """A MAC that no living NIC has."""
    while True:
        mac = ":".join(f"{octet:02x}" for octet in (_FIRST, *secrets.token_bytes(5)))
        if session.scalar(_OF_MAC, {"mac": mac}) is None:
            return mac
