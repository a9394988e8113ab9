"""One connection of a browser: the page, noVNC's files, or a websocket that becomes a console.

websockify speaks the websocket; what a ticket is and where it leads is ours. The first message of the
client is the ticket: never in a URL, a header or a cookie, so that no log of any proxy can hold it.
"""

import contextlib
import logging
import select
import ssl
import time
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from websockify.websockifyserver import CompatibleWebSocket, WebSockifyRequestHandler

from systemvm.engine.ticket import TicketError, verify
from systemvm.services.console.relay import RelayRefused, connect
from systemvm.services.console.sessions import Session, TooManySessions
from systemvm.spec.ticket import TicketPurpose

if TYPE_CHECKING:
    from systemvm.services.console.proxy import ProxyServer

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
WEBSOCKET_PATH = "/websockify"
#: Close codes of ours (RFC 6455, 7.4.2: 4000-4999 are private): bad ticket, no room, no way to the host.
REFUSED, FULL, UNREACHABLE, IDLE = 4403, 4429, 4502, 4408
#: Seconds: until the first message, between pings, without a byte from either side, for the goodbye.
TICKET_TIMEOUT, PING_EVERY, IDLE_TIMEOUT, GOODBYE = 10.0, 30.0, 3600.0, 2.0
#: Longest websocket message that is taken, in bytes; noVNC's are far smaller, pastes included.
MAX_MESSAGE = 1 << 20
_CHUNK = 65536
# noVNC styles its canvas from script, and its cursors are data URLs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


class BoundedWebSocket(CompatibleWebSocket):  # type: ignore[misc]
    """A websocket whose peer cannot make it buffer without end."""

    def _recv(self) -> bool:
        if len(self._recv_buffer) + len(self._partial_msg) > MAX_MESSAGE:
            raise ConnectionAbortedError(f"a websocket message of more than {MAX_MESSAGE} bytes")
        return bool(super()._recv())


class ConsoleHandler(WebSockifyRequestHandler):  # type: ignore[misc]
    """See the module. `server` is the ProxyServer."""

    SocketClass = BoundedWebSocket
    server: "ProxyServer"
    server_version, sys_version = "Pileus", ""
    #: Seconds that one read or write may take (socketserver sets it on the socket).
    timeout = 30

    def handle_upgrade(self) -> None:
        """A websocket is asked for."""
        if urlsplit(self.path).path != WEBSOCKET_PATH:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        super().handle_upgrade()

    def handle_websocket(self) -> None:
        """The websocket is open; when it is done, give the close frame time to arrive."""
        super().handle_websocket()
        deadline = time.monotonic() + GOODBYE
        with contextlib.suppress(OSError, AttributeError):
            while time.monotonic() < deadline and select.select([self.request], [], [], GOODBYE)[0]:
                if self.recv_frames()[1]:
                    return

    def new_websocket_client(self) -> None:
        """Take the ticket, connect to the host, pass bytes; every end is a CClose with words."""
        token = self._receive_token()
        settings = self.server.settings
        try:
            ticket = verify(token, settings.ticket_key, TicketPurpose.console, time.time())
            endpoint = settings.hosts.get(ticket.host)
            if endpoint is None:
                raise self._closing(UNREACHABLE, f"no host {ticket.host} is known here")
            with self.server.sessions.opened(ticket, self.client_address[0]) as session:
                self.server.nonces.spend(ticket, time.time())
                log.info(
                    "console of %s opened by %s through host %s",
                    ticket.subject,
                    session.client,
                    endpoint.name,
                )
                with connect(endpoint, settings.relays, token) as target:
                    self._pass_bytes(target, session)
        except TicketError as error:
            log.info("%s: refused: %s", self.client_address[0], error)
            raise self._closing(REFUSED, str(error)) from None
        except TooManySessions as error:
            raise self._closing(FULL, str(error)) from None
        except RelayRefused as error:
            log.warning("%s: %s", self.client_address[0], error)
            raise self._closing(UNREACHABLE, str(error)) from None

    def _receive_token(self) -> str:
        deadline = time.monotonic() + TICKET_TIMEOUT
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self.request], [], [], left)[0]:
                messages, closed = self.recv_frames()
                if closed:
                    raise self._closing(1000, "")
                if messages:
                    return bytes(messages[0]).decode(errors="replace").strip()
        raise self._closing(REFUSED, f"no ticket came within {TICKET_TIMEOUT:.0f} s")

    def _pass_bytes(self, target: ssl.SSLSocket, session: Session) -> None:
        """Both ways until one side ends or nothing happens for IDLE_TIMEOUT."""
        target.settimeout(self.timeout)
        moved = pinged = time.monotonic()
        while True:
            readable = select.select([self.request, target], [], [], PING_EVERY)[0]
            now = time.monotonic()
            before = session.received + session.sent
            if self.request in readable:
                self._to_host(target, session)
            if target in readable:
                self._to_browser(target, session)
            if session.received + session.sent > before:
                moved = now
            if now - moved > IDLE_TIMEOUT:
                raise self._closing(IDLE, f"nothing happened for {IDLE_TIMEOUT / 60:.0f} minutes")
            if now - pinged > PING_EVERY:
                pinged = now
                self.send_ping()

    def _to_host(self, target: ssl.SSLSocket, session: Session) -> None:
        messages, closed = self.recv_frames()
        for message in messages:
            target.sendall(message)
            session.received += len(message)
        if closed:
            raise self._closing(1000, "")

    def _to_browser(self, target: ssl.SSLSocket, session: Session) -> None:
        while True:
            # TLS also has messages of its own: they wake select up and hold nothing to read.
            target.settimeout(0)
            try:
                chunk = target.recv(_CHUNK)
            except ssl.SSLWantReadError:
                return
            finally:
                target.settimeout(self.timeout)
            if not chunk:
                raise self._closing(1000, "the host ended the session")
            self.send_frames([chunk])
            session.sent += len(chunk)
            # What OpenSSL has already decrypted does not wake select up again.
            if not target.pending():
                return

    def _closing(self, code: int, reason: str) -> Exception:
        # A close reason has at most 123 bytes (RFC 6455, 5.5).
        words = reason.encode()[:123].decode(errors="ignore")
        closing: Exception = self.CClose(code, words)
        return closing

    def translate_path(self, path: str) -> str:
        """The file for a path: our page and noVNC, nothing else (an empty folder's name means none)."""
        name = unquote(urlsplit(path).path).lstrip("/") or "console.html"
        root, inner = (self.server.novnc, name[6:]) if name.startswith("novnc/") else (PAGE, name)
        file = (root / inner).resolve()
        if "\0" in name or not file.is_relative_to(root.resolve()) or not file.is_file():
            return str(PAGE / "none")
        return str(file)

    def end_headers(self) -> None:
        """Every answer says what its page may do."""
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        """One line, without the query: nobody should put a ticket there, somebody will."""
        path = urlsplit(getattr(self, "path", "-")).path
        log.info(
            "%s %s %s %s", self.client_address[0], self.command, path, int(code) if code != "-" else code
        )

    def log_message(self, format: str, *args: Any) -> None:
        """Silence: websockify and http.server would log whole paths."""
