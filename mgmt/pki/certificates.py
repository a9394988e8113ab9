"""X.509 certificates: EC P-256 roots and leaves that also pass Python's strict checks (RFC 5280).

Python 3.13 verifies with VERIFY_X509_STRICT by default: key identifiers and critical key usage must be there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ROOT_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=90)
#: Clocks of freshly booted machines may be behind.
CLOCK_SKEW = timedelta(days=1)


class Usage(StrEnum):
    """What a leaf is for; it decides which root signs it."""

    server = "server"
    client = "client"


_EXTENDED = {Usage.server: ExtendedKeyUsageOID.SERVER_AUTH, Usage.client: ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass(frozen=True)
class Identity:
    """A certificate and its private key, both PEM."""

    certificate: str
    key: str

    def period(self) -> tuple[datetime, datetime]:
        """From when until when it is valid, UTC."""
        certificate = _load(self.certificate)
        return certificate.not_valid_before_utc, certificate.not_valid_after_utc

    def expires(self) -> datetime:
        """When it ends, UTC."""
        return _load(self.certificate).not_valid_after_utc

    def is_due(self, now: datetime) -> bool:
        """Whether it should be renewed: less than a third of its life is left."""
        certificate = _load(self.certificate)
        life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        return certificate.not_valid_after_utc - now < life / 3


def create_root(name: str, now: datetime) -> Identity:
    """A self-signed root that may sign leaves only."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(name), _name(name), key.public_key(), now, ROOT_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
    )
    return _identity(builder.sign(key, hashes.SHA256()), key)


def issue_leaf(
    root: Identity,
    usage: Usage,
    now: datetime,
    *,
    names: Sequence[str],
    addresses: Sequence[str] = (),
    life: timedelta = LEAF_LIFE,
) -> Identity:
    """A leaf for DNS `names` (the first is also its subject) and IPv4 `addresses`, and its new key."""
    key = ec.generate_private_key(ec.SECP256R1())
    return _identity(_leaf(root, usage, now, key.public_key(), names, addresses, life), key)


def sign_request(
    root: Identity,
    usage: Usage,
    now: datetime,
    request: str,
    *,
    names: Sequence[str],
    addresses: Sequence[str],
) -> str:
    """A leaf (PEM) for the key of a request (PKCS #10, PEM) and for *our* names, whatever the request says.

    Raises ValueError when it is no request, or not signed by its own key, which must be one on P-256.
    """
    parsed = x509.load_pem_x509_csr(request.encode())
    key = parsed.public_key()
    if not parsed.is_signature_valid:
        raise ValueError("the request is not signed with the key that it is about")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError(f"the request is about a {type(key).__name__}, not about an EC key on P-256")
    signed = _leaf(root, usage, now, key, names, addresses, LEAF_LIFE)
    return signed.public_bytes(Encoding.PEM).decode()


def _leaf(
    root: Identity,
    usage: Usage,
    now: datetime,
    public: ec.EllipticCurvePublicKey,
    names: Sequence[str],
    addresses: Sequence[str],
    life: timedelta,
) -> x509.Certificate:
    issuer = _load(root.certificate)
    issuer_key = load_pem_private_key(root.key.encode(), password=None)
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"roots have EC keys, not {type(issuer_key).__name__}")
    general: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    general += [x509.IPAddress(IPv4Address(address)) for address in addresses]
    builder = _builder(_name(names[0]), issuer.subject, public, now, life)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([_EXTENDED[usage]]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
    )
    return builder.sign(issuer_key, hashes.SHA256())


def names_of(certificate: str) -> tuple[str, ...]:
    """DNS names and addresses of a certificate, as text."""
    extension = _load(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return tuple(str(name.value) for name in extension.value)


def _load(certificate: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.encode())


def _name(common: str) -> x509.Name:
    # A common name has at most 64 characters (RFC 5280, ub-common-name); names are verified by SAN anyway.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _identity(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Identity:
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return Identity(certificate.public_bytes(Encoding.PEM).decode(), text)
