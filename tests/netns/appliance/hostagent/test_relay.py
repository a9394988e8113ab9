"""Tunnel and console relay as a process of their own, over real TLS: who passes, and where to."""

import base64
import contextlib
import hashlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.hostagent.image_header import read_backing, read_header
from appliance.hostagent.migration_door import MIGRATION_SUFFIX
from appliance.hostagent.peers import PeerRefused, receive
from appliance.hostagent.shared_pools import shared_pools_of
from appliance.hostagent.templates import TemplateCache
from appliance.hostagent.volume_fetches import VolumeFetches
from appliance.hostagent.volumes import VolumeStore
from mgmt.agents.tls import Credentials, client_context
from systemvm.engine import ticket as tickets
from systemvm.engine.command import run
from systemvm.engine.errors import EngineError
from systemvm.spec.bootstrap import MGMT_NAME
from systemvm.spec.host import HostState, Peer, SharedPool, TemplatePull, Volume, VolumeFetch
from systemvm.spec.ticket import Ticket, TicketPurpose
from tests.netns.host_bench import ADDRESS, CLOUD, PUBLIC_BRIDGE, HostBench
from tests.netns.topology import Machine, Topology, eventually

pytestmark = pytest.mark.netns
AGENT = "169.254.3.4"


@pytest.fixture
def host(lab: Topology) -> Iterator[HostBench]:
    bench = HostBench(lab)
    bench.start_agent()
    bench.start_relay()
    yield bench
    bench.close()


@pytest.fixture
def system_vm(lab: Topology, host: HostBench) -> Machine:
    """A machine on cloud0 with an HTTPS server on the agent's port, and one on another port."""
    machine = lab.machine("system")
    lab.wire(machine, "eth0", host.machine, "p-system")
    host.machine.run("ip", "link", "set", "p-system", "master", CLOUD)
    machine.run("ip", "addr", "add", f"{AGENT}/16", "dev", "eth0")
    certificate, key = host.servers.issue("r-4-vm.pileus.internal").write(host.paths.pki, "system")
    for port in (8443, 22):
        machine.start(
            *("openssl", "s_server", "-quiet", "-www", "-tls1_3", "-accept", f"{AGENT}:{port}"),
            *("-cert", str(certificate), "-key", str(key)),
        )
        eventually(lambda port=port: f":{port} " in machine.run("ss", "-ltn").stdout, f"port {port} listens")
    return machine


def connect(host: HostBench, port: int, files: tuple[Path, Path] | None = None) -> ssl.SSLSocket:
    with host.machine.entered():
        plain = socket.create_connection((ADDRESS, port), timeout=10)
    return host.trust(files or host.mgmt_files).wrap_socket(plain, server_hostname="host1.pileus.internal")


def ask_tunnel(host: HostBench, request: str, files: tuple[Path, Path] | None = None) -> str:
    """The status line that the tunnel answers."""
    with connect(host, host.config.tunnel_port, files) as tunnel:
        tunnel.sendall(request.encode())
        return tunnel.recv(4096).decode().partition("\r\n")[0]


def test_https_goes_through_the_tunnel(host: HostBench, system_vm: Machine) -> None:
    """TLS within TLS, as mgmt's HTTP client does it."""
    pem = host.paths.pki / "mgmt.pem"
    pem.write_text("".join(file.read_text() for file in host.mgmt_files))
    credentials = Credentials(host.servers.pem, lambda: pem)
    proxy = httpx.Proxy(
        f"https://{ADDRESS}:{host.config.tunnel_port}",
        ssl_context=client_context(credentials, "host1.pileus.internal"),
    )
    trust = client_context(credentials, "r-4-vm.pileus.internal")
    with host.machine.entered(), httpx.Client(proxy=proxy, verify=trust, trust_env=False) as client:
        answer = client.get(f"https://{AGENT}:8443/")
    assert answer.status_code == 200
    assert "TLSv1.3" in answer.text


