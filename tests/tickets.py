"""A key that signs tickets, as mgmt holds it."""

import time
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from systemvm.engine.ticket import sign
from systemvm.spec.ticket import Ticket, TicketPurpose


class Signer:
    """Signs tickets; `public` verifies them."""

    def __init__(self) -> None:
        key = Ed25519PrivateKey.generate()
        self._private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self.public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def token(
        self,
        purpose: TicketPurpose,
        subject: str,
        *,
        host: str = "",
        life: float = 60,
        nonce: str = "",
        max_bytes: int = 0,
    ) -> str:
        """A token for a subject that is good for `life` seconds from now."""
        expires = int(time.time() + life)
        ticket = Ticket(
            purpose=purpose,
            subject=subject,
            host=host,
            nonce=nonce or str(uuid4()),
            expires=expires,
            max_bytes=max_bytes,
        )
        return sign(ticket, self._private)
