"""Signed tickets: short-lived permissions that mgmt gives to a browser, a host or somebody outside.

A ticket is `base64url(payload) "." base64url(signature)`; the payload is the JSON of `Ticket`, the
signature is Ed25519 (RFC 8032) over its bytes. Verification needs mgmt's public key only, so neither
proxy nor host can mint one.
"""

from enum import StrEnum

from msgspec import Struct

from systemvm.spec.types import Uuid


class TicketPurpose(StrEnum):
    """What a ticket is good for. A `template` is pulled by hosts, a `download` is for users outside."""

    console = "console"
    template = "template"
    upload = "upload"
    download = "download"


class Ticket(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Permission for one subject (VM, or image in the storage VM), until `expires` (Unix seconds).

    `host` names the host whose console relay may honour it. `nonce` makes console tickets one-use: the
    proxy and the relay each remember it until it expires. `max_bytes` bounds an upload.
    """

    purpose: TicketPurpose
    subject: Uuid
    host: str = ""
    nonce: Uuid
    expires: int
    max_bytes: int = 0
