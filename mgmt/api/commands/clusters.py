"""Clusters."""

from typing import Annotated

from sqlalchemy import select

from mgmt.api.absent import must_stay
from mgmt.api.access import ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.commands.capacity import ListWithCapacities
from mgmt.api.commands.zones import read_allocation, refuse_if_used
from mgmt.api.lists import AllAre, Equals
from mgmt.api.params import wrong_value
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.infra import CLUSTER
from mgmt.model.errors import ParameterError
from mgmt.model.states import Allocation
from mgmt.store.tables import Cluster, Host, Pod, Zone

HYPERVISORS = ("KVM", "Simulator")


class ListClusters(ListWithCapacities, kw_only=True, frozen=True):
    """Lists clusters."""

    spec = Spec(answer=CLUSTER, access=ROOT)
    searched = (Cluster.name,)
    place = "cluster_id"

    name: Annotated[str | None, Equals(Cluster.name)] = None
    zoneid: Annotated[str | None, Ref(Zone), Equals(Cluster.zone_id)] = None
    podid: Annotated[str | None, Ref(Pod), Equals(Cluster.pod_id)] = None
    hypervisor: Annotated[str | None, "the hypervisor of the cluster", Equals(Cluster.hypervisor)] = None
    clustertype: Annotated[str | None, "the type of the cluster", Equals(Cluster.cluster_type)] = None
    allocationstate: Annotated[str | None, "Enabled or Disabled", Equals(Cluster.allocation)] = None
    managedstate: Annotated[str | None, "Managed, which all are", AllAre("Managed")] = None


class AddCluster(SyncCommand, kw_only=True, frozen=True):
    """Adds a cluster."""

    spec = Spec(answer=CLUSTER, access=ROOT, event="CLUSTER.CREATE", listed=True)

    clustername: Annotated[str, "the name of the cluster"]
    zoneid: Annotated[str, Ref(Zone)]
    podid: Annotated[str, Ref(Pod)]
    hypervisor: Annotated[str, "the hypervisor of its hosts: KVM or Simulator"]
    clustertype: Annotated[str, "CloudManaged"] = "CloudManaged"
    allocationstate: Annotated[str, "Enabled or Disabled"] = Allocation.enabled

    def run(self, call: Call) -> Cluster:
        """Check and insert."""
        pod = call.row(Pod, self.podid)
        if pod.zone_id != self.zoneid:
            raise ParameterError(f"Pod {pod.name} is not in zone {self.zoneid}; give the pod's own zone")
        if self.hypervisor not in HYPERVISORS:
            raise wrong_value("hypervisor", self.hypervisor, f"one of {', '.join(HYPERVISORS)}")
        if self.clustertype != "CloudManaged":
            raise wrong_value("clustertype", self.clustertype, "CloudManaged")
        taken = select(Cluster.id).where(
            Cluster.pod_id == pod.id, Cluster.name == self.clustername, Cluster.removed.is_(None)
        )
        if call.session.scalar(taken):
            raise ParameterError(f"A cluster with name {self.clustername} already exists in pod {pod.name}")
        cluster = Cluster(
            zone_id=pod.zone_id,
            pod_id=pod.id,
            name=self.clustername,
            hypervisor=self.hypervisor,
            allocation=read_allocation(self.allocationstate),
        )
        call.session.add(cluster)
        return cluster


class UpdateCluster(SyncCommand, kw_only=True, frozen=True):
    """Updates a cluster."""

    spec = Spec(answer=CLUSTER, access=ROOT, event="CLUSTER.EDIT")

    id: Annotated[str, Ref(Cluster)]
    clustername: Annotated[str | None, "the name of the cluster"] = None
    allocationstate: Annotated[str | None, "Enabled or Disabled"] = None
    hypervisor: Annotated[str | None, "as it is: a cluster keeps its hypervisor"] = None
    clustertype: Annotated[str | None, "as it is: CloudManaged"] = None
    managedstate: Annotated[str | None, "as it is: Managed; allocationstate=Disabled lets it rest"] = None

    def run(self, call: Call) -> Cluster:
        """Change what was sent."""
        cluster = call.row(Cluster, self.id)
        if self.clustername:
            cluster.name = self.clustername
        if self.allocationstate:
            cluster.allocation = read_allocation(self.allocationstate)
        must_stay("hypervisor", self.hypervisor, cluster.hypervisor)
        must_stay("clustertype", self.clustertype, cluster.cluster_type)
        must_stay("managedstate", self.managedstate, "Managed")
        return cluster


class DeleteCluster(SyncCommand, kw_only=True, frozen=True):
    """Deletes a cluster that has no hosts."""

    spec = Spec(access=ROOT, event="CLUSTER.DELETE")

    id: Annotated[str, Ref(Cluster)]

    def run(self, call: Call) -> Response:
        """Refuse while it has hosts."""
        cluster = call.row(Cluster, self.id)
        refuse_if_used(call.session, Host, Host.cluster_id == cluster.id, f"Cluster {cluster.name}", "hosts")
        cluster.removed = call.now()
        return DONE
