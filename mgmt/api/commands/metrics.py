"""Lists with figures, for dashboards: the same filters as the plain lists."""

from typing import Any

from sqlalchemy import func, select

from mgmt.api.access import EVERYONE, ROOT
from mgmt.api.call import Call
from mgmt.api.commands.clusters import ListClusters
from mgmt.api.commands.hosts import ListHosts
from mgmt.api.commands.storage_pools import ListStoragePools
from mgmt.api.commands.virtual_machines import ListVirtualMachines
from mgmt.api.commands.volumes import ListVolumes
from mgmt.api.commands.zones import ListZones
from mgmt.api.registry import Response, Spec, SyncCommand
from mgmt.api.responses.metrics import (
    CLUSTER_METRICS,
    HOST_METRICS,
    POOL_METRICS,
    VOLUME_METRICS,
    ZONE_METRICS,
    InfrastructureResponse,
)
from mgmt.api.responses.virtual_machines import VIRTUAL_MACHINE
from mgmt.model.states import VmKind
from mgmt.store.tables import Alert, Cluster, Host, ImageStore, ManagementServer, Pod, StoragePool, Vm, Zone


class ListHostsMetrics(ListHosts, kw_only=True, frozen=True):
    """Lists hosts with what their VMs take."""

    spec = Spec(answer=HOST_METRICS, access=ROOT)


class ListClustersMetrics(ListClusters, kw_only=True, frozen=True):
    """Lists clusters with what their VMs take."""

    spec = Spec(answer=CLUSTER_METRICS, access=ROOT)


class ListZonesMetrics(ListZones, kw_only=True, frozen=True):
    """Lists zones with what their VMs take."""

    spec = Spec(answer=ZONE_METRICS, access=ROOT)


class ListStoragePoolsMetrics(ListStoragePools, kw_only=True, frozen=True):
    """Lists storage pools with what is in use and promised."""

    spec = Spec(answer=POOL_METRICS, access=ROOT)


class ListVolumesMetrics(ListVolumes, kw_only=True, frozen=True):
    """Lists volumes with their sizes in words."""

    spec = Spec(answer=VOLUME_METRICS, access=EVERYONE)


class ListVirtualMachinesMetrics(ListVirtualMachines, kw_only=True, frozen=True):
    """Lists virtual machines, as dashboards and cluster managers ask for them."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE)


class ListInfrastructure(SyncCommand, kw_only=True, frozen=True):
    """Tells how many there are of everything."""

    spec = Spec(answer=InfrastructureResponse, key="infrastructure", access=ROOT)

    def run(self, call: Call) -> Response:
        """Count, in one statement."""
        counts: dict[str, Any] = {
            "zones": (Zone, None),
            "pods": (Pod, None),
            "clusters": (Cluster, None),
            "hosts": (Host, None),
            "storagepools": (StoragePool, None),
            "imagestores": (ImageStore, None),
            "systemvms": (Vm, Vm.kind.in_((VmKind.console, VmKind.storage))),
            "routers": (Vm, Vm.kind == VmKind.router),
            "alerts": (Alert, Alert.resolved.is_(None)),
            "managementservers": (ManagementServer, None),
        }
        columns = [_count(table, which).label(name) for name, (table, which) in counts.items()]
        row = call.session.execute(select(*columns)).one()
        found: dict[str, int] = {name: getattr(row, name) for name in counts}
        return InfrastructureResponse(**found)


def _count(table: Any, which: Any) -> Any:
    query = select(func.count(table.id)).where(table.removed.is_(None))
    return (query if which is None else query.where(which)).scalar_subquery()
