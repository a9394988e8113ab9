"""A download that was cut goes on, or begins anew, with servers of all manners; the file is one whole."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from systemvm.engine.beginning import Beginning
from systemvm.engine.fetch import ATTEMPTS, Fetcher, FetchFailed
from tests.netns.topology import Topology

pytestmark = pytest.mark.netns

ADDRESS = "10.99.2.1"
OLD, NEW = b"old" * 5000, b"new" * 7000
HALF = len(OLD) // 2


class Server:
    """Ends the first answer in the middle; `manner` is how it answers to what is asked then."""

    def __init__(self) -> None:
        self.manner = ""
        self.asked: list[tuple[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *words: object) -> None:
                pass

        self._server = ThreadingHTTPServer((ADDRESS, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://{ADDRESS}:{self._server.server_port}/image"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append((request.headers.get("Range", ""), request.headers.get("If-Range", "")))
        is_first = len(self.asked) == 1
        if is_first or self.manner == "always cut":
            tag = {} if self.manner == "no validator" else {"ETag": '"one"'}
            self._send(request, 200, OLD, tag, cut=len(OLD) - HALF)
            return
        getattr(self, "_" + self.manner.replace(" ", "_"))(request)

    def _goes_on(self, request: BaseHTTPRequestHandler) -> None:
        span = {"ETag": '"one"', "Content-Range": f"bytes {HALF}-{len(OLD) - 1}/{len(OLD)}"}
        self._send(request, 206, OLD[HALF:], span)

    def _file_changed(self, request: BaseHTTPRequestHandler) -> None:
        self._send(request, 200, NEW, {"ETag": '"two"'})

    def _no_range(self, request: BaseHTTPRequestHandler) -> None:
        self._send(request, 200, OLD, {"ETag": '"one"'})

    def _no_validator(self, request: BaseHTTPRequestHandler) -> None:
        self._send(request, 200, NEW, {})

    def _other_span(self, request: BaseHTTPRequestHandler) -> None:
        """It goes on, but with another file, whatever was asked."""
        if request.headers.get("Range"):
            span = {"Content-Range": f"bytes {HALF}-{len(NEW) - 1}/{len(NEW) + 1}"}
            self._send(request, 206, NEW[HALF:], span)
        else:
            self._send(request, 200, NEW, {"ETag": '"two"'})

    def _no_such_span(self, request: BaseHTTPRequestHandler) -> None:
        if request.headers.get("Range"):
            self._send(request, 416, b"", {"Content-Range": "bytes */1"})
        else:
            self._send(request, 200, NEW, {"ETag": '"two"'})

    def _busy(self, request: BaseHTTPRequestHandler) -> None:
        if len(self.asked) < ATTEMPTS - 1:
            self._send(request, 503, b"busy", {})
        else:
            self._goes_on(request)

    def _send(self, request: Any, status: int, body: bytes, headers: dict[str, str], *, cut: int = 0) -> None:
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body[: len(body) - cut])
        request.close_connection = True


@pytest.fixture
def server(lab: Topology) -> Iterator[Server]:
    machine = lab.machine("web")
    machine.run("ip", "addr", "add", f"{ADDRESS}/32", "dev", "lo")
    with machine.entered():
        made = Server()
        yield made
        made.close()


def fetch(server: Server, target: Path, **changes: Any) -> None:
    fetcher = Fetcher(allowed=(IPv4Network(f"{ADDRESS}/32"),), backoff=0.01)
    replace(fetcher, **changes).fetch(server.url, target, max_bytes=1 << 20)


@pytest.mark.parametrize(
    ("manner", "content"),
    [
        ("goes on", OLD),
        ("file changed", NEW),
        ("no range", OLD),
        ("no validator", NEW),
        ("other span", NEW),
        ("no such span", NEW),
        ("busy", OLD),
    ],
)
def test_what_was_cut_becomes_one_whole(server: Server, tmp_path: Path, manner: str, content: bytes) -> None:
    server.manner = manner
    fetch(server, tmp_path / "image")
    assert (tmp_path / "image").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["image"]
    expected = ("", "") if manner == "no validator" else (f"bytes={HALF}-", '"one"')
    assert server.asked[1] == expected


@pytest.mark.parametrize("flushed", [0, HALF])
def test_what_a_power_failure_took_is_fetched_again(server: Server, tmp_path: Path, flushed: int) -> None:
    """Such a file has its length, and zeros where it was not flushed."""
    server.manner = "goes on" if flushed else "no range"
    target, boot = tmp_path / "image", tmp_path / "boot"
    boot.write_text("first")
    with pytest.raises(FetchFailed):
        fetch(server, target, attempts=1, boot_id=boot)
    if flushed:
        beginning = Beginning(target, boot)
        with target.open("r+b") as file:
            file.seek(flushed)
            beginning.flush(file)
    target.write_bytes(target.read_bytes()[:flushed] + bytes(len(OLD) - 1 - flushed))
    boot.write_text("second")
    fetch(server, target, boot_id=boot)
    assert target.read_bytes() == OLD
    assert server.asked[1][0] == (f"bytes={flushed}-" if flushed else "")


def test_one_that_is_always_cut_fails_with_how_far_it_came(server: Server, tmp_path: Path) -> None:
    server.manner = "always cut"
    words = rf"received {HALF} bytes, expected {len(OLD)}\); gave up after {ATTEMPTS} attempts"
    with pytest.raises(FetchFailed, match=words):
        fetch(server, tmp_path / "image")
    assert len(server.asked) == ATTEMPTS
    server.manner = "goes on"
    fetch(server, tmp_path / "image")
    assert (tmp_path / "image").read_bytes() == OLD, "a later call goes on where this one ended"
