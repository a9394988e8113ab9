"""Who may talk to a host: TLS 1.3 and a client certificate that the cloud's client CA signed."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from appliance.hostagent.config import HostAgentConfig


class ServerTls:
    """The listener's TLS; certificate, key and CA are read again when their files change, so that a
    renewal cuts no connection and needs no restart.
    """

    def __init__(self, config: HostAgentConfig) -> None:
        self._config = config
        self._files = [Path(name) for name in (config.certificate, config.key, config.client_ca)]
        self._stamp: tuple[int, ...] = ()
        self._context = _server_context()

    def context(self) -> ssl.SSLContext:
        """The one context, up to date. Raises OSError (ssl.SSLError is one)."""
        self.refresh()
        return self._context

    def refresh(self) -> bool:
        """Read the files again if they changed; connections that are open keep what they have."""
        stamp = tuple(file.stat().st_mtime_ns for file in self._files)
        if stamp == self._stamp:
            return False
        self._context.load_verify_locations(cafile=self._config.client_ca)
        self._context.load_cert_chain(self._config.certificate, self._config.key)
        self._stamp = stamp
        return True


def dns_names(certificate: Mapping[str, Any] | None) -> set[str]:
    """DNS names in a peer's certificate, as ssl.getpeercert() has it."""
    alternatives = (certificate or {}).get("subjectAltName", ())
    return {str(value) for kind, value in alternatives if kind == "DNS"}


def request_names(environ: Mapping[str, Any]) -> set[str]:
    """DNS names in the client's certificate, of a request as gunicorn hands it over; none without TLS."""
    connection = environ.get("gunicorn.socket")
    return dns_names(connection.getpeercert()) if isinstance(connection, ssl.SSLSocket) else set()


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    # Every connection shows its certificate: no resumption.
    context.num_tickets = 0
    return context
