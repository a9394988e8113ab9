"""What mgmt asks of a hypervisor, whichever it is. Every method raises `mgmt.agents.errors.AgentError`."""

from typing import Protocol

from mgmt.agents.host import HostCertificates, HostEndpoint
from mgmt.agents.machine import MachineAgent, MachineEndpoint
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


class Driver(Protocol):
    """Hosts of one kind. Calls are idempotent: the same document twice is the same as once."""

    def info(self, host: HostEndpoint) -> HostInfo:
        """What the host is and has."""

    def put_state(self, host: HostEndpoint, state: HostState) -> None:
        """Make the host's networks what the document says."""

    def state(self, host: HostEndpoint) -> HostState | None:
        """The document that the host's networks were last made from; None before the first."""

    def put_domain(self, host: HostEndpoint, domain: Domain, *, force: bool = False) -> DomainStatus:
        """Make a VM what the document says; `preparing` while that takes long. `force` pulls the plug."""

    def domain_status(self, host: HostEndpoint, domain_id: str) -> DomainStatus | None:
        """What the host says of a VM; None when it has none of that id."""

    def all_domains(self, host: HostEndpoint) -> list[DomainStatus]:
        """What the host says of all its VMs."""

    def wait_for_change(self, host: HostEndpoint, seen: str, seconds: float) -> str:
        """The host's mark as soon as it is another than `seen`, at the latest after `seconds`.

        It is another once a VM ended, whoever ended it, and whenever the host cannot tell whether one did.
        """

    def delete_domain(self, host: HostEndpoint, domain_id: str, *, keep_volumes: bool = False) -> None:
        """Stop a VM and remove all that is its own, volumes that were never detached included.

        With `keep_volumes` they stay: only the definition goes.
        """

    def put_landing(self, host: HostEndpoint, domain: Domain) -> Landing | None:
        """Make ready what a VM needs that will come from another host; None while that takes long."""

    def close_landing(self, host: HostEndpoint, domain_id: str) -> None:
        """Let nothing of a VM come from another host any more; what came stays."""

    def depart(self, host: HostEndpoint, domain_id: str, departure: Departure) -> DomainStatus:
        """Move a running VM to the host of its landing; here it is stopped then, and its volumes stay.

        One that has left already is left alone. `preparing` while it moves.
        """

    def fetch_volume(self, host: HostEndpoint, copy: VolumeFetch) -> bool:
        """Fetch a volume that no VM uses from another host, unless it is here; whether it is now."""

    def move_disk(self, host: HostEndpoint, domain_id: str, copy: VolumeFetch) -> DomainStatus:
        """Move a volume of a running VM to another pool that the host reaches, while the guest goes on.

        There already is fine. The file in the old pool stays, used by nobody. `preparing` while it is copied;
        `delete_volume` of the new one ends that, and is refused once the VM has it.
        """

    def fetch_base(self, host: HostEndpoint, copy: VolumeFetch) -> bool:
        """Have the template that a volume is based on which will come from another host; whether it is here.

        The other host gives it, too: the storage VM may have it no more.
        """

    def put_snapshot(self, host: HostEndpoint, domain_id: str, snapshot: DomainSnapshot) -> DomainStatus:
        """Keep a VM's volumes, and its memory if wanted, as they are now; there already is fine.

        `preparing` while that takes long.
        """

    def delete_snapshot(self, host: HostEndpoint, domain_id: str, snapshot_id: str) -> DomainStatus:
        """Remove what `put_snapshot` kept; gone already is fine."""

    def revert(self, host: HostEndpoint, domain_id: str, snapshot: DomainSnapshot) -> DomainStatus:
        """Put a running VM back to a snapshot with memory, a stopped one to one without."""

    def put_pool(self, host: HostEndpoint, pool: SharedPool) -> PoolSpace:
        """Connect the host to a shared pool, and check that it is the same there as elsewhere."""

    def delete_pool(self, host: HostEndpoint, pool_id: str) -> None:
        """Give up a shared pool that has no volumes any more; gone already is fine."""

    def put_volume(self, host: HostEndpoint, volume: Volume, *, replace: bool = False) -> HostVolume:
        """Make or grow a volume that outlives the VMs it is attached to; `preparing` while that takes long.

        `replace` makes one that is there anew, of its base: no running VM may have it.
        """

    def delete_volume(self, host: HostEndpoint, volume_id: str, pool: str = "") -> None:
        """Remove a volume that no VM has, of that pool alone if one is named; gone already is fine."""

    def all_volumes(self, host: HostEndpoint) -> list[HostVolume]:
        """All volumes that the host has, attached or not."""

    def put_copy(self, host: HostEndpoint, copy: VolumeCopy) -> CopyStatus:
        """Send a volume as it is now to the storage VM, or look how far that is. Returns at once."""

    def copy_status(self, host: HostEndpoint, copy_id: str) -> CopyStatus | None:
        """How far a copy is; None when the host knows of none, for example after its agent's restart."""

    def delete_copy(self, host: HostEndpoint, copy_id: str) -> None:
        """Cancel and forget a copy; gone already is fine. What the storage VM has it keeps."""

    def machine(self, endpoint: MachineEndpoint) -> MachineAgent:
        """The agent in a system VM of this host."""

    def certificates(self, host: HostEndpoint) -> HostCertificates:
        """The certificates of a host's own agent and relay."""
