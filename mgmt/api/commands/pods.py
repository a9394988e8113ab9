"""Pods: management networks of a zone."""

from ipaddress import IPv4Address
from typing import Annotated

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.api.access import ROOT, Ref
from mgmt.api.addresses import AddressRange, read_range
from mgmt.api.call import Call
from mgmt.api.commands.capacity import ListWithCapacities
from mgmt.api.commands.zones import read_allocation, refuse_if_used
from mgmt.api.lists import Equals
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.infra import POD
from mgmt.model.errors import InUse, ParameterError
from mgmt.model.states import Allocation
from mgmt.store.tables import Cluster, Pod, VlanRange, Vm, Zone


class ListPods(ListWithCapacities, kw_only=True, frozen=True):
    """Lists pods."""

    spec = Spec(answer=POD, access=ROOT)
    searched = (Pod.name,)
    place = "pod_id"

    name: Annotated[str | None, Equals(Pod.name)] = None
    zoneid: Annotated[str | None, Ref(Zone), Equals(Pod.zone_id)] = None
    allocationstate: Annotated[str | None, "Enabled or Disabled", Equals(Pod.allocation)] = None


class CreatePod(SyncCommand, kw_only=True, frozen=True):
    """Creates a pod."""

    spec = Spec(answer=POD, access=ROOT, event="POD.CREATE")

    name: str
    zoneid: Annotated[str, Ref(Zone)]
    gateway: Annotated[str, "the gateway of the management network"]
    netmask: Annotated[str, "the netmask of the management network"]
    startip: Annotated[str, "the first address for system VMs"]
    endip: Annotated[str | None, "the last address for system VMs"] = None
    allocationstate: Annotated[str, "Enabled or Disabled"] = Allocation.enabled

    def run(self, call: Call) -> Pod:
        """Check the range against all others, and insert."""
        zone = call.row(Zone, self.zoneid)
        _check_name_free(call.session, zone, self.name)
        wanted = read_range(self.gateway, self.netmask, self.startip, self.endip)
        _check_subnet_free(call.session, zone.id, wanted)
        check_no_overlap(call.session, zone.id, wanted)
        pod = Pod(
            zone_id=zone.id,
            name=self.name,
            gateway=str(wanted.gateway),
            netmask=str(wanted.network.netmask),
            start_ip=str(wanted.start),
            end_ip=str(wanted.end),
            allocation=read_allocation(self.allocationstate),
        )
        call.session.add(pod)
        return pod


class UpdatePod(SyncCommand, kw_only=True, frozen=True):
    """Updates a pod."""

    spec = Spec(answer=POD, access=ROOT, event="POD.EDIT")

    id: Annotated[str, Ref(Pod)]
    name: str | None = None
    gateway: Annotated[str | None, "the gateway of the management network"] = None
    netmask: Annotated[str | None, "the netmask of the management network"] = None
    startip: Annotated[str | None, "the first address for system VMs"] = None
    endip: Annotated[str | None, "the last address for system VMs"] = None
    allocationstate: Annotated[str | None, "Enabled or Disabled"] = None

    def run(self, call: Call) -> Pod:
        """Check and change what was sent; addresses in use must stay inside."""
        pod = call.row(Pod, self.id)
        if self.name and self.name != pod.name:
            zone = call.session.get_one(Zone, pod.zone_id)
            _check_name_free(call.session, zone, self.name)
            pod.name = self.name
        if self.allocationstate:
            pod.allocation = read_allocation(self.allocationstate)
        if any((self.gateway, self.netmask, self.startip, self.endip)):
            self._change_range(call.session, pod)
        return pod

    def _change_range(self, session: Session, pod: Pod) -> None:
        wanted = read_range(
            self.gateway or pod.gateway,
            self.netmask or pod.netmask,
            self.startip or pod.start_ip,
            self.endip or pod.end_ip,
        )
        used = select(Vm.management_address).where(
            Vm.zone_id == pod.zone_id, Vm.management_address.is_not(None), Vm.removed.is_(None)
        )
        first, last = IPv4Address(pod.start_ip), IPv4Address(pod.end_ip)
        for address in session.scalars(used):
            is_ours = address and first <= IPv4Address(address) <= last
            if address and is_ours and not wanted.overlaps(address, address):
                text = f"Address {address} of pod {pod.name} is in use and not in the new range; include it"
                raise InUse(text)
        _check_subnet_free(session, pod.zone_id, wanted, but=pod.id)
        check_no_overlap(session, pod.zone_id, wanted, but=pod.id)
        pod.gateway, pod.netmask = str(wanted.gateway), str(wanted.network.netmask)
        pod.start_ip, pod.end_ip = str(wanted.start), str(wanted.end)


class DeletePod(SyncCommand, kw_only=True, frozen=True):
    """Deletes a pod that has no clusters."""

    spec = Spec(access=ROOT, event="POD.DELETE")

    id: Annotated[str, Ref(Pod)]

    def run(self, call: Call) -> Response:
        """Refuse while anything stands in it."""
        pod = call.row(Pod, self.id)
        refuse_if_used(call.session, Cluster, Cluster.pod_id == pod.id, f"Pod {pod.name}", "clusters")
        pod.removed = call.now()
        return DONE


def _check_subnet_free(
    session: Session, zone_id: str, wanted: AddressRange, *, but: str | None = None
) -> None:
    """Raise `ParameterError` if another pod of the zone has a subnet that shares an address with this one's.

    Pods of a zone are on one management network: an address must tell which of them it is in.
    """
    # Whoever changes pods of this zone at the same time waits here, and then sees this one.
    session.execute(select(Zone.id).where(Zone.id == zone_id).with_for_update())
    others = select(Pod).where(Pod.zone_id == zone_id, Pod.removed.is_(None), Pod.id != but)
    for pod in session.scalars(others):
        if wanted.shares_subnet(pod.gateway, pod.netmask):
            text = (
                f"The subnet {wanted.network} overlaps with pod {pod.name}, gateway {pod.gateway} and netmask"
                f" {pod.netmask} ({pod.id}); choose another, or widen the range of that pod with updatePod"
            )
            raise ParameterError(text)


def check_no_overlap(session: Session, zone_id: str, wanted: AddressRange, *, but: str | None = None) -> None:
    """Raise `ParameterError` if a pod's or a public range of the zone shares an address with this one."""
    pods = session.scalars(select(Pod).where(Pod.zone_id == zone_id, Pod.removed.is_(None)))
    ranges = session.scalars(
        select(VlanRange).where(VlanRange.zone_id == zone_id, VlanRange.removed.is_(None))
    )
    others: list[tuple[str, list[Pod] | list[VlanRange]]] = [("pod", [*pods]), ("public range", [*ranges])]
    for word, rows in others:
        for row in rows:
            if row.id != but and wanted.overlaps(row.start_ip, row.end_ip):
                text = (
                    f"The range {wanted.start}-{wanted.end} overlaps with {word}"
                    f" {row.start_ip}-{row.end_ip} ({row.id}); choose another"
                )
                raise ParameterError(text)


def _check_name_free(session: Session, zone: Zone, name: str) -> None:
    taken = select(Pod.id).where(Pod.zone_id == zone.id, Pod.name == name, Pod.removed.is_(None))
    if session.scalar(taken):
        raise ParameterError(
            f"A pod with name {name} already exists in zone {zone.name}; choose another name"
        )
