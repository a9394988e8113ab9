"""TLS towards agents: our client certificate, the server root, and exactly one expected name."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Credentials:
    """Who mgmt is (`client_file` gives a PEM file with certificate and key) and whom it trusts (PEM)."""

    server_ca: str
    client_file: Callable[[], Path]


class PinnedContext(ssl.SSLContext):
    """Verifies the server as `expected`, whatever address the connection goes to.

    An address says where, not who: link-local addresses repeat from host to host.
    """

    expected: str | None = None

    def wrap_socket(self, sock: Any, *args: Any, **options: Any) -> ssl.SSLSocket:
        """As in ssl; the name to verify is ours."""
        options["server_hostname"] = self.expected or options.get("server_hostname")
        return super().wrap_socket(sock, *args, **options)

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """As in ssl; the name to verify is ours."""
        options["server_hostname"] = self.expected or options.get("server_hostname")
        return super().wrap_bio(*args, **options)


def client_context(credentials: Credentials, expected: str | None) -> ssl.SSLContext:
    """TLS 1.3 client context that accepts `expected` only; None means the address that is connected to."""
    context = PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.expected = expected
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=credentials.server_ca)
    context.load_cert_chain(credentials.client_file())
    return context
