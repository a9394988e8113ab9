"""A virtual router's metadata as CloudStack serves it, for tests of guests.

HTTP on port 80, one-time password on 8080; paths, header and answers are those of cloud-init's CloudStack
source. Sockets are made in the calling thread, so inside `Machine.entered()` the server listens there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Instance:
    """What the router knows of its one guest, and what the guest asked."""

    metadata: dict[str, str]
    user_data: bytes | None = None
    #: Given out until the guest has thanked; None: already fetched, "saved_password".
    password: str | None = None
    #: Replaces the index of keys, for hostile routers.
    index: str | None = None
    asked: list[str] = field(default_factory=list)

    def metadata_answer(self, path: str) -> bytes | None:
        """Body for a path on port 80; None is not found."""
        self.asked.append(path)
        if path.rstrip("/") == "/latest/user-data":
            return self.user_data
        if path.rstrip("/") == "/latest/meta-data":
            return (self.index if self.index is not None else "\n".join(self.metadata)).encode()
        value = self.metadata.get(path.removeprefix("/latest/meta-data/"))
        return None if value is None else value.encode()

    def password_answer(self, request: str) -> bytes:
        """Body on port 8080 for a value of the header DomU_Request."""
        self.asked.append(request)
        if request == "send_my_password":
            return (self.password if self.password is not None else "saved_password").encode()
        if request == "saved_password":
            self.password = None
            return b"saved_password"
        return b"bad_request"


class _Quiet(BaseHTTPRequestHandler):
    instance: Instance

    def log_message(self, format: str, *args: object) -> None:
        """Requests are in `Instance.asked`."""

    def send(self, body: bytes | None) -> None:
        self.send_response(HTTPStatus.NOT_FOUND if body is None else HTTPStatus.OK)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")


@contextmanager
def serving(instance: Instance, address: str) -> Iterator[None]:
    """Serve on an address of this thread's network namespace until the end of the block."""

    class Metadata(_Quiet):
        def do_GET(self) -> None:
            self.send(instance.metadata_answer(self.path))

    class Password(_Quiet):
        def do_GET(self) -> None:
            self.send(instance.password_answer(self.headers.get("DomU_Request", "")))

    servers = [ThreadingHTTPServer((address, 80), Metadata), ThreadingHTTPServer((address, 8080), Password)]
    threads = [Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()
