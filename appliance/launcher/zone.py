"""Describes this machine to the management server as a zone: the calls an operator would make, in order."""

from typing import Any

from cs import CloudStack

from appliance.launcher.client import find_or_create
from appliance.launcher.resolvers import read_resolvers
from appliance.launcher.settings import Settings, address_at, netmask
from appliance.launcher.steps import Progress
from systemvm.spec.host import HOST_AGENT_PORT

POOL = "primary"
#: Addresses of each /24 that the cloud hands out; the rest stays the operator's.
FIRST, LAST = 10, 199


def configure_zone(cloud: CloudStack, settings: Settings, say: Progress) -> str:
    """Create what is missing of the zone and enable it. Raises CloudStackException with the API's words."""
    zone = _zone(cloud, settings)
    say("physical network")
    physical = _physical_network(cloud, settings, zone)
    say("pod, cluster and address range")
    pod = _pod(cloud, settings, zone)
    _public_range(cloud, settings, zone, physical)
    cluster = find_or_create(
        cloud,
        ("listClusters", {"zoneid": zone["id"], "name": "cluster1"}),
        (
            "addCluster",
            {
                "zoneid": zone["id"],
                "podid": pod["id"],
                "clustername": "cluster1",
                "hypervisor": "KVM",
                "clustertype": "CloudManaged",
            },
        ),
        "cluster",
    )
    say("host and storage")
    _host_and_storage(cloud, settings, zone, pod, cluster)
    if zone["allocationstate"] != "Enabled":
        cloud.updateZone(id=zone["id"], allocationstate="Enabled")
    return f"{settings.zone}, enabled; {use_resolvers(cloud, settings, zone, read_resolvers())}"


def use_resolvers(cloud: CloudStack, settings: Settings, zone: dict[str, Any], found: tuple[str, ...]) -> str:
    """Guests and system VMs ask the DNS servers `found` on this machine if they may leave it.

    What an operator chose stays. Returns who is asked by guests, in words.
    """
    if not settings.uplink:
        return "no DNS beyond the cloud's own"
    if found:
        second = found[1] if len(found) > 1 else ""
        for name in ("dns", "internaldns"):
            if zone[f"{name}1"] == settings.public_gateway:
                cloud.updateZone(id=zone["id"], **{f"{name}1": found[0], f"{name}2": second})
    if zone["dns1"] != settings.public_gateway:
        return f"DNS by {zone['dns1']}"
    if not found:
        return "this machine's DNS server is not reachable for guests: set the zone's dns1 to one that is"
    return f"DNS by {', '.join(found)}"


def _zone(cloud: CloudStack, settings: Settings) -> dict[str, Any]:
    # Without an uplink there is no resolver to forward to; the gateway's address is a truthful placeholder.
    return find_or_create(
        cloud,
        ("listZones", {"name": settings.zone}),
        (
            "createZone",
            {
                "name": settings.zone,
                "networktype": "Advanced",
                "dns1": settings.public_gateway,
                "internaldns1": settings.public_gateway,
                "guestcidraddress": settings.guest,
                "localstorageenabled": True,
            },
        ),
        "zone",
    )


def _physical_network(cloud: CloudStack, settings: Settings, zone: dict[str, Any]) -> dict[str, Any]:
    physical = find_or_create(
        cloud,
        ("listPhysicalNetworks", {"zoneid": zone["id"]}),
        ("createPhysicalNetwork", {"zoneid": zone["id"], "name": "physical1", "isolationmethods": "VXLAN"}),
        "physicalnetwork",
    )
    present = {
        item["traffictype"]
        for item in cloud.listTrafficTypes(physicalnetworkid=physical["id"]).get("traffictype", [])
    }
    labels = {
        "Management": settings.management_bridge,
        "Public": settings.public_bridge,
        "Guest": settings.cloud_bridge,
    }
    for kind, label in labels.items():
        if kind not in present:
            cloud.addTrafficType(
                physicalnetworkid=physical["id"], traffictype=kind, kvmnetworklabel=label, fetch_result=True
            )
    if physical.get("state") != "Enabled":
        cloud.updatePhysicalNetwork(id=physical["id"], state="Enabled", fetch_result=True)
    return physical


def _pod(cloud: CloudStack, settings: Settings, zone: dict[str, Any]) -> dict[str, Any]:
    return find_or_create(
        cloud,
        ("listPods", {"zoneid": zone["id"], "name": "pod1"}),
        (
            "createPod",
            {
                "zoneid": zone["id"],
                "name": "pod1",
                "gateway": settings.management_address,
                "netmask": netmask(settings.management),
                "startip": str(address_at(settings.management, FIRST)),
                "endip": str(address_at(settings.management, LAST)),
            },
        ),
        "pod",
    )


def _public_range(
    cloud: CloudStack, settings: Settings, zone: dict[str, Any], physical: dict[str, Any]
) -> dict[str, Any]:
    return find_or_create(
        cloud,
        ("listVlanIpRanges", {"zoneid": zone["id"]}),
        (
            "createVlanIpRange",
            {
                "zoneid": zone["id"],
                "physicalnetworkid": physical["id"],
                "forvirtualnetwork": True,
                "vlan": "untagged",
                "gateway": settings.public_gateway,
                "netmask": netmask(settings.public),
                "startip": str(address_at(settings.public, FIRST)),
                "endip": str(address_at(settings.public, LAST)),
            },
        ),
        "vlaniprange",
    )


def _host_and_storage(
    cloud: CloudStack,
    settings: Settings,
    zone: dict[str, Any],
    pod: dict[str, Any],
    cluster: dict[str, Any],
) -> None:
    place = {"zoneid": zone["id"], "podid": pod["id"], "clusterid": cluster["id"]}
    url = f"https://{settings.management_address}:{HOST_AGENT_PORT}"
    host = find_or_create(
        cloud,
        ("listHosts", {"zoneid": zone["id"], "type": "Routing"}),
        ("addHost", {**place, "hypervisor": "KVM", "url": url, "username": "", "password": ""}),
        "host",
    )
    find_or_create(
        cloud,
        ("listStoragePools", {"zoneid": zone["id"], "name": POOL}),
        (
            "createStoragePool",
            {
                **place,
                "name": POOL,
                "scope": "HOST",
                "url": f"file://{host['name']}/{POOL}",
                "hostid": host["id"],
            },
        ),
        "storagepool",
    )
    find_or_create(
        cloud,
        ("listImageStores", {"zoneid": zone["id"]}),
        ("addImageStore", {"zoneid": zone["id"], "name": "secondary", "provider": "Pileus"}),
        "imagestore",
    )
