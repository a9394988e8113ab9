"""The agent of a hypervisor host: networks, VMs and volumes, over mutual TLS on the management network."""

from typing import Protocol, TypeVar

import httpx
from msgspec import Struct

from mgmt.agents.certificates import Certified, CertifiedCalls, Shown, shown_to
from mgmt.agents.errors import AgentNotFound
from mgmt.agents.tls import Credentials, client_context
from mgmt.agents.wire import Wire
from systemvm.spec.host import (
    HOST_AGENT_PORT,
    TUNNEL_PORT,
    CopyStatus,
    Departure,
    Domain,
    DomainSnapshot,
    DomainStatus,
    HostInfo,
    HostState,
    HostVolume,
    Landing,
    PoolSpace,
    SharedPool,
    Volume,
    VolumeCopy,
    VolumeFetch,
)

T = TypeVar("T")
#: Longest wait for a VM or volume within one request, in seconds; then its status says `preparing`.
WAIT_SECONDS = 20
_STATE_SECONDS = 120.0


class HostEndpoint(Struct, frozen=True, kw_only=True):
    """Where a host's agent is, and the name in its certificate (empty: verified by its address).

    `places` are the ids of its zone, pod and cluster.
    """

    id: str
    name: str
    address: str
    port: int = HOST_AGENT_PORT
    tunnel_port: int = TUNNEL_PORT
    server_name: str = ""
    places: tuple[str, ...] = ()


class _Fetched(Struct, frozen=True, kw_only=True):
    """What a host says of a volume that it fetches."""

    done: bool


class _Changes(Struct, frozen=True, kw_only=True):
    """Another mark than before: a VM of the host ended, or may have."""

    mark: str


class HostCertificates(Certified, Protocol):
    """The certificates of a host: agent and relay show the same one."""

    def relay_certificate(self) -> Shown:
        """What the relay shows now."""


