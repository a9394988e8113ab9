"""Renewal of an agent's certificate: `POST /v1/certificate/request`, then `PUT /v1/certificate`.

The private key is made by the agent and never leaves its machine; system VMs and hosts speak the same.
"""

from typing import Annotated

from msgspec import Meta, Struct

#: A chain of a few certificates is about 4 KiB.
Pem = Annotated[str, Meta(min_length=1, max_length=64 * 1024)]


class CertificateRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an agent wants signed: `csr` is PKCS #10 (RFC 2986) in PEM, over a key of its own."""

    csr: Pem


class SignedCertificate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answer to a request: `certificate` (PEM) and the root that signed it, `authority` (PEM).

    The agent takes it if `authority` also signed the certificate that it shows now.
    """

    certificate: Pem
    authority: Pem


class CertificateTaken(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the agent shows from the next connection on; `ends` is Unix seconds."""

    serial: str
    ends: int
