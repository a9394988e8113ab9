"""A host on loopback: the REST and the CONNECT tunnel of a host agent over mutual TLS, a simulator behind.

What mgmt's real clients need of a host is all here as bytes on sockets; only the VMs are simulated. It lives
in the test's process, so it survives a management server that is killed.
"""

import re
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from mgmt.agents.errors import AgentConflict, AgentError, AgentNotFound, AgentRefused, AgentUnreachable
from mgmt.agents.host import HostEndpoint
from mgmt.agents.machine import MachineAgent, MachineEndpoint
from mgmt.drivers.simulated_identity import SimulatedIdentity
from mgmt.drivers.simulator import Simulator
from mgmt.pki.authority import Authority, host_name
from systemvm.spec import codec
from systemvm.spec.certificate import CertificateTaken, SignedCertificate
from systemvm.spec.host import (
    Departure,
    Domain,
    DomainSnapshot,
    HostState,
    SharedPool,
    Volume,
    VolumeCopy,
    VolumeFetch,
)
from systemvm.spec.state import State

STATUS: dict[type[AgentError], int] = {AgentNotFound: 404, AgentConflict: 409, AgentRefused: 422}
LINK = "127.0.0.1"


class SimulatedHostServer:
    """Serves one simulated host; `endpoint` is where mgmt finds it."""

    def __init__(
        self, authority: Authority, host_id: str, simulator: Simulator, folder: Path, link: str = LINK
    ) -> None:
        self.simulator = simulator
        self._folder = folder
        self._link = link
        self._host = HostEndpoint(id=host_id, name="host1", address=link)
        own = authority.host_agent(host_id, link)
        simulator.host(self._host).identity = SimulatedIdentity("host host1", own.certificate, own.key)
        self._context = _server_context(authority, folder / f"pki/hosts/{host_id}.pem")
        self._authority = authority
        self._rest = self._serve(_rest_handler(self._answer), self._context)
        self._tunnel = self._serve(_tunnel_handler(self._open), self._context)
        self.endpoint = HostEndpoint(
            id=host_id,
            name="host1",
            address=link,
            port=self._rest.server_address[1],
            tunnel_port=self._tunnel.server_address[1],
            server_name=host_name(host_id),
        )

    def close(self) -> None:
        """Stop listening."""
        for server in (self._rest, self._tunnel):
            server.shutdown()
            server.server_close()

    def _serve(self, handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext) -> ThreadingHTTPServer:
        server = _TlsServer((self._link, 0), handler)
        server.context = context
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    def _answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> Any:
        simulator, host = self.simulator, self._host
        if (method, path) == ("GET", "/v1/info"):
            return msgspec.structs.replace(simulator.info(host), tunnel_port=self._tunnel.server_address[1])
        if (method, path) == ("PUT", "/v1/state"):
            simulator.put_state(host, codec.decode(body, HostState))
            return {"changed": True}
        if (method, path) == ("GET", "/v1/state"):
            if (state := simulator.state(host)) is None:
                raise AgentNotFound("host", "no state was applied yet")
            return state
        if (method, path) == ("GET", "/v1/domains"):
            return simulator.all_domains(host)
        if (method, path) == ("GET", "/v1/changes"):
            return {"mark": simulator.wait_for_change(host, query.get("seen", ""), float(query["wait"]))}
        if (method, path) == ("GET", "/v1/volumes"):
            return simulator.all_volumes(host)
        if (method, path) == ("POST", "/v1/certificate/request"):
            return simulator.certificates(host).request_certificate()
        if (method, path) == ("PUT", "/v1/certificate"):
            return self._take(codec.decode(body, SignedCertificate))
        kind, _, subject = path.removeprefix("/v1/").partition("/")
        return self._object(kind, method, subject, query, body)

    def _take(self, signed: SignedCertificate) -> CertificateTaken:
        taken = self.simulator.certificates(self._host).put_certificate(signed)
        identity = self.simulator.host(self._host).identity
        assert identity is not None
        pem = self._folder / "host.pem"
        pem.write_text(identity.certificate + identity.key)
        self._context.load_cert_chain(pem)
        return taken

    def _moving(self, kind: str, method: str, subject: str, body: bytes) -> Any:
        simulator, host = self.simulator, self._host
        if kind == "departures":
            return simulator.depart(host, subject, codec.decode(body, Departure))
        if method == "DELETE":
            return simulator.close_landing(host, subject)
        return simulator.put_landing(host, codec.decode(body, Domain))

    def _snapshot(self, method: str, domain: str, snapshot: str, body: bytes) -> Any:
        simulator, host = self.simulator, self._host
        if method == "DELETE":
            return simulator.delete_snapshot(host, domain, snapshot)
        document = codec.decode(body, DomainSnapshot)
        verb = simulator.put_snapshot if method == "PUT" else simulator.revert
        return verb(host, domain, document)

    def _object(self, kind: str, method: str, subject: str, query: dict[str, str], body: bytes) -> Any:
        simulator, host = self.simulator, self._host
        domain, _, snapshot = subject.partition("/snapshots/")
        if kind == "domains" and "/volumes/" in subject:
            return simulator.move_disk(host, subject.partition("/")[0], codec.decode(body, VolumeFetch))
        if kind == "domains" and snapshot:
            return self._snapshot(method, domain, snapshot.removesuffix("/revert"), body)
        if kind == "domains" and method == "PUT":
            return simulator.put_domain(host, codec.decode(body, Domain), force=query.get("force") == "true")
        if kind == "domains" and method == "GET":
            status = simulator.domain_status(host, subject)
            if status is None:
                raise AgentNotFound("host", f"no VM {subject} on this host")
            return status
        if kind == "domains" and method == "DELETE":
            keep = query.get("keep_volumes") == "true"
            return simulator.delete_domain(host, subject, keep_volumes=keep)
        if kind in ("landings", "departures"):
            return self._moving(kind, method, subject, body)
        if kind in ("pools", "volumes"):
            return self._stored(kind, method, subject, query, body)
        if kind == "copies":
            return self._copy(method, subject, body)
        raise AgentNotFound("host", f"no {method} of {kind}")

    def _stored(self, kind: str, method: str, subject: str, query: dict[str, str], body: bytes) -> Any:
        simulator, host = self.simulator, self._host
        if kind == "pools" and method == "PUT":
            return simulator.put_pool(host, codec.decode(body, SharedPool))
        if kind == "pools":
            return simulator.delete_pool(host, subject)
        if subject.endswith("/fetch"):
            return {"done": simulator.fetch_volume(host, codec.decode(body, VolumeFetch))}
        if subject.endswith("/base"):
            return {"done": simulator.fetch_base(host, codec.decode(body, VolumeFetch))}
        if method == "PUT":
            volume = codec.decode(body, Volume)
            return simulator.put_volume(host, volume, replace=query.get("replace") == "true")
        return simulator.delete_volume(host, subject, query.get("pool", ""))

    def _copy(self, method: str, subject: str, body: bytes) -> Any:
        if method == "PUT":
            return self.simulator.put_copy(self._host, codec.decode(body, VolumeCopy))
        if method == "DELETE":
            return self.simulator.delete_copy(self._host, subject)
        if (copy := self.simulator.copy_status(self._host, subject)) is None:
            raise AgentNotFound("host", f"no copy {subject} on this host")
        return copy

    def _open(self, address: str) -> Callable[[socket.socket], None]:
        """What speaks at a link-local address behind the tunnel. Raises KeyError if nothing does."""
        machine = next(
            (found for found in self.simulator.machines.values() if found.linklocal_address == address), None
        )
        if machine is None:
            raise KeyError(address)
        pem = self._folder / f"{machine.bootstrap.machine}.pem"
        pem.write_text(machine.identity.certificate + machine.identity.key)
        context = _server_context(self._authority, pem)
        own = machine.bootstrap
        endpoint = MachineEndpoint(
            machine=own.machine, name=own.name, server_name="", address=address, host=self._host
        )
        agent = self.simulator.machine(endpoint)
        return lambda plain: _serve_machine(agent, context, plain)


