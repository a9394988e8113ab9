"""Rows of the places: a zone with its networks, pods, clusters, hosts and pools."""

from dataclasses import dataclass
from ipaddress import IPv4Address

from mgmt.model.network_services import PROVIDERS
from mgmt.model.states import Allocation
from mgmt.ops.runtime import utc_now
from mgmt.sim.bulk import Batch, Values
from mgmt.sim.plan import HOSTS_OF_POD, SPARE_ADDRESSES, Plan
from mgmt.store.tables import (
    Cluster,
    Host,
    ImageStore,
    PhysicalNetwork,
    Pod,
    PublicAddress,
    ServiceProvider,
    StoragePool,
    TrafficType,
    VlanRange,
    Zone,
)
from systemvm.spec.host import CONSOLE_RELAY_PORT, HOST_AGENT_PORT, TUNNEL_PORT

GIB = 1024**3
HOST_CPUS, HOST_MHZ, HOST_MEMORY_MIB, POOL_BYTES = 64, 2000, 256 * 1024, 1000 * GIB
POOL = "primary"
LABELS = {"Management": "pileus-mgmt", "Public": "pileus-public", "Guest": "cloud0"}
#: RFC 6598 and RFC 2544: networks that are nobody's.
_PODS, _PUBLIC = int(IPv4Address("100.64.0.0")), int(IPv4Address("198.18.0.0"))
#: Networks that are implemented take a VXLAN id each, from here on.
FIRST_VNI, LAST_VNI = 10_000, 999_999
_FIRST_PUBLIC = 10


@dataclass(frozen=True)
class Places:
    """What tenants' rows refer to."""

    zone_id: str
    range_id: str
    hosts: list[Values]
    pools: list[Values]

    def public_address(self, number: int) -> Values:
        """What all rows of public addresses have; the first ones of the range are the spare ones."""
        sort = _PUBLIC + _FIRST_PUBLIC + number
        address = str(IPv4Address(sort))
        return {"zone_id": self.zone_id, "range_id": self.range_id, "address": address, "sort": sort}


def add_places(batch: Batch, plan: Plan) -> Places:
    """Note all places of a plan."""
    zone = batch.add(
        Zone, name="sim", dns1="9.9.9.9", internal_dns1="9.9.9.9", allocation=Allocation.enabled
    )["id"]
    batch.add(ImageStore, zone_id=zone, name="secondary")
    physical = batch.add(
        PhysicalNetwork,
        zone_id=zone,
        name="physical1",
        state="Enabled",
        vni_first=FIRST_VNI,
        vni_last=LAST_VNI,
    )["id"]
    for kind, label in LABELS.items():
        batch.add(TrafficType, physical_network_id=physical, type=kind, label=label)
    for name in PROVIDERS:
        batch.add(ServiceProvider, physical_network_id=physical, name=name)
    hosts, pools = [], []
    for pod in range(plan.pods):
        for host in _add_pod(batch, zone, pod, min(HOSTS_OF_POD, plan.hosts - pod * HOSTS_OF_POD)):
            hosts.append(host)
            pools.append(_add_pool(batch, host))
    places = Places(zone, _add_range(batch, zone, physical, plan), hosts, pools)
    for number in range(SPARE_ADDRESSES):
        batch.add(PublicAddress, **places.public_address(number))
    return places


def _add_pod(batch: Batch, zone: str, number: int, hosts: int) -> list[Values]:
    """A pod with its cluster and hosts: addresses .1 to .200 are hosts', .210 to .250 system VMs'."""
    base = _PODS + 256 * number
    pod = batch.add(
        Pod,
        zone_id=zone,
        name=f"pod{number + 1}",
        gateway=str(IPv4Address(base + 254)),
        netmask="255.255.255.0",
        start_ip=str(IPv4Address(base + 210)),
        end_ip=str(IPv4Address(base + 250)),
    )["id"]
    cluster = batch.add(
        Cluster, zone_id=zone, pod_id=pod, name=f"cluster{number + 1}", hypervisor="Simulator"
    )["id"]
    first = number * HOSTS_OF_POD + 1
    return [
        batch.add(
            Host,
            zone_id=zone,
            pod_id=pod,
            cluster_id=cluster,
            name=f"host{first + index}",
            driver="simulator",
            address=str(IPv4Address(base + 1 + index)),
            port=HOST_AGENT_PORT,
            tunnel_port=TUNNEL_PORT,
            relay_port=CONSOLE_RELAY_PORT,
            cpus=HOST_CPUS,
            cpu_mhz=HOST_MHZ,
            memory_mib=HOST_MEMORY_MIB,
            version="simulator",
            state="Up",
            last_seen=utc_now(),
            generation=1,
        )
        for index in range(hosts)
    ]


def _add_pool(batch: Batch, host: Values) -> Values:
    place = {name: host[name] for name in ("zone_id", "pod_id", "cluster_id")}
    name = f"{POOL}-{host['name']}"
    return batch.add(StoragePool, **place, host_id=host["id"], name=name, path=POOL, capacity=POOL_BYTES)


def _add_range(batch: Batch, zone: str, physical: str, plan: Plan) -> str:
    """The range of public addresses."""
    first = _PUBLIC + _FIRST_PUBLIC
    return str(
        batch.add(
            VlanRange,
            zone_id=zone,
            physical_network_id=physical,
            gateway=str(IPv4Address(_PUBLIC + 1)),
            netmask="255.254.0.0",
            start_ip=str(IPv4Address(first)),
            end_ip=str(IPv4Address(first + plan.used_networks + SPARE_ADDRESSES - 1)),
        )["id"]
    )
