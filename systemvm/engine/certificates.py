"""Certificates and keys in PEM: do they parse, do they belong together, is one the successor of another?"""

import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
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


def request_like(certificate_pem: str, key: "EllipticCurvePrivateKey") -> str:
    """A request (PKCS #10, PEM) for a successor of a certificate: its subject and names, another key."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    like = _load(certificate_pem)
    alternatives = like.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    builder = x509.CertificateSigningRequestBuilder().subject_name(like.subject)
    request = builder.add_extension(alternatives, critical=False).sign(key, SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def successor_mistakes(
    current_pem: str, new_pem: str, authority_pem: str, key: "EllipticCurvePrivateKey", now: float
) -> list[tuple[str, str]]:
    """Why a certificate may not follow `current_pem`: pairs of `certificate` or `authority`, and why.

    `key` is the one that the new certificate must be for, `now` Unix seconds.
    """
    wrong = [
        (path, words)
        for path, pem in (("certificate", new_pem), ("authority", authority_pem))
        if (words := certificate_mistake(pem))
    ]
    if wrong:
        return wrong
    current, new, authority = _load(current_pem), _load(new_pem), _load(authority_pem)
    if words := _issue_mistake(current, authority):
        wrong.append(("authority", f"it did not sign the certificate in use: {words}"))
    if words := _issue_mistake(new, authority):
        wrong.append(("certificate", f"the authority did not sign it: {words}"))
    if new.public_key() != key.public_key():
        wrong.append(("certificate", "it is for another key than the one of the last request"))
    wrong += [("certificate", words) for words in _content_mistakes(current_pem, new_pem, now)]
    return wrong


def names(certificate_pem: str) -> frozenset[str]:
    """DNS names and addresses of a certificate, as text. Raises ValueError when it is none, or has none."""
    from cryptography import x509

    try:
        extension = _load(certificate_pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(str(name.value) for name in extension.value)


def period(certificate_pem: str) -> tuple[int, int]:
    """From when until when a certificate is valid, in Unix seconds. Raises ValueError."""
    certificate = _load(certificate_pem)
    return int(certificate.not_valid_before_utc.timestamp()), int(certificate.not_valid_after_utc.timestamp())


def serial(certificate_pem: str) -> str:
    """The serial number as `ssl.getpeercert()` and openssl write it: upper-case hexadecimal, whole bytes."""
    digits = f"{_load(certificate_pem).serial_number:X}"
    return digits if len(digits) % 2 == 0 else f"0{digits}"


def key_pem(key: "EllipticCurvePrivateKey") -> str:
    """A private key as PEM, not encrypted."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def der_of(certificate_pem: str) -> bytes:
    """The first certificate of a chain, as a TLS peer shows it."""
    end = "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(certificate_pem.partition(end)[0].strip() + f"\n{end}\n")


def _issue_mistake(certificate: "Certificate", authority: "Certificate") -> str:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(authority)
    except InvalidSignature:
        return "the signature is of another key"
    except (ValueError, TypeError) as error:
        return str(error)
    return ""


def _content_mistakes(current_pem: str, new_pem: str, now: float) -> list[str]:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    wrong, (began, ends) = [], period(new_pem)
    before, after = names(current_pem), names(new_pem)
    if before != after:
        wrong.append(f"its names are {_listed(after)}; they must stay {_listed(before)}")
    if not began <= now < ends:
        since, until = (f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M}" for moment in (began, ends))
        wrong.append(f"it is valid from {since} until {until} UTC, and now is not between")
    try:
        usage = _load(new_pem).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        usage = x509.ExtendedKeyUsage([])
    if ExtendedKeyUsageOID.SERVER_AUTH not in usage:
        wrong.append("it is not for servers (extended key usage serverAuth)")
    return wrong


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _load(certificate_pem: str) -> "Certificate":
    # Imported late: cryptography costs an idle agent about 15 MiB and 0.1 s of its boot.
    from cryptography.x509 import load_pem_x509_certificate

    return load_pem_x509_certificate(certificate_pem.encode())
