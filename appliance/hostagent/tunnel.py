"""The CONNECT tunnel: mgmt reaches the agents of system VMs through it, and nothing else (RFC 9110)."""

import asyncio
import ipaddress
import logging
import re
import socket
from http import HTTPStatus

from appliance.hostagent.streams import close, relay
from appliance.hostagent.tls import dns_names
from systemvm.spec.bootstrap import AGENT_PORT, MGMT_NAME
from systemvm.spec.host import LINKLOCAL_GATEWAY, LINKLOCAL_NETWORK

_log = logging.getLogger("pileus.relay")
#: Seconds for the client's request, and for the system VM's agent to accept.
REQUEST_DEADLINE, CONNECT_DEADLINE = 10.0, 10.0
_REQUEST = re.compile(rb"CONNECT ([0-9.]{7,15}):([0-9]{1,5}) HTTP/1\.[01]\r\n")
_NETWORK = ipaddress.IPv4Network(LINKLOCAL_NETWORK)


class Refusal(Exception):
    """The tunnel does not lead there; carries the HTTP status."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class Tunnel:
    """Serves one CONNECT per connection; leads out of the link-local bridge only."""

    def __init__(self, bridge: str, port: int = AGENT_PORT) -> None:
        self._bridge = bridge
        self._port = port

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, until either side ends."""
        try:
            _require_mgmt(dns_names(writer.get_extra_info("peercert")))
            address = allowed_address(await _read_request(reader), self._port)
            agent = await self._connect(address)
        except Refusal as refusal:
            _log.warning("refused %s: %s", writer.get_extra_info("peername"), refusal)
            await _answer(writer, refusal.status, str(refusal))
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await relay((reader, writer), agent)

    async def _connect(self, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            # Whatever the routing table says, these packets leave by the link-local bridge.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._bridge.encode())
            connection.bind((LINKLOCAL_GATEWAY, 0))
            loop = asyncio.get_running_loop()
            await asyncio.wait_for(loop.sock_connect(connection, (address, self._port)), CONNECT_DEADLINE)
            return await asyncio.open_connection(sock=connection)
        except TimeoutError:
            connection.close()
            raise Refusal(504, f"{address}:{self._port} does not answer") from None
        except OSError as error:
            connection.close()
            raise Refusal(502, f"{address}:{self._port}: {error.strerror or error}") from None


def allowed_address(request: bytes, port: int) -> str:
    """The address that a CONNECT request may have. Raises Refusal: 400, 403 or 405."""
    match = _REQUEST.match(request)
    if match is None:
        if not request.startswith(b"CONNECT "):
            raise Refusal(405, "only CONNECT is served here")
        raise Refusal(400, "expected CONNECT <IPv4 address>:<port> HTTP/1.1")
    try:
        address = ipaddress.IPv4Address(match[1].decode())
    except ValueError as error:
        raise Refusal(400, str(error)) from None
    if address not in _NETWORK or str(address) == LINKLOCAL_GATEWAY:
        raise Refusal(403, f"{address} is no system VM: they live in {_NETWORK}")
    if address in (_NETWORK.network_address, _NETWORK.broadcast_address):
        raise Refusal(403, f"{address} is no single machine")
    if int(match[2]) != port:
        raise Refusal(403, f"port {int(match[2])} is not the agent's, {port}")
    return str(address)


def _require_mgmt(names: set[str]) -> None:
    if MGMT_NAME not in names:
        shown = ", ".join(sorted(names)) or "no name"
        raise Refusal(403, f"the client certificate has {shown}; only {MGMT_NAME} may pass")


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    try:
        return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), REQUEST_DEADLINE)
    except TimeoutError:
        raise Refusal(408, "no whole request in time") from None
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        raise Refusal(400, "no whole request") from None


async def _answer(writer: asyncio.StreamWriter, status: int, words: str) -> None:
    body = f"{words}\n".encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await close(writer)
