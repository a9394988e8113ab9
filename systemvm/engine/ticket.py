"""Signed tickets: verification, for whoever honours them; signing, for mgmt's contract and for tests.

The format is that of `systemvm.spec.ticket`: `base64url(payload) "." base64url(signature)`, both without
padding; the payload is the JSON of a `Ticket` in UTF-8, the signature is Ed25519 (RFC 8032) over the
payload's bytes (not over their base64). Errors never repeat the token: it is a secret while it lives.
"""

import base64
import binascii

from systemvm.engine.errors import EngineError
from systemvm.spec.codec import DocumentError, decode, encode
from systemvm.spec.ticket import Ticket, TicketPurpose

#: Characters; a ticket has about 330, and whatever is longer is not worth decoding.
MAX_LENGTH = 2048


class TicketError(EngineError):
    """Root of all refusals of a ticket."""

    code = "ticket_refused"
    status = 403


class TicketMalformed(TicketError):
    """It is not a ticket at all."""

    code = "ticket_malformed"
    status = 400


class TicketSignatureInvalid(TicketError):
    """Somebody else signed it, or it was changed."""

    code = "ticket_signature_invalid"


class TicketExpired(TicketError):
    """It was good once."""

    code = "ticket_expired"


class TicketPurposeWrong(TicketError):
    """It is good, but for something else: another purpose, another subject, another host."""

    code = "ticket_purpose_wrong"


class TicketUsed(TicketError):
    """It is good for one use, and that was made."""

    code = "ticket_used"


def verify(
    token: str, public_key_pem: str, purpose: TicketPurpose, now: float, *, subject: str = ""
) -> Ticket:
    """The ticket in `token` if it is good at `now` (Unix seconds) for `purpose`, and for `subject` if given.

    Raises TicketMalformed, TicketSignatureInvalid, TicketExpired or TicketPurposeWrong. Whether a one-use
    ticket was used before is asked of `systemvm.engine.nonces`.
    """
    payload, signature = _split(token)
    _check_signature(public_key_pem, payload, signature)
    try:
        ticket = decode(payload, Ticket)
    except DocumentError as error:
        raise TicketMalformed(f"the ticket's payload: {error}") from None
    if ticket.purpose is not purpose:
        raise TicketPurposeWrong(f"the ticket is for {ticket.purpose}, not for {purpose}: ask for another")
    if subject and ticket.subject != subject:
        raise TicketPurposeWrong(f"the ticket is for {ticket.subject}, not for {subject}: ask for another")
    if ticket.expires <= now:
        raise TicketExpired(f"the ticket expired {int(now - ticket.expires)} s ago: ask for a new one")
    return ticket


def sign(ticket: Ticket, private_key_pem: str) -> str:
    """The token of `ticket`; the key is an Ed25519 private key in unencrypted PEM (PKCS #8)."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(private_key_pem.encode(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError(f"tickets are signed with an Ed25519 key, not with {type(key).__name__}")
    payload = encode(ticket)
    return f"{_to_base64(payload)}.{_to_base64(key.sign(payload))}"


def is_public_key(pem: str) -> bool:
    """Whether `pem` holds an Ed25519 public key, which `verify` needs."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        return isinstance(load_pem_public_key(pem.encode()), Ed25519PublicKey)
    except ValueError:
        return False


def _check_signature(public_key_pem: str, payload: bytes, signature: bytes) -> None:
    # Imported late: cryptography costs an idle agent about 15 MiB and 0.1 s of its boot.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = load_pem_public_key(public_key_pem.encode())
    if not isinstance(key, Ed25519PublicKey):
        raise TypeError(f"tickets are verified with an Ed25519 key, not with {type(key).__name__}")
    try:
        key.verify(signature, payload)
    except InvalidSignature:
        raise TicketSignatureInvalid("the ticket was not signed by this cloud's management server") from None


def _split(token: str) -> tuple[bytes, bytes]:
    payload, dot, signature = token.partition(".")
    if not dot or len(token) > MAX_LENGTH:
        raise TicketMalformed("not a ticket: expected two base64url parts joined by a dot")
    return _from_base64(payload), _from_base64(signature)


def _to_base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _from_base64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise TicketMalformed("not a ticket: a part of it is not base64url") from None
    if _to_base64(raw) != text:
        raise TicketMalformed("not a ticket: a part of it is not canonical base64url without padding")
    return raw
