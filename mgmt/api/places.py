"""Where VMs are, as lists of them ask for it."""

from typing import Any

from sqlalchemy import Select, select

from mgmt.store.tables import Host, Vm, Volume


def by_place(
    query: Select[Any],
    *,
    pod_id: str | None = None,
    cluster_id: str | None = None,
    pool_id: str | None = None,
) -> Select[Any]:
    """Only VMs that are on a host of this pod or cluster, or have a disk in this pool."""
    if pod_id is not None:
        query = query.where(Vm.host_id.in_(select(Host.id).where(Host.pod_id == pod_id)))
    if cluster_id is not None:
        query = query.where(Vm.host_id.in_(select(Host.id).where(Host.cluster_id == cluster_id)))
    if pool_id is not None:
        volumes = select(Volume.vm_id).where(
            Volume.pool_id == pool_id, Volume.removed.is_(None), Volume.vm_id.is_not(None)
        )
        query = query.where(Vm.id.in_(volumes))
    return query