class HostAgent(CertifiedCalls):
    """REST client of one host's agent. Every method raises `AgentError`."""

    def __init__(self, endpoint: HostEndpoint, credentials: Credentials) -> None:
        self._endpoint = endpoint
        self._credentials = credentials

    def info(self) -> HostInfo:
        """What the host is and has."""
        return self._ask("GET", "/v1/info", HostInfo)

    def put_state(self, state: HostState) -> None:
        """Make the host's networks what the document says."""
        with self._client() as client:
            self._wire(client).request("PUT", "/v1/state", body=state, seconds=_STATE_SECONDS)

    def state(self) -> HostState | None:
        """The last document of its networks; None before the first."""
        try:
            return self._ask("GET", "/v1/state", HostState)
        except AgentNotFound:
            return None

    def put_domain(self, domain: Domain, *, force: bool = False) -> DomainStatus:
        """Make a VM what the document says; long work answers `preparing` and goes on."""
        query = {"wait": str(WAIT_SECONDS), "force": "true" if force else "false"}
        with self._client() as client:
            return self._wire(client).ask(
                "PUT",
                f"/v1/domains/{domain.id}",
                DomainStatus,
                body=domain,
                seconds=WAIT_SECONDS + 60.0,
                query=query,
            )

    def domain_status(self, domain_id: str) -> DomainStatus | None:
        """What the host says of a VM; None when it has none of that id."""
        try:
            return self._ask("GET", f"/v1/domains/{domain_id}", DomainStatus)
        except AgentNotFound:
            return None

    def all_domains(self) -> list[DomainStatus]:
        """What the host says of all its VMs, by one call."""
        return self._ask("GET", "/v1/domains", list[DomainStatus])

    def wait_for_change(self, seen: str, seconds: float) -> str:
        """The host's mark once it is another than `seen`, else after `seconds`: a VM ended, or may have."""
        query = {"seen": seen, "wait": str(seconds)}
        with self._client() as client:
            return (
                self._wire(client).ask("GET", "/v1/changes", _Changes, query=query, seconds=seconds + 30).mark
            )

    def put_landing(self, domain: Domain) -> Landing | None:
        """Make ready what a VM needs that comes from another host; None while that takes long."""
        return self._long("PUT", f"/v1/landings/{domain.id}", Landing | None, domain)  # type: ignore[arg-type]

    def close_landing(self, domain_id: str) -> None:
        """Let nothing of a VM come from another host any more."""
        with self._client() as client:
            self._wire(client).request("DELETE", f"/v1/landings/{domain_id}")

    def depart(self, domain_id: str, departure: Departure) -> DomainStatus:
        """Move a running VM to another host."""
        return self._work("PUT", f"/v1/departures/{domain_id}", departure)

    def fetch_volume(self, copy: VolumeFetch) -> bool:
        """Fetch a volume from another host; whether it is here now."""
        return self._long("PUT", f"/v1/volumes/{copy.volume.id}/fetch", _Fetched, copy).done

    def move_disk(self, domain_id: str, copy: VolumeFetch) -> DomainStatus:
        """Move a volume of a running VM to another pool."""
        return self._work("PUT", f"/v1/domains/{domain_id}/volumes/{copy.volume.id}", copy)

    def fetch_base(self, copy: VolumeFetch) -> bool:
        """Have the template of a volume that will come from another host; whether it is here now."""
        return self._long("PUT", f"/v1/volumes/{copy.volume.id}/base", _Fetched, copy).done

    def delete_domain(self, domain_id: str, *, keep_volumes: bool = False) -> None:
        """Stop a VM and remove all that is its own; gone already is fine."""
        with self._client() as client:
            self._wire(client).request(
                "DELETE",
                f"/v1/domains/{domain_id}",
                seconds=WAIT_SECONDS + 60.0,
                query={
                    "wait": str(WAIT_SECONDS),
                    "keep_volumes": "true" if keep_volumes else "false",
                },
            )

    def put_snapshot(self, domain_id: str, snapshot: DomainSnapshot) -> DomainStatus:
        """Keep a VM as it is now."""
        return self._work("PUT", f"/v1/domains/{domain_id}/snapshots/{snapshot.id}", snapshot)

    def delete_snapshot(self, domain_id: str, snapshot_id: str) -> DomainStatus:
        """Remove a snapshot; gone already is fine."""
        return self._work("DELETE", f"/v1/domains/{domain_id}/snapshots/{snapshot_id}")

    def revert(self, domain_id: str, snapshot: DomainSnapshot) -> DomainStatus:
        """Put a VM back to a snapshot."""
        return self._work("POST", f"/v1/domains/{domain_id}/snapshots/{snapshot.id}/revert", snapshot)

    def put_pool(self, pool: SharedPool) -> PoolSpace:
        """Connect the host to a shared pool."""
        with self._client() as client:
            return self._wire(client).ask("PUT", f"/v1/pools/{pool.id}", PoolSpace, body=pool, seconds=60.0)

    def delete_pool(self, pool_id: str) -> None:
        """Give a shared pool up; gone already is fine."""
        with self._client() as client:
            self._wire(client).request("DELETE", f"/v1/pools/{pool_id}", seconds=60.0)

    def put_volume(self, volume: Volume, *, replace: bool = False) -> HostVolume:
        """Make or grow a volume of its own, attached to nothing; long work answers `preparing`."""
        query = {"wait": str(WAIT_SECONDS), "replace": "true" if replace else "false"}
        with self._client() as client:
            return self._wire(client).ask(
                "PUT",
                f"/v1/volumes/{volume.id}",
                HostVolume,
                body=volume,
                seconds=_STATE_SECONDS,
                query=query,
            )

    def put_copy(self, copy: VolumeCopy) -> CopyStatus:
        """Copy a volume to the storage VM, or look how far that is."""
        query = {"wait": "0"}
        with self._client() as client:
            return self._wire(client).ask("PUT", f"/v1/copies/{copy.id}", CopyStatus, body=copy, query=query)

    def copy_status(self, copy_id: str) -> CopyStatus | None:
        """How far a copy is; None when the host knows of none."""
        try:
            return self._ask("GET", f"/v1/copies/{copy_id}", CopyStatus)
        except AgentNotFound:
            return None

    def delete_copy(self, copy_id: str) -> None:
        """Cancel and forget a copy; gone already is fine."""
        with self._client() as client:
            self._wire(client).request(
                "DELETE",
                f"/v1/copies/{copy_id}",
                seconds=WAIT_SECONDS + 60.0,
                query={"wait": str(WAIT_SECONDS)},
            )

    def delete_volume(self, volume_id: str, pool: str = "") -> None:
        """Remove a volume, of that pool alone if one is named; gone already is fine."""
        query = {"pool": pool} if pool else None
        with self._client() as client:
            self._wire(client).request("DELETE", f"/v1/volumes/{volume_id}", seconds=60.0, query=query)

    def all_volumes(self) -> list[HostVolume]:
        """All volumes, by one call."""
        return self._ask("GET", "/v1/volumes", list[HostVolume])

    def relay_certificate(self) -> Shown:
        """See HostCertificates."""
        endpoint = self._endpoint
        with self._client(endpoint.tunnel_port) as client:
            return shown_to(Wire(f"relay of host {endpoint.name}", client))

    def _work(self, method: str, path: str, body: Struct | None = None) -> DomainStatus:
        """Long work on a VM: it answers `preparing` and goes on."""
        return self._long(method, path, DomainStatus, body)

    def _long(self, method: str, path: str, kind: type[T], body: Struct | None) -> T:
        """Work that the agent waits for, for a while."""
        with self._client() as client:
            return self._wire(client).ask(
                method,
                path,
                kind,
                body=body,
                seconds=WAIT_SECONDS + 60.0,
                query={"wait": str(WAIT_SECONDS)},
            )

    def _ask(self, method: str, path: str, kind: type[T]) -> T:
        with self._client() as client:
            return self._wire(client).ask(method, path, kind)

    def _client(self, port: int = 0) -> httpx.Client:
        return httpx.Client(
            base_url=f"https://{self._endpoint.address}:{port or self._endpoint.port}",
            verify=client_context(self._credentials, self._endpoint.server_name or None),
            trust_env=False,
        )

    def _wire(self, client: httpx.Client) -> Wire:
        return Wire(f"host {self._endpoint.name}", client)
