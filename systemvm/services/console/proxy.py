"""The console proxy's process: `python -m systemvm.services.console.proxy --listen ADDRESS:PORT …`.

It binds and loads its keys as root, then becomes an unprivileged user for good. SIGHUP loads the files
of its folder again; sessions that are open go on.
"""

import argparse
import logging
import os
import pwd
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from types import FrameType
from typing import Any

from systemvm.engine.nonces import Nonces
from systemvm.services.console.handler import ConsoleHandler
from systemvm.services.console.sessions import Sessions
from systemvm.services.console.settings import Settings
from systemvm.spec.codec import DocumentError

log = logging.getLogger(__name__)

#: Connections at a time, files of the page included.
MAX_CONNECTIONS = 256
#: Seconds for a TLS handshake.
_HANDSHAKE = 10.0


class ProxyServer(ThreadingMixIn, TCPServer):
    """Listens, speaks TLS, and gives every connection a thread and a ConsoleHandler."""

    allow_reuse_address, daemon_threads, block_on_close, request_queue_size = True, True, False, 128

    def __init__(
        self, address: tuple[str, int], settings: Settings, novnc: Path, nonces: Nonces, sessions: Sessions
    ) -> None:
        super().__init__(address, ConsoleHandler)
        self.settings, self.novnc, self.nonces, self.sessions = settings, novnc, nonces, sessions
        # websockify keeps its logger here; what it would say may hold paths with tickets.
        self.logger = logging.getLogger("websockify")
        self.logger.disabled = True
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread, or hang up when there are too many."""
        if not self._room.acquire(blocking=False):
            log.warning("%s: hung up: %d connections are open", client_address[0], MAX_CONNECTIONS)
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The thread of one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """TLS first: in the thread, because a peer that says nothing must not keep the others waiting."""
        request.settimeout(_HANDSHAKE)
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.settings.browsers.wrap_socket(request, server_side=True) as tls:
            ConsoleHandler(tls, client_address, self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that goes away or speaks no TLS is its own affair; the rest is ours."""
        error = sys.exception()
        if isinstance(error, OSError | ssl.SSLError):
            log.info("%s: %s: %s", client_address[0], type(error).__name__, error)
        else:
            log.error("%s: connection failed", client_address[0], exc_info=error)


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM."""
    options = _parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
    host, _, port = options.listen.rpartition(":")
    options.run.mkdir(parents=True, exist_ok=True)
    _give(options.run, options.user)
    sessions = Sessions(options.run / "sessions.json")
    settings = Settings(options.folder)
    # Not kept over a reboot: that takes longer than a ticket lives, and the host remembers as well.
    nonces = Nonces(options.run / "nonces.db")
    for file in (options.run / "nonces.db", options.run / "sessions.json"):
        _give(file, options.user)
    with ProxyServer((host, int(port)), settings, options.novnc, nonces, sessions) as server:
        _become(options.user)
        sessions.start()

        def reload(number: int, frame: FrameType | None) -> None:
            try:
                server.settings = Settings(options.folder)
                log.info("settings loaded again: %d hosts", len(server.settings.hosts))
            except (OSError, DocumentError) as error:
                log.error("settings stay as they were: %s", error)

        signal.signal(signal.SIGHUP, reload)
        log.info("listening at %s for consoles of %d hosts", options.listen, len(settings.hosts))
        server.serve_forever()
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="console-proxy", description=__doc__)
    parser.add_argument("--listen", required=True, help="ADDRESS:PORT")
    for name in ("folder", "run", "novnc"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    parser.add_argument("--user", default="", help="whom to become after binding; only root can")
    return parser.parse_args(argv)


def _give(path: Path, user: str) -> None:
    if user and os.geteuid() == 0:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def _become(user: str) -> None:
    """Give root's rights away, if there are any, and for good."""
    if user and os.geteuid() == 0:
        entry = pwd.getpwnam(user)
        os.setgroups([])
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
