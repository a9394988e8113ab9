"""A server's own certificate and its successors: request, check, keep, and which of them holds.

The first one comes with the machine (config disk, launcher). A renewed one is kept with its key in one file
that OpenSSL reads as it is: a line of JSON, which PEM readers skip (RFC 7468, section 2), then the two.
"""

import hashlib
import logging
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from systemvm.engine.errors import EngineError, InvalidDocument
from systemvm.engine.files import write_atomic
from systemvm.spec.certificate import CertificateRequest, CertificateTaken, SignedCertificate
from systemvm.spec.types import Problem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

log = logging.getLogger(__name__)


class NoRequest(EngineError):
    """A signed certificate came without the request that it answers."""

    code = "no_request"
    status = 409


class _Facts(msgspec.Struct, frozen=True, kw_only=True):
    """First line of the kept file: Unix seconds, and the SHA-256 of the first certificate at that time.

    They are written down so that a start needs no cryptography: that costs 15 MiB and 0.1 s.
    """

    began: int
    ends: int
    first: str


class Renewal:
    """The certificate in the files `certificate` and `key`, and its successor in the file `kept`."""

    def __init__(self, certificate: Path, key: Path, kept: Path, now: Callable[[], float]) -> None:
        self._certificate = certificate
        self._key = key
        self._kept = kept
        self._now = now
        self._lock = threading.Lock()
        self._pending: EllipticCurvePrivateKey | None = None

    def stamp(self) -> tuple[int, ...]:
        """Another one whenever a file has changed. Raises OSError when the first certificate is not there."""
        kept = self._kept.stat().st_mtime_ns if self._kept.exists() else 0
        return (self._certificate.stat().st_mtime_ns, self._key.stat().st_mtime_ns, kept)

    def load(self, context: ssl.SSLContext) -> None:
        """Let a context show the certificate that holds. Raises OSError (ssl.SSLError is one)."""
        if self._is_kept_newer():
            try:
                context.load_cert_chain(self._kept)
            except OSError as error:
                log.error(
                    "the renewed certificate %s is unreadable, the first one is shown: %s", self._kept, error
                )
            else:
                return
        context.load_cert_chain(self._certificate, self._key)

    def request(self) -> CertificateRequest:
        """A new key, which stays in memory until its certificate comes, and the request for it."""
        from cryptography.hazmat.primitives.asymmetric import ec

        from systemvm.engine.certificates import request_like

        key = ec.generate_private_key(ec.SECP256R1())
        with self._lock:
            self._pending = key
            return CertificateRequest(csr=request_like(self._current(), key))

    def take(self, signed: SignedCertificate) -> CertificateTaken:
        """Keep the certificate that was asked for; it is shown from the next connection on.

        Raises NoRequest, InvalidDocument with all that is wrong with it; then nothing has changed.
        """
        from systemvm.engine.certificates import key_pem, period, serial, successor_mistakes

        with self._lock:
            if self._pending is None:
                raise NoRequest("no request is open: POST /v1/certificate/request first")
            mistakes = successor_mistakes(
                self._current(), signed.certificate, signed.authority, self._pending, self._now()
            )
            if mistakes:
                raise InvalidDocument([Problem(path=path, message=words) for path, words in mistakes])
            began, ends = period(signed.certificate)
            facts = _Facts(began=began, ends=ends, first=self._first())
            head = msgspec.json.encode(facts).decode()
            text = f"{head}\n{signed.certificate.strip()}\n{key_pem(self._pending)}"
            write_atomic(self._kept, text.encode(), mode=0o600)
            self._pending = None
        log.info("the certificate was renewed over the connection")
        return CertificateTaken(serial=serial(signed.certificate), ends=ends)

    def _current(self) -> str:
        """The certificate that holds, PEM."""
        return (self._kept if self._is_kept_newer() else self._certificate).read_text()

    def _is_kept_newer(self) -> bool:
        facts = self._facts()
        if facts is None:
            return False
        if facts.ends <= self._now():
            log.warning("the renewed certificate %s has expired, the first one is shown", self._kept)
            return False
        # With another first certificate than at the time of the renewal, the dates decide.
        return facts.first == self._first() or self._is_newer_than_first(facts)

    def _is_newer_than_first(self, facts: _Facts) -> bool:
        from systemvm.engine.certificates import names, period

        first, kept = self._certificate.read_text(), self._kept.read_text()
        try:
            began, ends = period(first)
            return names(first) == names(kept) and (facts.began > began or ends <= self._now())
        except ValueError as error:
            log.error("the renewed certificate %s is not used: %s", self._kept, error)
            return False

    def _first(self) -> str:
        return hashlib.sha256(self._certificate.read_bytes()).hexdigest()

    def _facts(self) -> _Facts | None:
        try:
            with self._kept.open("rb") as file:
                return msgspec.json.decode(file.readline(), type=_Facts)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            log.error(
                "the renewed certificate %s is unreadable, the first one is shown: %s", self._kept, error
            )
            return None
