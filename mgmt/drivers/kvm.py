"""KVM and QEMU hosts, through the host agent on each of them."""

from mgmt.agents.host import HostAgent, HostCertificates, HostEndpoint
from mgmt.agents.machine import MachineAgent, MachineEndpoint, TunnelledAgent
from mgmt.agents.tls import Credentials
from systemvm.spec.host import (
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


class KvmDriver:
    """`Driver` over the network."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def info(self, host: HostEndpoint) -> HostInfo:
        """See Driver."""
        return self._agent(host).info()

    def put_state(self, host: HostEndpoint, state: HostState) -> None:
        """See Driver."""
        self._agent(host).put_state(state)

    def state(self, host: HostEndpoint) -> HostState | None:
        """See Driver."""
        return self._agent(host).state()

    def put_domain(self, host: HostEndpoint, domain: Domain, *, force: bool = False) -> DomainStatus:
        """See Driver."""
        return self._agent(host).put_domain(domain, force=force)

    def domain_status(self, host: HostEndpoint, domain_id: str) -> DomainStatus | None:
        """See Driver."""
        return self._agent(host).domain_status(domain_id)

    def all_domains(self, host: HostEndpoint) -> list[DomainStatus]:
        """See Driver."""
        return self._agent(host).all_domains()

    def wait_for_change(self, host: HostEndpoint, seen: str, seconds: float) -> str:
        """See Driver."""
        return self._agent(host).wait_for_change(seen, seconds)

    def delete_domain(self, host: HostEndpoint, domain_id: str, *, keep_volumes: bool = False) -> None:
        """See Driver."""
        self._agent(host).delete_domain(domain_id, keep_volumes=keep_volumes)

    def put_landing(self, host: HostEndpoint, domain: Domain) -> Landing | None:
        """See Driver."""
        return self._agent(host).put_landing(domain)

    def close_landing(self, host: HostEndpoint, domain_id: str) -> None:
        """See Driver."""
        self._agent(host).close_landing(domain_id)

    def depart(self, host: HostEndpoint, domain_id: str, departure: Departure) -> DomainStatus:
        """See Driver."""
        return self._agent(host).depart(domain_id, departure)

    def fetch_volume(self, host: HostEndpoint, copy: VolumeFetch) -> bool:
        """See Driver."""
        return self._agent(host).fetch_volume(copy)

    def move_disk(self, host: HostEndpoint, domain_id: str, copy: VolumeFetch) -> DomainStatus:
        """See Driver."""
        return self._agent(host).move_disk(domain_id, copy)

    def fetch_base(self, host: HostEndpoint, copy: VolumeFetch) -> bool:
        """See Driver."""
        return self._agent(host).fetch_base(copy)

    def put_snapshot(self, host: HostEndpoint, domain_id: str, snapshot: DomainSnapshot) -> DomainStatus:
        """See Driver."""
        return self._agent(host).put_snapshot(domain_id, snapshot)

    def delete_snapshot(self, host: HostEndpoint, domain_id: str, snapshot_id: str) -> DomainStatus:
        """See Driver."""
        return self._agent(host).delete_snapshot(domain_id, snapshot_id)

    def revert(self, host: HostEndpoint, domain_id: str, snapshot: DomainSnapshot) -> DomainStatus:
        """See Driver."""
        return self._agent(host).revert(domain_id, snapshot)

    def put_pool(self, host: HostEndpoint, pool: SharedPool) -> PoolSpace:
        """See Driver."""
        return self._agent(host).put_pool(pool)

    def delete_pool(self, host: HostEndpoint, pool_id: str) -> None:
        """See Driver."""
        self._agent(host).delete_pool(pool_id)

    def put_volume(self, host: HostEndpoint, volume: Volume, *, replace: bool = False) -> HostVolume:
        """See Driver."""
        return self._agent(host).put_volume(volume, replace=replace)

    def delete_volume(self, host: HostEndpoint, volume_id: str, pool: str = "") -> None:
        """See Driver."""
        self._agent(host).delete_volume(volume_id, pool)

    def all_volumes(self, host: HostEndpoint) -> list[HostVolume]:
        """See Driver."""
        return self._agent(host).all_volumes()

    def put_copy(self, host: HostEndpoint, copy: VolumeCopy) -> CopyStatus:
        """See Driver."""
        return self._agent(host).put_copy(copy)

    def copy_status(self, host: HostEndpoint, copy_id: str) -> CopyStatus | None:
        """See Driver."""
        return self._agent(host).copy_status(copy_id)

    def delete_copy(self, host: HostEndpoint, copy_id: str) -> None:
        """See Driver."""
        self._agent(host).delete_copy(copy_id)

    def machine(self, endpoint: MachineEndpoint) -> MachineAgent:
        """See Driver."""
        return TunnelledAgent(endpoint, self._credentials)

    def certificates(self, host: HostEndpoint) -> HostCertificates:
        """See Driver."""
        return self._agent(host)

    def _agent(self, host: HostEndpoint) -> HostAgent:
        return HostAgent(host, self._credentials)
