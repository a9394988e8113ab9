"""From the proxy to the host: TLS with a client certificate, one line with the ticket, then RFB.

The host's relay answers the line with `OK` or `ERR <reason>`, and from then on passes bytes to and from
the VM's VNC socket.
"""

import socket
import ssl

from systemvm.spec.appliances import HostEndpoint

#: Seconds to reach the host and to get its answer.
CONNECT_TIMEOUT = 10.0
#: Longest answer line, in bytes.
_MAX_LINE = 512


class RelayRefused(Exception):
    """The host could not be reached, or does not want this ticket; the words are for the user."""


def connect(endpoint: HostEndpoint, context: ssl.SSLContext, token: str) -> ssl.SSLSocket:
    """A connection at whose other end is the VM's screen. Raises RelayRefused."""
    try:
        plain = socket.create_connection((endpoint.address, endpoint.port), timeout=CONNECT_TIMEOUT)
    except OSError as error:
        raise RelayRefused(f"host {endpoint.name} cannot be reached: {error.strerror or error}") from None
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = context.wrap_socket(plain, server_hostname=endpoint.name)
    except (OSError, ValueError) as error:
        plain.close()
        raise RelayRefused(f"host {endpoint.name} is not who it should be: {_words(error)}") from None
    try:
        connection.sendall(f"{token}\n".encode())
        answer = _read_line(connection)
    except OSError as error:
        connection.close()
        raise RelayRefused(f"host {endpoint.name} hung up: {_words(error)}") from None
    if answer != "OK":
        connection.close()
        reason = answer.removeprefix("ERR ") or "it hung up without a word"
        raise RelayRefused(f"host {endpoint.name} refuses: {reason}")
    return connection


def _read_line(connection: ssl.SSLSocket) -> str:
    # Byte by byte: what follows the line is the VM's, and must stay in the connection.
    line = b""
    while not line.endswith(b"\n") and len(line) < _MAX_LINE:
        byte = connection.recv(1)
        if not byte:
            break
        line += byte
    return line.decode(errors="replace").strip()


def _words(error: Exception) -> str:
    reason = getattr(error, "verify_message", "") or getattr(error, "reason", "")
    return str(reason or getattr(error, "strerror", "") or error)