def test_the_tunnel_leads_nowhere_else(host: HostBench, system_vm: Machine) -> None:
    answers = {
        f"CONNECT {AGENT}:22 HTTP/1.1\r\n\r\n": "403 Forbidden",
        "CONNECT 169.254.0.1:8443 HTTP/1.1\r\n\r\n": "403 Forbidden",
        "CONNECT 169.254.255.255:8443 HTTP/1.1\r\n\r\n": "403 Forbidden",
        "CONNECT 127.0.0.1:8443 HTTP/1.1\r\n\r\n": "403 Forbidden",
        f"CONNECT {ADDRESS}:8445 HTTP/1.1\r\n\r\n": "403 Forbidden",
        "CONNECT 999.254.3.4:8443 HTTP/1.1\r\n\r\n": "400 Bad Request",
        "CONNECT r-4-vm:8443 HTTP/1.1\r\n\r\n": "400 Bad Request",
        "GET / HTTP/1.1\r\n\r\n": "405 Method Not Allowed",
        f"CONNECT {AGENT}:8443 HTTP/1.1\r\n" + "x" * 20000: "400 Bad Request",
        "CONNECT 169.254.9.9:8443 HTTP/1.1\r\n\r\n": "502 Bad Gateway",
    }
    assert {request: ask_tunnel(host, request) for request in answers} == {
        request: f"HTTP/1.1 {answer}" for request, answer in answers.items()
    }


def test_only_mgmt_passes(host: HostBench, system_vm: Machine) -> None:
    line = f"CONNECT {AGENT}:8443 HTTP/1.1\r\n\r\n"
    assert ask_tunnel(host, line) == "HTTP/1.1 200 Connection established"
    assert ask_tunnel(host, line, host.console_files) == "HTTP/1.1 403 Forbidden"
    foreign = host.servers.issue(MGMT_NAME).write(host.paths.pki, "foreign")
    # In TLS 1.3 the client learns only when it reads that its certificate was refused.
    answer = ""
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        answer = ask_tunnel(host, line, foreign)
    assert answer == ""
    old = host.trust(host.mgmt_files)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with host.machine.entered():
        plain = socket.create_connection((ADDRESS, host.config.tunnel_port), timeout=10)
    with plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain, server_hostname="host1.pileus.internal")


def test_the_rest_agent_obeys_mgmt_only(host: HostBench) -> None:
    assert host.request("GET", "/").status_code == 200
    refused = host.request("GET", "/v1/domains", files=host.console_files)
    assert refused.status_code == 403
    assert "only mgmt.pileus.internal" in refused.json()["message"]
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        host.request("GET", "/", files=host.servers.issue(MGMT_NAME).write(host.paths.pki, "foreign"))


def test_health_misses_the_relay_when_it_is_gone(host: HostBench) -> None:
    def probe() -> tuple[bool, str]:
        answers = host.request("GET", "/v1/health").json()
        return next((item["healthy"], item["message"]) for item in answers if item["service"] == "relay")

    assert probe() == (True, f"the tunnel accepts on {ADDRESS}:8446")
    assert host.relay is not None
    host.relay.terminate()
    host.relay.communicate(timeout=15)
    healthy, message = probe()
    assert not healthy
    assert "start pileus-relay" in message


def test_a_restart_of_the_agent_cuts_no_tunnel(host: HostBench, system_vm: Machine) -> None:
    with connect(host, host.config.tunnel_port) as tunnel:
        tunnel.sendall(f"CONNECT {AGENT}:8443 HTTP/1.1\r\n\r\n".encode())
        assert tunnel.recv(4096).startswith(b"HTTP/1.1 200")
        host.stop_agent()
        host.start_agent()
        inner = ssl.MemoryBIO(), ssl.MemoryBIO()
        trust = ssl.create_default_context(cadata=host.servers.pem)
        session = trust.wrap_bio(*inner, server_hostname="r-4-vm.pileus.internal")
        with contextlib.suppress(ssl.SSLWantReadError):
            session.do_handshake()
        tunnel.sendall(inner[1].read())
        inner[0].write(tunnel.recv(65536))
        with contextlib.suppress(ssl.SSLWantReadError):
            session.do_handshake()
        assert session.version() == "TLSv1.3"


def test_a_renewed_certificate_is_used_without_a_restart(host: HostBench) -> None:
    before = _certificate(host)
    time.sleep(0.01)  # the files' times must differ
    host.servers.issue("host1.pileus.internal").write(host.paths.pki, "host")
    assert _certificate(host) != before


def _certificate(host: HostBench) -> bytes | None:
    with connect(host, host.config.agent_port) as connection:
        return connection.getpeercert(binary_form=True)


class Screen:
    """A Unix socket in the place of QEMU's VNC server: says `RFB`, then repeats what it hears."""

    def __init__(self, path: Path) -> None:
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                viewer, _ = self._server.accept()
            except OSError:
                return
            with viewer:
                viewer.sendall(b"RFB 003.008\n")
                while data := viewer.recv(4096):
                    viewer.sendall(data)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


