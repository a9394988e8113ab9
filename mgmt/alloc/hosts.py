"""Which host takes a VM: the first that fits, or a sentence for each that does not."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mgmt.model.errors import NoCapacity
from mgmt.model.states import Allocation, VmState
from mgmt.store.tables import Cluster, Host, Pod, ServiceOffering, Vm

#: How many virtual CPUs one core may carry.
CPU_OVERCOMMIT = 8
#: MiB that the host itself keeps.
HOST_RESERVE = 512
_TAKING = (VmState.starting, VmState.running, VmState.stopping)


@dataclass(frozen=True)
class Demand:
    """What a VM needs; memory in MiB. `host_id` where its disks or its owner tie it to one host."""

    zone_id: str
    cpus: int
    memory: int
    host_id: str | None = None


def place(session: Session, demand: Demand) -> Host:
    """The first host that fits. Raises NoCapacity with the reason of every host."""
    query = select(Host).where(Host.zone_id == demand.zone_id, Host.removed.is_(None))
    if demand.host_id is not None:
        query = query.where(Host.id == demand.host_id)
    used = _used(session, demand.zone_id)
    refusals = []
    for host in session.scalars(query.order_by(Host.created, Host.name)).all():
        reason = _why_not(session, host, demand, used.get(host.id, (0, 0)))
        if not reason:
            return host
        refusals.append(f"host {host.name}: {reason}")
    why = "; ".join(refusals) or "there is none in the zone"
    raise NoCapacity(f"no host for {demand.cpus} CPU(s) and {demand.memory} MiB: {why}")


def _why_not(session: Session, host: Host, demand: Demand, used: tuple[int, int]) -> str:
    cpus = host.cpus * CPU_OVERCOMMIT - used[0]
    memory = host.memory_mib - HOST_RESERVE - used[1]
    if host.state != "Up":
        return f"it is {host.state}"
    if host.resource_state != "Enabled":
        return f"it is {host.resource_state}"
    cluster, pod = session.get(Cluster, host.cluster_id), session.get(Pod, host.pod_id)
    if cluster and cluster.allocation != Allocation.enabled:
        return f"cluster {cluster.name} is disabled"
    if pod and pod.allocation != Allocation.enabled:
        return f"pod {pod.name} is disabled"
    if cpus < demand.cpus:
        return f"{cpus} of {host.cpus * CPU_OVERCOMMIT} virtual CPUs are free"
    if memory < demand.memory:
        return f"{memory} of {host.memory_mib} MiB are free"
    return ""


def _used(session: Session, zone_id: str) -> dict[str, tuple[int, int]]:
    """CPUs and MiB that the VMs of each host take."""
    query = (
        select(Vm.host_id, func.sum(ServiceOffering.cpus), func.sum(ServiceOffering.memory))
        .join(ServiceOffering, ServiceOffering.id == Vm.offering_id)
        .where(Vm.zone_id == zone_id, Vm.removed.is_(None), Vm.state.in_(_TAKING))
        .group_by(Vm.host_id)
    )
    return {host: (int(cpus), int(memory)) for host, cpus, memory in session.execute(query) if host}
