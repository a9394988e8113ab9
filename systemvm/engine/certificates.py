"""Certificates and keys in PEM, as documents carry them: do they parse, and do they belong together?"""

import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


def pair_mistake(certificate_pem: str, key_pem: str) -> str:
    """What is wrong with a certificate (first of a chain) and its key; empty when nothing is."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    if mistake := certificate_mistake(certificate_pem):
        return mistake
    try:
        key = load_pem_private_key(key_pem.encode(), password=None)
    except (ValueError, TypeError):
        return "the key is no unencrypted private key in PEM"
    encoding = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*encoding) != _load(certificate_pem).public_key().public_bytes(
        *encoding
    ):
        return "the key does not belong to the certificate"
    return ""


def certificate_mistake(certificate_pem: str) -> str:
    """What is wrong with a certificate; empty when nothing is."""
    try:
        _load(certificate_pem)
    except ValueError:
        return "it is no certificate in PEM"
    return ""


def seconds_left(certificate_pem: str, now: float) -> float:
    """Until the certificate expires; negative if it has. `now` is Unix seconds. Raises ValueError."""
    until = _load(certificate_pem).not_valid_after_utc
    return (until - datetime.fromtimestamp(now, UTC)).total_seconds()


def der_of(certificate_pem: str) -> bytes:
    """The first certificate of a chain, as a TLS peer shows it."""
    end = "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(certificate_pem.partition(end)[0].strip() + f"\n{end}\n")


def _load(certificate_pem: str) -> "Certificate":
    # Imported late: cryptography costs an idle agent about 15 MiB and 0.1 s of its boot.
    from cryptography.x509 import load_pem_x509_certificate

    return load_pem_x509_certificate(certificate_pem.encode())
