"""The certificate of a simulated agent: real ones, requested and taken as the real agent does, in memory."""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mgmt.agents.certificates import Shown
from mgmt.agents.errors import AgentConflict, AgentRefused
from systemvm.spec.certificate import CertificateRequest, CertificateTaken, SignedCertificate
from systemvm.spec.types import Problem

#: What a simulated host shows until a test gives it a certificate: nobody makes a connection to it.
ENDLESS = Shown(serial="00", began=datetime(1970, 1, 1, tzinfo=UTC), ends=datetime(9999, 1, 1, tzinfo=UTC))


class SimulatedIdentity:
    """A certificate and its key (PEM), renewable. `where` names the agent in errors."""

    def __init__(self, where: str, certificate: str, key: str) -> None:
        self.certificate, self.key = certificate, key
        self._where = where
        self._pending: ec.EllipticCurvePrivateKey | None = None

    def shown(self) -> Shown:
        """See Certified."""
        certificate = _load(self.certificate)
        return Shown(
            serial=_serial(certificate),
            began=certificate.not_valid_before_utc,
            ends=certificate.not_valid_after_utc,
        )

    def request(self) -> CertificateRequest:
        """See Certified."""
        self._pending = ec.generate_private_key(ec.SECP256R1())
        builder = x509.CertificateSigningRequestBuilder().subject_name(_load(self.certificate).subject)
        csr = builder.sign(self._pending, hashes.SHA256()).public_bytes(Encoding.PEM)
        return CertificateRequest(csr=csr.decode())

    def take(self, signed: SignedCertificate) -> CertificateTaken:
        """See Certified. Refuses what is no answer to its request or has other names."""
        if self._pending is None:
            raise AgentConflict(self._where, "no request is open: POST /v1/certificate/request first")
        new, old = _load(signed.certificate), _load(self.certificate)
        if new.public_key() != self._pending.public_key() or _names(new) != _names(old):
            problem = Problem(path="certificate", message="it is for another key or other names")
            raise AgentRefused(self._where, "the certificate is refused", [problem])
        private = self._pending.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.certificate, self.key, self._pending = signed.certificate, private.decode(), None
        return CertificateTaken(serial=_serial(new), ends=int(new.not_valid_after_utc.timestamp()))


def _load(certificate: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.encode())


def _names(certificate: x509.Certificate) -> set[str]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return {str(name.value) for name in extension.value}


def _serial(certificate: x509.Certificate) -> str:
    digits = f"{certificate.serial_number:X}"
    return digits if len(digits) % 2 == 0 else f"0{digits}"
