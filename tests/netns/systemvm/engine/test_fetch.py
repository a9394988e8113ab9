"""The fetcher against TLS: it connects to the judged address, and checks the URL's own name there."""

import socket
import ssl
from pathlib import Path

import pytest

from systemvm.engine.fetch import AddressRefused, Fetcher, FetchFailed
from tests.netns.topology import Topology
from tests.pki import Authority
from tests.web import WebServer

pytestmark = pytest.mark.netns
ADDRESS = "9.9.9.9"


def test_https_by_pinned_address(lab: Topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client, web = lab.machine("client"), lab.machine("web")
    lab.wire(client, "eth0", web, "eth0")
    client.run("ip", "addr", "add", "9.9.9.2/24", "dev", "eth0")
    web.run("ip", "addr", "add", f"{ADDRESS}/24", "dev", "eth0")
    authority = Authority("images")
    (tmp_path / "ca.pem").write_text(authority.pem)
    # OpenSSL's own name for "the machine's authorities".
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("images.example").write(tmp_path, "server"))
    with web.entered():
        listener = socket.create_server((ADDRESS, 443))
    server = WebServer(listener, context)
    server.files["disk"] = b"disk" * 1000
    server.moved["/to-http"] = "http://images.example/disk"
    answers = iter([[ADDRESS], ["127.0.0.1"]])
    target = tmp_path / "disk"
    with client.entered():
        once = Fetcher(attempts=1, resolve=lambda host, port: next(answers))
        once.fetch("https://images.example/disk", target, max_bytes=1 << 20)
        assert target.read_bytes() == server.files["disk"]
        # A second resolution, to a forbidden address, was not asked for: it is still there.
        assert next(answers) == ["127.0.0.1"]
        other = Fetcher(attempts=1, resolve=lambda host, port: [ADDRESS])
        with pytest.raises(FetchFailed, match="certificate verify failed"):
            other.fetch("https://other.example/disk", tmp_path / "other", max_bytes=1 << 20)
        with pytest.raises(AddressRefused, match="from https to http"):
            other.fetch("https://images.example/to-http", tmp_path / "other", max_bytes=1 << 20)
    server.close()
