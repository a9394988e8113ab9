"""Hypervisor hosts."""

import json
import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from sqlalchemy import Select, String, cast, delete, or_, select

from mgmt.agents.errors import AgentError
from mgmt.agents.host import HostEndpoint
from mgmt.api.access import ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.commands.zones import refuse_if_used
from mgmt.api.lists import AllAre, Equals, ListCommand
from mgmt.api.params import NoEffect, Unsupported, wrong_value
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.hosts import HOST
from mgmt.drivers.protocol import Driver
from mgmt.model.errors import ParameterError, Unavailable
from mgmt.model.states import VmKind, VmState
from mgmt.ops.infrastructure.dedications import release_dedication
from mgmt.ops.infrastructure.maintenance import MAINTENANCE
from mgmt.ops.runtime import Runtime
from mgmt.store.events import record_event
from mgmt.store.tables import Cluster, Host, Pod, PoolHost, StoragePool, Vm, Zone
from systemvm.spec.host import HOST_AGENT_PORT, HostInfo

ROUTING = "Routing"
TAG = re.compile(r"^[A-Za-z0-9._-]{1,63}$")
ALLOCATION = {"Enable": "Enabled", "Disable": "Disabled"}


class ListHosts(ListCommand, kw_only=True, frozen=True):
    """Lists hosts."""

    spec = Spec(answer=HOST, access=ROOT)
    searched = (Host.name,)

    name: Annotated[str | None, Equals(Host.name)] = None
    zoneid: Annotated[str | None, Ref(Zone), Equals(Host.zone_id)] = None
    podid: Annotated[str | None, Ref(Pod), Equals(Host.pod_id)] = None
    clusterid: Annotated[str | None, Ref(Cluster), Equals(Host.cluster_id)] = None
    state: Annotated[str | None, "Up, Down, Connecting or Alert", Equals(Host.state)] = None
    resourcestate: Annotated[str | None, "Enabled or Disabled", Equals(Host.resource_state)] = None
    type: Annotated[str | None, "Routing: hypervisor hosts, the only kind", AllAre(ROUTING)] = None
    hypervisor: Annotated[str | None, "the hypervisor of the host"] = None
    hosttag: Annotated[str | None, "list only hosts with this tag"] = None
    virtualmachineid: Annotated[str | None, Ref(Vm), "list only hosts that this VM might move to"] = None
    version: Annotated[str | None, "the version of its agent", Equals(Host.version)] = None
    hahost: Annotated[bool | None, "true for hosts kept for VMs of others: none", AllAre(False)] = None
    arch: Annotated[str | None, "the architecture of its CPUs: x86_64", AllAre("x86_64")] = None
    outofbandmanagementenabled: Annotated[
        bool | None, "true for hosts that are switched by their mainboards: none", AllAre(False)
    ] = None
    managementserverid: Annotated[str | None, Unsupported("every server talks to all hosts")] = None
    details: Annotated[list[str] | None, NoEffect("all parts of the answer are always there")] = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Hosts of a hypervisor, or with a tag."""
        if self.hypervisor is not None:
            query = query.where(Host.driver == self.hypervisor.lower())
        if self.virtualmachineid is not None:
            vm = call.row(Vm, self.virtualmachineid)
            query = query.where(Host.zone_id == vm.zone_id, Host.id != vm.host_id)
        if self.hosttag is not None:
            tag = json.dumps(self.hosttag)
            query = query.where(cast(Host.tags, String).contains(tag, autoescape=True))
        return query


class AddHost(SyncCommand, kw_only=True, frozen=True):
    """Adds a host: asks its agent who it is and what it has."""

    spec = Spec(answer=HOST, access=ROOT, writes=False, listed=True, wakes=True)

    zoneid: Annotated[str, Ref(Zone)]
    podid: Annotated[str, Ref(Pod)]
    hypervisor: Annotated[str, "KVM or Simulator"]
    url: Annotated[str, "where its agent is, as https://172.16.0.2:8445"]
    clusterid: Annotated[str | None, Ref(Cluster)] = None
    clustername: Annotated[str | None, "the name of the cluster, instead of its ID"] = None
    username: Annotated[str | None, NoEffect("hosts are trusted by certificate")] = None
    password: Annotated[str | None, NoEffect("hosts are trusted by certificate")] = None
    hosttags: Annotated[list[str] | None, "its tags, comma separated, for offerings that ask for them"] = None

    def run(self, call: Call) -> Host:
        """Ask the host first, with no transaction open; then check again and insert."""
        cluster, tags = self._cluster(call), read_tags("hosttags", self.hosttags or [])
        address, port = read_agent_url(self.url)
        endpoint = HostEndpoint(id="", name=address, address=address, port=port)
        info = ask_host(find_driver(call, cluster), endpoint)
        with call.context.database.writing() as session:
            taken = select(Host).where(
                Host.removed.is_(None), or_(Host.id == info.host, Host.address == address)
            )
            known = session.scalars(taken).first()
            if known is not None:
                raise ParameterError(f"Host {known.name} at {known.address} is here already; delete it first")
            host = _row(cluster, info, address, port, call)
            host.tags = tags
            session.merge(host)
            record_event(
                session,
                "HOST.ADD",
                f"Host {host.name} at {address} was added",
                user_id=call.caller.user.id,
                account_id=call.caller.account.id,
                domain_id=call.caller.domain.id,
                resource_type="Host",
                resource_id=host.id,
            )
        return host

    def _cluster(self, call: Call) -> Cluster:
        pod = call.row(Pod, self.podid)
        cluster = call.row_or_none(Cluster, self.clusterid)
        if cluster is None:
            query = select(Cluster).where(
                Cluster.pod_id == pod.id, Cluster.name == (self.clustername or ""), Cluster.removed.is_(None)
            )
            cluster = call.session.scalars(query).first()
        if cluster is None:
            raise ParameterError(f"Pod {pod.name} has no cluster {self.clustername}; give clusterid")
        if cluster.pod_id != pod.id or pod.zone_id != self.zoneid:
            raise ParameterError(
                f"Cluster {cluster.name}, pod {pod.name} and the zone do not belong together"
            )
        if cluster.hypervisor != self.hypervisor:
            raise wrong_value("hypervisor", self.hypervisor, f"{cluster.hypervisor}, as its cluster")
        return cluster


class UpdateHost(SyncCommand, kw_only=True, frozen=True):
    """Updates a host."""

    spec = Spec(answer=HOST, access=ROOT, event="HOST.EDIT")

    id: Annotated[str, Ref(Host)]
    name: str | None = None
    allocationstate: Annotated[str | None, "Enable or Disable new VMs on it"] = None
    hosttags: Annotated[list[str] | None, "its tags, comma separated, for offerings that ask for them"] = None
    oscategoryid: Annotated[str | None, Unsupported("hosts prefer no operating system")] = None
    url: Annotated[str | None, Unsupported("delete the host and add it again")] = None

    def run(self, call: Call) -> Host:
        """Change what was sent."""
        host = call.row(Host, self.id)
        if self.name:
            host.name = self.name
        if self.allocationstate:
            if self.allocationstate.capitalize() not in ALLOCATION:
                raise wrong_value("allocationstate", self.allocationstate, "Enable or Disable")
            if host.resource_state not in ALLOCATION.values():
                text = f"Host {host.name} is in {host.resource_state}; cancelHostMaintenance ends that"
                raise ParameterError(text)
            host.resource_state = ALLOCATION[self.allocationstate.capitalize()]
        if self.hosttags is not None:
            host.tags = read_tags("hosttags", self.hosttags)
        return host


class DeleteHost(SyncCommand, kw_only=True, frozen=True):
    """Deletes a host that has neither VMs nor storage; one that is lost, with `forced`, also with VMs."""

    spec = Spec(access=ROOT, event="HOST.DELETE", wakes=True)

    id: Annotated[str, Ref(Host)]
    forced: Annotated[bool, "true: VMs that were on it are Stopped from now on"] = False
    forcedestroylocalstorage: Annotated[bool, Unsupported("delete its VMs and storage pools first")] = False

    def run(self, call: Call) -> Response:
        """Refuse while anything is on it; volumes are never given up."""
        host = call.row(Host, self.id)
        item = f"Host {host.name}"
        if self.forced:
            self._let_go(call, host)
        advice = "prepareHostForMaintenance moves them away; forced=true is for a host that is lost"
        refuse_if_used(call.session, Vm, Vm.host_id == host.id, item, "VMs", advice)
        refuse_if_used(call.session, StoragePool, StoragePool.host_id == host.id, item, "storage pools")
        release_dedication(call.session, host.id, call.now())
        call.session.execute(delete(PoolHost).where(PoolHost.host_id == host.id))
        host.removed = call.now()
        return DONE

    def _let_go(self, call: Call, host: Host) -> None:
        """Say of the host's VMs that they are Stopped; nobody may do so while they run."""
        if host.state == "Up" and host.resource_state != MAINTENANCE:
            text = f"Host {host.name} is Up and in service; prepareHostForMaintenance first"
            raise ParameterError(text)
        for vm in call.session.scalars(select(Vm).where(Vm.host_id == host.id, Vm.removed.is_(None))):
            vm.host_id, vm.last_host_id = None, None
            vm.reason = f"its host {host.name} was deleted"
            if vm.state not in (VmState.destroyed, VmState.expunging, VmState.error):
                vm.state = VmState.stopped
            if vm.kind == VmKind.user:
                vm.desired_power = "stopped"
        call.session.flush()


