"""Who may talk to a host: TLS 1.3 and a client certificate that the cloud's client CA signed."""

import logging
import ssl
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from appliance.hostagent.config import HostAgentConfig
from systemvm.engine.renewal import Renewal

_log = logging.getLogger("pileus.tls")


class ServerTls:
    """The listener's TLS; certificate, key and CA are read again when their files change, so that a
    renewal cuts no connection and needs no restart.
    """

    def __init__(self, config: HostAgentConfig) -> None:
        self._client_ca = Path(config.client_ca)
        self._renewal = own_certificate(config)
        self._lock = threading.Lock()
        self._loaded: tuple[tuple[int, ...], ssl.SSLContext] | None = None

    def context(self) -> ssl.SSLContext:
        """The context of the next connection: another one after a change, so that no open one notices.

        Raises OSError (ssl.SSLError is one) when there is none yet; later the last good one stays.
        """
        with self._lock:
            try:
                stamp = (*self._renewal.stamp(), self._client_ca.stat().st_mtime_ns)
                if self._loaded is None or self._loaded[0] != stamp:
                    self._loaded = (stamp, self._new_context())
            except OSError as error:
                if self._loaded is None:
                    raise
                _log.error("the changed certificate cannot be used, the last one is shown: %s", error)
            return self._loaded[1]

    def lasting_context(self) -> ssl.SSLContext:
        """For a listener that takes one context for good: each handshake goes over to the current one."""
        self.context()  # from now on there is a last good one
        context = self._new_context()
        context.sni_callback = self._go_over
        return context

    def _go_over(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = self.context()

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        # Every connection shows its certificate: no resumption.
        context.num_tickets = 0
        context.load_verify_locations(cafile=self._client_ca)
        self._renewal.load(context)
        return context


def own_certificate(config: HostAgentConfig) -> Renewal:
    """The host's certificate and its renewal; agent and relay show the same."""
    certificate = Path(config.certificate)
    return Renewal(certificate, Path(config.key), certificate.with_suffix(".renewed.pem"), time.time)


def dns_names(certificate: Mapping[str, Any] | None) -> set[str]:
    """DNS names in a peer's certificate, as ssl.getpeercert() has it."""
    alternatives = (certificate or {}).get("subjectAltName", ())
    return {str(value) for kind, value in alternatives if kind == "DNS"}


def request_names(environ: Mapping[str, Any]) -> set[str]:
    """DNS names in the client's certificate, of a request as gunicorn hands it over; none without TLS."""
    connection = environ.get("gunicorn.socket")
    return dns_names(connection.getpeercert()) if isinstance(connection, ssl.SSLSocket) else set()
