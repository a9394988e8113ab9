"""Signs tickets in the format of `systemvm.spec.ticket`: Ed25519 (RFC 8032) over the payload's bytes."""

import base64
from functools import lru_cache
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from systemvm.spec.codec import encode
from systemvm.spec.ticket import Ticket, TicketPurpose

#: How long a ticket lives, in seconds, unless something else is said: a console is opened at once, a template
#: is pulled for minutes, and a disk is copied before it is uploaded.
LIFE = {
    TicketPurpose.console: 120,
    TicketPurpose.template: 3600,
    TicketPurpose.upload: 6 * 3600,
    TicketPurpose.download: 4 * 3600,
}


def create_key() -> str:
    """A new private key, PEM."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_key(private_key: str) -> str:
    """The public half of a private key, PEM."""
    public = _load(private_key).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def sign(
    private_key: str,
    purpose: TicketPurpose,
    subject: str,
    now: float,
    host: str = "",
    *,
    max_bytes: int = 0,
    nonce: str = "",
    life: int = 0,
) -> str:
    """A ticket for `subject`, as its token; `now` in Unix seconds. `max_bytes` bounds an upload.

    It is a fresh one unless `nonce` is given; the same arguments then give the same ticket. `life` is in
    seconds (0: as usual for the purpose).
    """
    ticket = Ticket(
        purpose=purpose,
        subject=subject,
        host=host,
        nonce=nonce or str(uuid4()),
        expires=int(now) + (life or LIFE[purpose]),
        max_bytes=max_bytes,
    )
    payload = encode(ticket)
    return f"{_base64url(payload)}.{_base64url(_load(private_key).sign(payload))}"


@lru_cache(maxsize=4)
def _load(private_key: str) -> Ed25519PrivateKey:
    key = load_pem_private_key(private_key.encode(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError(f"tickets are signed with an Ed25519 key, not with {type(key).__name__}")
    return key


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
