"""Who may talk to the agent: TLS 1.3, a client certificate of mgmt's authority, and mgmt's name in it."""

import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from systemvm.engine.files import write_atomic
from systemvm.engine.renewal import Renewal
from systemvm.engine.service import Doors
from systemvm.spec.bootstrap import MGMT_NAME, Bootstrap

#: Seconds for a TLS handshake: whoever connects and says nothing must not hold one of our few threads.
HANDSHAKE_SECONDS = 5.0


class ImpatientSocket(ssl.SSLSocket):
    """A TLS connection whose handshake has a deadline; nobody gets further without a certificate."""

    def do_handshake(self, block: bool = False) -> None:
        """See ssl.SSLSocket. Raises TimeoutError."""
        patience = self.gettimeout()
        self.settimeout(HANDSHAKE_SECONDS)
        try:
            super().do_handshake(block)
        finally:
            self.settimeout(patience)


class Credentials:
    """The machine's certificate: from the config disk, or the renewed one; and whose clients are served."""

    def __init__(self, bootstrap: Bootstrap, doors: Doors) -> None:
        self.certificate, self.key = _files(doors)
        self._renewal = own_certificate(doors)
        self._client_ca = bootstrap.client_ca
        self._lock = threading.Lock()
        self._shown: tuple[tuple[int, ...], ssl.SSLContext] | None = None
        # What OpenSSL reads must be files; these lie in a memory file system.
        write_atomic(self.certificate, bootstrap.certificate.encode(), mode=0o600)
        write_atomic(self.key, bootstrap.key.encode(), mode=0o600)

    def context(self) -> ssl.SSLContext:
        """TLS of the next connection. A renewed certificate makes a new context, so that no other notices.

        Raises ssl.SSLError when certificate and key do not belong together.
        """
        with self._lock:
            stamp = self._renewal.stamp()
            if self._shown is None or self._shown[0] != stamp:
                self._shown = (stamp, self._new_context())
            return self._shown[1]

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self._client_ca)
        self._renewal.load(context)
        context.sslsocket_class = ImpatientSocket
        # Every connection shows its certificate: no resumption.
        context.num_tickets = 0
        return context


def own_certificate(doors: Doors) -> Renewal:
    """The machine's certificate and its renewal, which outlives a reboot; the config disk is read-only."""
    return Renewal(*_files(doors), doors.state_dir / "certificate.pem", doors.now)


def _files(doors: Doors) -> tuple[Path, Path]:
    return doors.run_dir / "agent" / "agent.crt", doors.run_dir / "agent" / "agent.key"


def names_of(environ: Mapping[str, Any]) -> set[str]:
    """DNS names in the client's certificate, of a request as gunicorn hands it over; none without TLS."""
    connection = environ.get("gunicorn.socket")
    if not isinstance(connection, ssl.SSLSocket):
        return set()
    certificate = connection.getpeercert() or {}
    alternatives = certificate.get("subjectAltName", ())
    return {str(pair[1]) for pair in alternatives if pair[0] == "DNS"}


def is_mgmt(names: set[str]) -> bool:
    """Whether a client with these names is the management server; a wildcard is not."""
    return MGMT_NAME in names