class Console:
    """One VM's screen, and tickets for it."""

    def __init__(self, host: HostBench) -> None:
        self.host, self.vm = host, str(uuid4())
        self.screen = Screen(host.paths.vnc / f"{self.vm}.sock")
        self._key = Ed25519PrivateKey.generate()
        public = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        host.put("/v1/state", HostState(generation=1, host=host.host, ticket_key=public.decode()))

    def ticket(self, **changes: object) -> str:
        values = {
            "purpose": TicketPurpose.console,
            "subject": self.vm,
            "host": self.host.host,
            "nonce": str(uuid4()),
            "expires": int(time.time()) + 60,
        }
        private = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return tickets.sign(Ticket(**(values | changes)), private.decode())

    def open(self, line: str, files: tuple[Path, Path] | None = None) -> tuple[str, bytes]:
        """First line of the answer, and what the screen says after typing `x`."""
        port = self.host.config.console_relay_port
        with connect(self.host, port, files or self.host.console_files) as relay:
            relay.sendall(f"{line}\n".encode())
            stream = relay.makefile("rb")
            answer = stream.readline().decode().strip()
            if answer != "OK":
                return answer, b""
            greeting = stream.readline()
            relay.sendall(b"x\n")
            return answer, greeting + stream.readline()


@pytest.fixture
def console(host: HostBench) -> Iterator[Console]:
    made = Console(host)
    yield made
    made.screen.close()


def test_a_good_ticket_opens_the_screen_once(console: Console) -> None:
    ticket = console.ticket()
    assert console.open(ticket) == ("OK", b"RFB 003.008\nx\n")
    assert console.open(ticket)[0] == "ERR the ticket was used before: ask for a new one"


def test_bad_tickets_are_refused_in_words(console: Console) -> None:
    def answer(**changes: object) -> str:
        return console.open(console.ticket(**changes))[0]

    other = str(uuid4())
    assert f"ERR the ticket is for host {other}" in answer(host=other)
    assert f"ERR VM {other} does not run on this host" in answer(subject=other)
    assert "ERR the ticket expired" in answer(expires=int(time.time()) - 1)
    assert "ERR the ticket is for template" in answer(purpose=TicketPurpose.template)
    payload, _, signature = console.ticket().partition(".")
    forged = base64.urlsafe_b64encode(b"0" * 64).rstrip(b"=").decode()
    assert "not signed by this cloud's" in console.open(f"{payload}.{forged}")[0]
    assert signature != forged
    assert "ERR not a ticket" in console.open("hello")[0]


def test_only_a_console_proxy_may_ask(console: Console) -> None:
    answer, _ = console.open(console.ticket(), console.host.mgmt_files)
    assert "only console.pileus.internal may ask" in answer


def test_the_public_network_does_not_reach_the_relay(lab: Topology, host: HostBench) -> None:
    guest = lab.machine("guest")
    lab.wire(guest, "eth0", host.machine, "p-guest")
    host.machine.run("ip", "link", "set", "p-guest", "master", PUBLIC_BRIDGE)
    guest.run("ip", "addr", "add", "172.31.241.20/24", "dev", "eth0")
    guest.run("ip", "route", "add", "default", "via", "172.31.241.1")
    for port in (8445, 8446, 8447):
        assert not guest.answers("timeout", "2", "bash", "-c", f"exec 3<>/dev/tcp/{ADDRESS}/{port}")


def peer(host: HostBench, subject: str) -> Peer:
    """What opens the host's door for one volume."""
    files = host.clients.issue(subject + MIGRATION_SUFFIX).write(host.paths.pki, subject)
    certificate, key = (file.read_text() for file in files)
    return Peer(
        address=ADDRESS,
        server_name="host1.pileus.internal",
        server_ca=host.servers.pem,
        certificate=certificate,
        key=key,
    )


