"""Template pulls over real TLS: verified, resumed, checked before use, pulled once, never logged."""

import hashlib
import logging
import shutil
import ssl
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from appliance.hostagent.errors import Cancelled, HostError
from appliance.hostagent.templates import TemplateCache
from systemvm.engine.command import run
from systemvm.engine.fetch import FetchFailed
from systemvm.engine.image_header import ImageRefused
from systemvm.spec.host import TemplatePull
from tests.netns.topology import Topology
from tests.pki import Authority

pytestmark = pytest.mark.netns
NAME = "s-1-vm.pileus.internal"
ADDRESS = "10.99.0.1"
TICKET = "very-secret-ticket"


class Storage:
    """An HTTPS server in the place of a storage VM; `cuts` connections end in the middle of the body."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self.authority = authority
        self.content, self.cuts, self.delay = b"", 0, threading.Event()
        self.requests: list[str] = []
        self.delay.set()
        storage = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                storage.answer(self)

            def log_message(self, *words: object) -> None:
                pass

        self._server = ThreadingHTTPServer((ADDRESS, 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue(NAME).write(folder, "storage"))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"https://{ADDRESS}:{self._server.server_port}/v1/templates/x?ticket={TICKET}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        span = request.headers.get("Range", "")
        self.requests.append(span)
        if TICKET not in request.path:
            request.send_error(403, "no ticket")
            return
        start = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
        body, size = self.content[start:], len(self.content)
        request.send_response(206 if span else 200)
        request.send_header("ETag", f'"{hashlib.sha256(self.content).hexdigest()}"')
        if span:
            request.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if self.cuts > 0:
            self.cuts -= 1
            request.wfile.write(body[: len(body) // 2])
            request.close_connection = True
            return
        half = len(body) // 2  # enough to be on the client's disk, not in its buffers
        request.wfile.write(body[:half])
        self.delay.wait(60)
        request.wfile.write(body[half:])

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="ptt-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def authority() -> Authority:
    return Authority("servers")


@pytest.fixture
def storage(lab: Topology, authority: Authority, folder: Path) -> Iterator[Storage]:
    machine = lab.machine("storage")
    machine.run("ip", "addr", "add", f"{ADDRESS}/32", "dev", "lo")
    with machine.entered():
        made = Storage(authority, folder)
        made.content = qcow2(folder)
        yield made
        made.close()


@pytest.fixture
def cache(folder: Path) -> TemplateCache:
    (folder / "cache").mkdir()
    return TemplateCache(folder / "cache", folder / "images", pull_timeout=20.0, backoff=0.02)


def qcow2(folder: Path) -> bytes:
    path = folder / "made.qcow2"
    run(("qemu-img", "create", "-q", "-f", "qcow2", str(path), "8M"))
    run(("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 4M", str(path)))
    return path.read_bytes()


def wanted(storage: Storage, authority: Authority, **changes: str) -> TemplatePull:
    values = {
        "template": "0d3c2f00-0000-4000-8000-000000000001",
        "url": storage.url,
        "sha256": hashlib.sha256(storage.content).hexdigest(),
        "server_name": NAME,
        "server_ca": authority.pem,
    }
    return TemplatePull(**(values | changes))


def pull(cache: TemplateCache, template: TemplatePull) -> tuple[Path, list[str]]:
    said: list[str] = []
    return cache.base(template, said.append, threading.Event()), said


def test_a_pull_survives_cuts_and_is_kept(
    storage: Storage, authority: Authority, cache: TemplateCache
) -> None:
    storage.cuts = 2
    path, said = pull(cache, wanted(storage, authority))
    assert path.read_bytes() == storage.content
    half = len(storage.content) // 2
    assert storage.requests[:2] == ["", f"bytes={half}-"], "it goes on where it was cut"
    assert any("100 %" in words for words in said)
    assert pull(cache, wanted(storage, authority))[0] == path
    assert len(storage.requests) == 3, "what is in the cache is not pulled again"
    (entry,) = cache.list()
    assert (entry.state, entry.virtual_size) == ("ready", 8 << 20)


def test_one_template_is_pulled_once_for_many(
    storage: Storage, authority: Authority, cache: TemplateCache
) -> None:
    storage.delay.clear()
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(pull(cache, wanted(storage, authority))[0]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    storage.delay.set()
    for thread in threads:
        thread.join()
    assert len(paths) == 4
    assert len(set(paths)) == 1
    assert len(storage.requests) == 1


def test_who_serves_and_what_is_served_is_verified(
    storage: Storage, authority: Authority, cache: TemplateCache, folder: Path
) -> None:
    for changes in ({"server_name": "other.pileus.internal"}, {"server_ca": Authority("others").pem}):
        with pytest.raises(FetchFailed, match="CERTIFICATE_VERIFY_FAILED") as failure:
            pull(cache, wanted(storage, authority, **changes))
        assert TICKET not in str(failure.value)
    with pytest.raises(ImageRefused, match="promised was 0000"):
        pull(cache, wanted(storage, authority, sha256="0" * 64))
    with pytest.raises(FetchFailed, match="answers 403"):
        pull(cache, wanted(storage, authority, url=storage.url.partition("?")[0]))
    assert list((folder / "cache").iterdir()) == [], "nothing of it stays"


def test_an_image_that_reaches_outside_itself_is_refused(
    storage: Storage, authority: Authority, cache: TemplateCache, folder: Path
) -> None:
    evil = folder / "evil.qcow2"
    backing = ("-F", "raw", "-b", "/etc/passwd")
    run(("qemu-img", "create", "-q", "-u", "-f", "qcow2", *backing, str(evil), "1M"))
    storage.content = evil.read_bytes()
    with pytest.raises(ImageRefused, match="names a backing file"):
        pull(cache, wanted(storage, authority))


def test_a_pull_can_be_cancelled(storage: Storage, authority: Authority, cache: TemplateCache) -> None:
    storage.cuts = 1000
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Cancelled):
        cache.base(wanted(storage, authority), lambda _words: None, cancelled)


def test_tickets_are_not_logged(
    storage: Storage, authority: Authority, cache: TemplateCache, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pull(cache, wanted(storage, authority))
    assert TICKET not in caplog.text


def test_names_instead_of_addresses_and_paths_instead_of_names_are_refused(
    storage: Storage, authority: Authority, cache: TemplateCache
) -> None:
    with pytest.raises(HostError, match="must name the storage VM by address"):
        pull(cache, wanted(storage, authority, url="https://localhost/x"))
    with pytest.raises(HostError, match="cannot be the name of a file"):
        pull(cache, wanted(storage, authority, sha256="", template="../../x"))
