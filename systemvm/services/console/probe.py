"""Ask the proxy as a browser would: its certificate, its page, noVNC, and its refusal of a bad ticket."""

import base64
import http.client
import os
import socket
import ssl
import struct
from collections.abc import Callable

from systemvm.engine.certificates import der_of, seconds_left
from systemvm.engine.service import Doors
from systemvm.services.console.render import DAEMON
from systemvm.spec.appliances import Console
from systemvm.spec.state import State
from systemvm.spec.types import ProbeResult

_TIMEOUT = 3.0
#: systemvm.services.console.handler.REFUSED; not imported, because the agent needs no websockify.
_REFUSED = 4403


class _Unhealthy(Exception):
    """What a probe found, in words."""


def probe(state: State, doors: Doors) -> list[ProbeResult]:
    """See systemvm.engine.service."""
    console = state.console
    if console is None:
        return []
    checks: dict[str, Callable[[], str]] = {
        "tls": lambda: _probe_tls(console, doors),
        "page": lambda: _probe_page(console),
        "ticket": lambda: _probe_ticket(console),
    }
    return [_run(name, check, doors) for name, check in checks.items()]


def _run(name: str, check: Callable[[], str], doors: Doors) -> ProbeResult:
    try:
        return ProbeResult(service="console", name=name, healthy=True, message=check())
    except (OSError, http.client.HTTPException, _Unhealthy) as error:
        message = str(error)
        if isinstance(error, ConnectionRefusedError):
            message += "; the proxy said: " + ("; ".join(doors.daemons.logs(DAEMON, 5)) or "nothing")
    return ProbeResult(service="console", name=name, healthy=False, message=message)


def _probe_tls(console: Console, doors: Doors) -> str:
    with _connect(console) as connection:
        shown = connection.getpeercert(binary_form=True)
    if shown != der_of(console.certificate):
        raise _Unhealthy("the proxy shows another certificate than the document's")
    days = seconds_left(console.certificate, doors.now()) / 86400
    if days < 0:
        raise _Unhealthy(f"the certificate expired {-days:.0f} days ago")
    return f"TLS 1.3 with the document's certificate, good for {days:.0f} days"


def _probe_page(console: Console) -> str:
    for path in ("/console.html", "/console.js", "/novnc/core/rfb.js"):
        connection = http.client.HTTPSConnection(
            console.address, console.port, timeout=_TIMEOUT, context=_context()
        )
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise _Unhealthy(f"GET {path} is answered with {answer.status} {answer.reason}")
            answer.read()
        finally:
            connection.close()
    return "the page and noVNC are served"


def _probe_ticket(console: Console) -> str:
    with _connect(console) as connection:
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET /websockify HTTP/1.1\r\nHost: {console.address}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        connection.sendall(request.encode())
        with connection.makefile("rb") as reader:
            answer = reader.readline().decode(errors="replace").strip()
            if " 101 " not in answer:
                raise _Unhealthy(f"a websocket is answered with {answer or 'silence'}")
            while reader.readline().strip():
                pass
            # One masked binary frame (RFC 6455, 5.2), the mask being zeros.
            connection.sendall(b"\x82\x87\0\0\0\0garbage")
            frame = reader.read(4)
    if len(frame) < 4 or frame[0] != 0x88 or struct.unpack(">H", frame[2:])[0] != _REFUSED:
        raise _Unhealthy("a ticket of garbage was not refused")
    return "a ticket of garbage is refused"


def _connect(console: Console) -> ssl.SSLSocket:
    plain = socket.create_connection((console.address, console.port), timeout=_TIMEOUT)
    try:
        return _context().wrap_socket(plain)
    except BaseException:
        plain.close()
        raise


def _context() -> ssl.SSLContext:
    # Not verified against an authority: the certificate must be the document's own, byte for byte.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