def test_a_volume_moves_with_the_template_that_nobody_else_has_any_more(
    host: HostBench, tmp_path: Path
) -> None:
    """The old host gives both to who has the volume's certificate; the storage VM is asked in vain."""
    volume_id, content = str(uuid4()), os.urandom(1 << 20)
    sha256 = hashlib.sha256(content).hexdigest()
    old_base = host.paths.templates / f"{sha256}.img"
    old_base.write_bytes(content)
    file = Path(host.config.pools["primary"]) / f"{volume_id}.qcow2"
    run(("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(old_base), str(file)))
    pull = TemplatePull(template="t", sha256=sha256, url="https://127.0.0.1:1/v1/templates/t")
    volume = Volume(id=volume_id, pool="primary", bytes=1 << 20, base=pull)
    for folder in ("templates", "images", "pool"):
        (tmp_path / folder).mkdir()
    templates = TemplateCache(tmp_path / "templates", tmp_path / "images", pull_timeout=1.0, backoff=0.01)
    fetches = VolumeFetches(VolumeStore({"primary": tmp_path / "pool"}, templates))

    with host.machine.entered():
        with pytest.raises(EngineError):  # another volume's certificate opens nothing of this one
            fetches.put_base(VolumeFetch(volume=volume, source=peer(host, str(uuid4()))), wait=60)
        copy = VolumeFetch(volume=volume, source=peer(host, volume_id))
        assert fetches.put_base(copy, wait=60)
        assert (tmp_path / "templates" / f"{sha256}.img").read_bytes() == content
        assert fetches.put(copy, wait=60)
        moved = tmp_path / "pool" / f"{volume_id}.qcow2"
        assert read_backing(moved) == tmp_path / "templates" / f"{sha256}.img"
        moved.unlink()
        os.truncate(file, 1 << 40)  # takes for ever
        assert not fetches.put(copy, wait=0.1)
        fetches.stop(volume_id)
        assert list(moved.parent.iterdir()) == [], "who deletes a volume also ends its copy"
        file.unlink()
        run(("qemu-img", "create", "-q", "-f", "qcow2", str(file), "1M"))
        with pytest.raises(PeerRefused, match="is based on no template"):
            receive(copy.source, "base", tmp_path / "x", lambda have, size: None, threading.Event())


def test_a_volume_moves_between_the_pools_of_one_host(host: HostBench, tmp_path: Path) -> None:
    """To a shared one and on: over that pool's copy of the template, and from the pool that is named."""
    volume_id, content = str(uuid4()), os.urandom(1 << 20)
    sha256, pool = hashlib.sha256(content).hexdigest(), SharedPool(id=str(uuid4()), path=str(tmp_path / "s"))
    own, second = Path(host.config.pools["primary"]), tmp_path / "second"
    for folder in (tmp_path / "s", second, tmp_path / "images"):
        folder.mkdir()
    (host.paths.templates / f"{sha256}.img").write_bytes(content)
    file = own / f"{volume_id}.qcow2"
    base = ("-F", "raw", "-b", str(host.paths.templates / f"{sha256}.img"))
    run(("qemu-img", "create", "-q", "-f", "qcow2", *base, str(file)))
    shared = shared_pools_of(host.config, host.paths)
    shared.connect(msgspec.structs.replace(pool, is_new=True))
    templates = TemplateCache(host.paths.templates, tmp_path / "images", pull_timeout=1.0, backoff=0.01)
    store = VolumeStore({"primary": own, "second": second}, templates, shared)
    pull = TemplatePull(template="t", sha256=sha256, url="https://127.0.0.1:1/v1/templates/t")
    volume = Volume(id=volume_id, pool=pool.id, bytes=1 << 20, base=pull)
    source = peer(host, volume_id)
    with host.machine.entered():
        assert VolumeFetches(store).put(VolumeFetch(volume=volume, source=source, pool="primary"), wait=60)
        there = tmp_path / "s" / file.name
        assert read_backing(there) == tmp_path / "s/templates" / f"{sha256}.img"
        assert read_backing(there).read_bytes() == content
        run(("qemu-img", "resize", "-q", "-f", "qcow2", str(there), "2M"))
        to_second = msgspec.structs.replace(volume, pool="second")
        nowhere = VolumeFetch(volume=to_second, source=source, pool=str(uuid4()))
        with pytest.raises(PeerRefused, match="there is no volume"):
            VolumeFetches(store).put(nowhere, wait=60)
        assert VolumeFetches(store).put(VolumeFetch(volume=to_second, source=source, pool=pool.id), wait=60)
    assert read_header(second / file.name).virtual_size == 2 << 20, "the old one in primary is another"
    assert read_backing(second / file.name) == host.paths.templates / f"{sha256}.img"
    store.delete(volume_id, {}, pool.id)
    assert (there.exists(), file.exists(), (second / file.name).exists()) == (False, True, True)
    for name in ("primary", "second"):
        store.delete(volume_id, {}, name)
    assert store.list({}) == []
    shared.drop(pool.id)
