"""What bounds a console proxy: sessions, idle ones, silent peers, and messages without end."""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import websocket

from systemvm.engine.nonces import Nonces
from systemvm.services.console import handler
from systemvm.services.console.proxy import ProxyServer
from systemvm.services.console.sessions import Sessions
from systemvm.services.console.settings import Settings, files_of
from systemvm.spec.appliances import Console, HostEndpoint
from systemvm.spec.ticket import TicketPurpose
from tests.pki import Authority
from tests.tickets import Signer
from tests.vnc import Relay, relay_context

pytestmark = pytest.mark.netns
VM, HOST, HOST_NAME = str(uuid4()), str(uuid4()), "host-1.pileus.internal"


@dataclass
class Bench:
    proxy: ProxyServer
    signer: Signer

    @property
    def place(self) -> tuple[str, int]:
        address, port = self.proxy.server_address[:2]
        return str(address), int(port)

    @contextlib.contextmanager
    def connected(self, first: bytes | None = None) -> Iterator[websocket.WebSocket]:
        """A websocket that has sent its first message: a good ticket, unless told otherwise."""
        address, port = self.place
        opened = websocket.create_connection(
            f"wss://{address}:{port}/websockify",
            timeout=10,
            sslopt={"cert_reqs": ssl.CERT_NONE, "check_hostname": False},
        )
        ticket = self.signer.token(TicketPurpose.console, VM, host=HOST).encode()
        try:
            if first != b"":
                opened.send_binary(first or ticket)
            yield opened
        finally:
            opened.shutdown()  # type: ignore[no-untyped-call]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    servers, clients, signer = Authority("servers"), Authority("clients"), Signer()
    screen = tmp_path / "vnc.sock"
    with echo(screen):
        listener = socket.create_server(("127.0.0.1", 0))
        context = relay_context(*servers.issue(HOST_NAME).write(tmp_path, "relay"), clients.pem)
        relay = Relay(listener, context, signer.public, {VM: screen})
        server, client = servers.issue("console"), clients.issue("console")
        endpoint = HostEndpoint(
            host=HOST, name=HOST_NAME, address="127.0.0.1", port=listener.getsockname()[1]
        )
        console = Console(
            address="127.0.0.1",
            certificate=server.certificate,
            key=server.key,
            ticket_key=signer.public,
            client_certificate=client.certificate,
            client_key=client.key,
            server_ca=servers.pem,
            hosts=(endpoint,),
        )
        for name, text in files_of(console).items():
            (tmp_path / name).write_text(text)
        nonces, sessions = Nonces(tmp_path / "nonces.db"), Sessions(tmp_path / "sessions.json", limit=2)
        with ProxyServer(("127.0.0.1", 0), Settings(tmp_path), tmp_path, nonces, sessions) as proxy:
            thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
            thread.start()
            yield Bench(proxy, signer)
            proxy.shutdown()
            thread.join()
        nonces.close()
        relay.close()


@contextlib.contextmanager
def echo(path: Path) -> Iterator[None]:
    """A VM's screen that says what it is told."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve(peer: socket.socket) -> None:
        with peer:
            while chunk := peer.recv(65536):
                peer.sendall(chunk)

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(peer,), daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    yield
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def closing(opened: websocket.WebSocket) -> tuple[int, str]:
    frame = opened.recv_frame()  # type: ignore[no-untyped-call]
    while frame.opcode != websocket.ABNF.OPCODE_CLOSE:
        frame = opened.recv_frame()  # type: ignore[no-untyped-call]
    return struct.unpack(">H", frame.data[:2])[0], frame.data[2:].decode()


def test_large_messages_pass_both_ways_whole(bench: Bench) -> None:
    data = bytes(range(256)) * 2000
    with bench.connected() as opened:
        opened.send_binary(data)
        received = b""
        while len(received) < len(data):
            chunk = opened.recv()
            assert isinstance(chunk, bytes)
            received += chunk
        assert received == data


def test_there_are_only_so_many_sessions(bench: Bench) -> None:
    with bench.connected() as first, bench.connected() as second:
        for opened in (first, second):
            opened.send_binary(b"x")
            assert opened.recv() == b"x"
        with bench.connected() as third:
            assert closing(third) == (4429, "all 2 sessions are taken: close one and try again")
    deadline = time.monotonic() + 5
    while bench.proxy.sessions.listed() and time.monotonic() < deadline:
        time.sleep(0.05)
    with bench.connected() as again:
        again.send_binary(b"y")
        assert again.recv() == b"y"


def test_an_idle_session_ends_and_is_told_why(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "IDLE_TIMEOUT", 0.6)
    monkeypatch.setattr(handler, "PING_EVERY", 0.1)
    with bench.connected() as opened:
        opened.send_binary(b"x")
        code, reason = closing(opened)
    assert (code, "nothing happened" in reason) == (4408, True)


def test_a_client_without_a_ticket_is_not_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "TICKET_TIMEOUT", 0.3)
    with bench.connected(b"") as opened:
        assert closing(opened) == (4403, "no ticket came within 0 s")


def test_a_message_without_end_is_cut_off(bench: Bench) -> None:
    def pour(raw: socket.socket) -> None:
        # A frame that announces a gigabyte (RFC 6455, 5.2), and some of it.
        raw.sendall(b"\x82\xff" + struct.pack(">Q", 1 << 30) + bytes(4))
        for _ in range(64):
            raw.sendall(bytes(1 << 16))
            time.sleep(0.01)

    with bench.connected(b"") as opened:
        assert opened.sock is not None
        with pytest.raises(OSError, match=r"reset|closed|Broken|EOF"):
            pour(opened.sock)
    assert bench.proxy.sessions.listed() == []


def test_a_silent_peer_keeps_nobody_waiting(bench: Bench) -> None:
    with contextlib.ExitStack() as silent:
        for _ in range(20):
            silent.enter_context(socket.create_connection(bench.place))
        started = time.monotonic()
        with bench.connected() as opened:
            opened.send_binary(b"x")
            assert opened.recv() == b"x"
        assert time.monotonic() - started < 3