def read_tags(name: str, tags: list[str]) -> list[str]:
    """Tags, each once. Raises `ParameterError`."""
    for tag in tags:
        if not TAG.match(tag):
            raise wrong_value(name, tag, "letters, digits, and . _ - only, at most 63")
    return list(dict.fromkeys(tags))


def read_agent_url(url: str) -> tuple[str, int]:
    """Address and port of a host agent. Raises `ParameterError`."""
    try:
        parts = urlsplit(url if "//" in url else f"https://{url}")
        address, port = parts.hostname, parts.port or HOST_AGENT_PORT
    except ValueError as error:
        raise wrong_value("url", url, "https://<address>:<port> of a host agent") from error
    if not address or parts.scheme not in ("https", "http"):
        raise wrong_value("url", url, "https://<address>:<port> of a host agent")
    return address, port


def find_driver(call: Call, cluster: Cluster) -> Driver:
    """The driver of a cluster's hypervisor. Raises `Unavailable` if this server has none."""
    driver = call.part(Runtime).drivers.get(cluster.hypervisor.lower())
    if driver is None:
        raise Unavailable(
            f"This management server has no driver for {cluster.hypervisor}; one for simulated hosts needs"
            " simulated_hosts in mgmt.json"
        )
    return driver


def ask_host(driver: Driver, endpoint: HostEndpoint) -> HostInfo:
    """What a host says of itself. Raises `Unavailable` with the agent's words."""
    try:
        return driver.info(endpoint)
    except AgentError as error:
        text = f"The host agent at {endpoint.address}:{endpoint.port} does not answer as it should: {error}"
        raise Unavailable(text) from error


def _row(cluster: Cluster, info: HostInfo, address: str, port: int, call: Call) -> Host:
    return Host(
        id=info.host,
        zone_id=cluster.zone_id,
        pod_id=cluster.pod_id,
        cluster_id=cluster.id,
        name=info.name,
        driver=cluster.hypervisor.lower(),
        address=address,
        port=port,
        tunnel_port=info.tunnel_port,
        relay_port=info.console_relay_port,
        acceleration=info.acceleration,
        cpus=info.cpus,
        cpu_mhz=info.cpu_mhz,
        memory_mib=info.memory_mib,
        version=info.version,
        state="Up",
        last_seen=call.now(),
    )
