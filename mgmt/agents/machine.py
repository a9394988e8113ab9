"""The agent in a system VM, reached through its host's CONNECT tunnel: TLS end to end inside TLS."""

from typing import Protocol, TypeVar

import httpx
from msgspec import Struct

from mgmt.agents.certificates import Certified, CertifiedCalls
from mgmt.agents.host import HostEndpoint
from mgmt.agents.tls import Credentials, client_context
from mgmt.agents.wire import Wire
from systemvm.spec.bootstrap import AGENT_PORT
from systemvm.spec.state import State
from systemvm.spec.types import ProbeResult

T = TypeVar("T")
#: Applying a document takes seconds; under emulation on a busy host it may take minutes.
APPLY_SECONDS = 300.0


class MachineEndpoint(Struct, frozen=True, kw_only=True):
    """Where a system VM's agent is: its host's tunnel, its link-local address, and its certificate's name."""

    machine: str
    name: str
    server_name: str
    address: str
    host: HostEndpoint


class Applied(Struct, frozen=True, kw_only=True):
    """What an agent did with a document; `result` is applied or unchanged."""

    generation: int
    result: str


class MachineHealth(Struct, frozen=True, kw_only=True):
    """Whether the machine works; `applied` is the generation that holds, None before the first document."""

    healthy: bool
    activity: str
    applied: int | None
    message: str
    probes: tuple[ProbeResult, ...] = ()


class AddressTraffic(Struct, frozen=True, kw_only=True):
    """Bytes at a public address since the machine started, as seen from outside."""

    address: str
    received_bytes: int
    sent_bytes: int


class Traffic(Struct, frozen=True, kw_only=True):
    """What a router tells of its public addresses (`usage`); other fields are not of interest here."""

    addresses: tuple[AddressTraffic, ...] = ()


class MachineAgent(Certified, Protocol):
    """What a system VM's agent can be asked. Every method raises `AgentError`."""

    def put_state(self, state: State) -> Applied:
        """Make the machine what the document says."""

    def health(self) -> MachineHealth:
        """Whether it works; an ill machine is an answer, not an error."""

    def read(self, path: str, kind: type[T]) -> T:
        """What a service of the role tells, e.g. `storage/templates`."""


class TunnelledAgent(CertifiedCalls):
    """`MachineAgent` over the network. One TLS connection per call: calls are rare, machines come and go."""

    def __init__(self, endpoint: MachineEndpoint, credentials: Credentials) -> None:
        self._endpoint = endpoint
        self._credentials = credentials

    def put_state(self, state: State) -> Applied:
        """See MachineAgent."""
        with self._client() as client:
            return self._wire(client).ask("PUT", "/v1/state", Applied, body=state, seconds=APPLY_SECONDS)

    def health(self) -> MachineHealth:
        """See MachineAgent."""
        with self._client() as client:
            # 503 carries the same body: the status code is the answer for those who only look at it.
            return self._wire(client).ask("GET", "/v1/health", MachineHealth, seconds=60.0, also=(503,))

    def read(self, path: str, kind: type[T]) -> T:
        """See MachineAgent."""
        with self._client() as client:
            return self._wire(client).ask("GET", f"/v1/{path}", kind)

    def _client(self) -> httpx.Client:
        host = self._endpoint.host
        proxy = httpx.Proxy(
            f"https://{host.address}:{host.tunnel_port}",
            ssl_context=client_context(self._credentials, host.server_name),
        )
        return httpx.Client(
            base_url=f"https://{self._endpoint.address}:{AGENT_PORT}",
            proxy=proxy,
            verify=client_context(self._credentials, self._endpoint.server_name),
            trust_env=False,
        )

    def _wire(self, client: httpx.Client) -> Wire:
        return Wire(self._where(), client)

    def _where(self) -> str:
        return f"agent of {self._endpoint.name}"
