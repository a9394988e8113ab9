"""Three machines for consoles: a browser's, the console proxy's and a host's, and RFB in a few lines."""

import contextlib
import ssl
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import msgspec
import websocket

from systemvm.spec.appliances import Console, HostEndpoint
from systemvm.spec.network import Interfaces, Nic
from systemvm.spec.state import State
from systemvm.spec.ticket import TicketPurpose
from systemvm.spec.types import Purpose, Role
from tests.netns.putting import Installed
from tests.netns.topology import Machine, Topology
from tests.pki import Authority
from tests.tickets import Signer

ADDRESS, PORT, HOST_ADDRESS, RELAY_PORT = "198.51.100.1", 443, "10.9.0.2", 8447
HOST_NAME = "host-1.pileus.internal"
VM, STOPPED_VM, HOST = str(uuid4()), str(uuid4()), str(uuid4())


@dataclass
class Bench:
    browser: Machine
    console: Installed
    signer: Signer
    state: State
    servers: Authority

    def token(self, vm: str = VM, *, host: str = HOST, life: float = 60) -> str:
        return self.signer.token(TicketPurpose.console, vm, host=host, life=life)

    @contextlib.contextmanager
    def connected(self, token: str) -> Iterator[websocket.WebSocket]:
        """A websocket of the browser's that has sent its ticket."""
        with self.browser.entered():
            opened = websocket.create_connection(
                f"wss://{ADDRESS}:{PORT}/websockify",
                timeout=10,
                sslopt={"cert_reqs": ssl.CERT_NONE, "check_hostname": False},
            )
        try:
            opened.send_binary(token.encode())
            yield opened
        finally:
            opened.shutdown()  # type: ignore[no-untyped-call]

    def refusal(self, token: str) -> tuple[int, str]:
        """Close code and reason."""
        with self.connected(token) as opened:
            frame = opened.recv_frame()  # type: ignore[no-untyped-call]
        assert frame.opcode == websocket.ABNF.OPCODE_CLOSE
        return struct.unpack(">H", frame.data[:2])[0], frame.data[2:].decode()


def wire(topology: Topology) -> tuple[Machine, Machine, Machine]:
    """Browser, console and host, with their addresses."""
    browser, console, host = (topology.machine(name) for name in ("browser", "console", "host"))
    topology.wire(browser, "eth0", console, "eth2")
    topology.wire(console, "eth1", host, "eth0")
    browser.run("ip", "addr", "add", "198.51.100.9/24", "dev", "eth0")
    console.run("ip", "addr", "add", f"{ADDRESS}/24", "dev", "eth2")
    console.run("ip", "addr", "add", "10.9.0.1/24", "dev", "eth1")
    host.run("ip", "addr", "add", f"{HOST_ADDRESS}/24", "dev", "eth0")
    give_novnc(console)
    return browser, console, host


def give_novnc(machine: Machine) -> None:
    """Something at the place of noVNC: these tests need no browser, the browser ring has one."""
    machine.run("mount", "-t", "tmpfs", "opt", "/opt")
    machine.run("mkdir", "-p", "/opt/pileus/novnc/core")
    machine.run("tee", "/opt/pileus/novnc/core/rfb.js", stdin="export default class {}\n")
    machine.run("tee", "/opt/pileus/secret", stdin="not for everybody\n")


def state_of(servers: Authority, clients: Authority, signer: Signer) -> State:
    public = Nic(mac="02:00:00:00:00:02", name="eth2", purpose=Purpose.public, addresses=(f"{ADDRESS}/24",))
    server, client = servers.issue("console.pileus.internal"), clients.issue("console.pileus.internal")
    console = Console(
        address=ADDRESS,
        certificate=server.certificate,
        key=server.key,
        ticket_key=signer.public,
        client_certificate=client.certificate,
        client_key=client.key,
        server_ca=servers.pem,
        hosts=(HostEndpoint(host=HOST, name=HOST_NAME, address=HOST_ADDRESS, port=RELAY_PORT),),
    )
    return State(
        generation=1,
        machine=str(uuid4()),
        role=Role.console,
        hostname="v-1-vm",
        interfaces=Interfaces(nics=(public,)),
        console=console,
    )


def off(state: State) -> State:
    return msgspec.structs.replace(state, generation=state.generation + 1, console=None)


def with_console(state: State, **changes: object) -> State:
    assert state.console is not None
    console = msgspec.structs.replace(state.console, **changes)
    return msgspec.structs.replace(state, generation=state.generation + 1, console=console)


def read_exactly(opened: websocket.WebSocket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = opened.recv()
        assert isinstance(chunk, bytes)
        data += chunk
    return data


def shake_hands(opened: websocket.WebSocket) -> tuple[int, int]:
    """RFB 3.8 without authentication (RFC 6143, 7.1 and 7.3); the size of the screen."""
    assert read_exactly(opened, 12) == b"RFB 003.008\n"
    opened.send_binary(b"RFB 003.008\n")
    assert read_exactly(opened, 2) == b"\x01\x01"
    opened.send_binary(b"\x01")
    assert read_exactly(opened, 4) == b"\0\0\0\0"
    opened.send_binary(b"\x01")
    width, height = struct.unpack(">HH", read_exactly(opened, 4 + 16 + 4)[:4])
    return width, height
