"""A web server with bad manners on request, for downloads under test."""

import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any


class WebServer(ThreadingMixIn, TCPServer):
    """Serves `files` on a listening socket.

    `/NAME` is the file, by Range too; `/cut/NAME` ends the connection in the middle of what is asked, as
    long as `cuts` are left; `/norange/NAME` ignores Range; `/redirect/N/NAME` redirects N times;
    `/endless` never stops; `/slow/NAME` takes its time. `moved` maps paths to the target of a redirect.
    """

    daemon_threads, block_on_close = True, False

    def __init__(self, listener: socket.socket, context: ssl.SSLContext | None = None) -> None:
        super().__init__(listener.getsockname(), _Answer, bind_and_activate=False)
        self.socket.close()
        self.socket = context.wrap_socket(listener, server_side=True) if context else listener
        self.files: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        self.cuts = 0
        self.asked: list[tuple[str, str]] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Peers hang up on purpose here."""


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WebServer

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range", "")))
        manner, _, rest = self.path.lstrip("/").partition("/")
        if self.path in self.server.moved:
            self._redirect(self.server.moved[self.path])
        elif manner == "redirect":
            count, _, name = rest.partition("/")
            self._redirect(f"/redirect/{int(count) - 1}/{name}" if int(count) > 1 else f"/{name}")
        elif manner == "endless":
            self._endless()
        elif rest in self.server.files:
            self._file(self.server.files[rest], manner)
        elif manner in self.server.files:
            self._file(self.server.files[manner], "")
        else:
            self.send_error(404)

    def _redirect(self, target: str) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _endless(self) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        while True:
            self.wfile.write(bytes(1 << 16))

    def _file(self, content: bytes, manner: str) -> None:
        asked = self.headers.get("Range", "") if manner != "norange" else ""
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", f'"{len(content):x}"')
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if manner == "cut" and self.server.cuts:
            self.server.cuts -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif manner == "slow":
            for offset in range(0, len(body), 1 << 16):
                self.wfile.write(body[offset : offset + (1 << 16)])
                time.sleep(0.03)
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""