def _server_context(authority: Authority, pem: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(pem)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.client_ca)
    return context


class _TlsServer(ThreadingHTTPServer):
    context: ssl.SSLContext
    daemon_threads = True
    block_on_close = False

    def finish_request(self, request: Any, client_address: Any) -> None:
        """TLS in the connection's own thread, so that a slow handshake holds up nobody."""
        with suppress(OSError, ssl.SSLError), self.context.wrap_socket(request, server_side=True) as secure:
            super().finish_request(secure, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""

    def reply(self, status: int, value: Any = None) -> None:
        body = b"" if value is None else msgspec.json.encode(value)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def fail(self, error: AgentError) -> None:
        if isinstance(error, AgentUnreachable):
            self.close_connection = True  # who is not there says nothing
            return
        status = STATUS.get(type(error), 500)
        self.reply(status, {"code": "x", "message": error.message, "problems": list(error.problems)})


def _rest_handler(answer: Callable[[str, str, dict[str, str], bytes], Any]) -> type[BaseHTTPRequestHandler]:
    class Rest(_Quiet):
        def handle_any(self) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            try:
                self.reply(200, answer(self.command, url.path, query, self.body()))
            except AgentError as error:
                self.fail(error)

        do_GET = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

    return Rest


def _tunnel_handler(
    open_target: Callable[[str], Callable[[socket.socket], None]],
) -> type[BaseHTTPRequestHandler]:
    class Tunnel(_Quiet):
        def do_CONNECT(self) -> None:
            address, _, port = self.path.partition(":")
            if port != "8443" or not re.match(r"169\.254\.", address):
                self.reply(403, {"message": f"not to {self.path}"})
                return
            try:
                serve = open_target(address)
            except KeyError:
                self.reply(502, {"message": f"nothing at {self.path}"})
                return
            self.send_response(200)
            self.end_headers()
            near, far = socket.socketpair()
            threading.Thread(target=serve, args=(far,), daemon=True).start()
            _pump(self.connection, near)
            self.close_connection = True

    return Tunnel


def _pump(outer: socket.socket, inner: socket.socket) -> None:
    """Bytes both ways until one side ends."""

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    back = threading.Thread(target=copy, args=(inner, outer), daemon=True)
    back.start()
    copy(outer, inner)
    back.join()
    inner.close()


def _serve_machine(machine: MachineAgent, context: ssl.SSLContext, plain: socket.socket) -> None:
    class Agent(_Quiet):
        def do_GET(self) -> None:
            try:
                if self.path == "/v1/health":
                    health = machine.health()
                    self.reply(200 if health.healthy else 503, health)
                    return
                self.reply(200, machine.read(self.path.removeprefix("/v1/"), Any))
            except AgentError as error:
                self.fail(error)

        def do_POST(self) -> None:
            self.reply(200, machine.request_certificate())

        def do_PUT(self) -> None:
            raw = self.body()
            if self.path == "/v1/certificate":
                try:
                    self.reply(200, machine.put_certificate(codec.decode(raw, SignedCertificate)))
                except AgentError as error:
                    self.fail(error)
                return
            if problems := codec.problems(raw, State):
                self.reply(422, {"message": f"{len(problems)} problems", "problems": problems})
                return
            try:
                self.reply(200, machine.put_state(codec.decode(raw, State)))
            except AgentError as error:
                self.fail(error)

    with suppress(OSError, ssl.SSLError), plain, context.wrap_socket(plain, server_side=True) as secure:
        Agent(secure, ("tunnel", 0), None)  # type: ignore[arg-type]
