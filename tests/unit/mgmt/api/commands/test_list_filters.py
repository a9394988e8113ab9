"""Filters that look further than a column of the rows they list."""

from typing import Any

import pytest

from mgmt.model.errors import CloudError
from mgmt.model.states import TemplateState, VmKind, VmState
from mgmt.store import tables
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit

Names = dict[str, str]


@pytest.fixture
def names(world: World) -> Names:
    """Ids of one host with a pool, where a router and a storage VM run, and of a network with a balancer."""
    zone = world.ids["zone"]
    net = {"gateway": "172.20.0.1", "netmask": "255.255.255.0"}
    pod = tables.Pod(zone_id=zone, name="p", start_ip="172.20.0.10", end_ip="172.20.0.19", **net)  # type: ignore[arg-type]
    empty = tables.Pod(zone_id=zone, name="e", start_ip="172.21.0.10", end_ip="172.21.0.19", **net)  # type: ignore[arg-type]
    world.add(pod, empty)
    cluster = tables.Cluster(zone_id=zone, pod_id=pod.id, name="c")
    bare = tables.Cluster(zone_id=zone, pod_id=pod.id, name="bare")
    world.add(cluster, bare)
    ports = {"port": 1, "tunnel_port": 2, "relay_port": 3}
    place = {"zone_id": zone, "pod_id": pod.id, "cluster_id": cluster.id}
    host = tables.Host(name="h", address="172.20.0.2", version="1.2", **place, **ports)  # type: ignore[arg-type]
    world.add(host)
    pool = tables.StoragePool(zone_id=zone, host_id=host.id, name="s", path="s")
    unused = tables.StoragePool(zone_id=zone, name="u", path="u", scope="ZONE")
    world.add(pool, unused)
    network = world.network()
    for at, (kind, name) in enumerate(((VmKind.router, "r-1"), (VmKind.storage, "s-1")), start=20):
        vm = world.vm(network, name=name, at=at)
        owner = {"account_id": vm.account_id, "domain_id": vm.domain_id, "zone_id": zone}
        with world.context.database.writing() as session:
            row = session.get_one(tables.Vm, vm.id)
            row.kind, row.host_id, row.healthy = kind, host.id, kind is VmKind.storage
        world.add(tables.Volume(name=name, vm_id=vm.id, pool_id=pool.id, size=1, kind="ROOT", **owner))
    address = world.ids["net-extra"]
    balancer = {"algorithm": "roundrobin", "publicport": 80, "privateport": 80}
    world.call("createLoadBalancerRule", name="lb", publicipid=address, **balancer)
    physical = world.get(tables.VlanRange, world.ids["range"]).physical_network_id
    other = tables.PhysicalNetwork(zone_id=zone, name="other", state="Enabled")
    world.add(other)
    found = {"pod": pod.id, "empty": empty.id, "cluster": cluster.id, "bare": bare.id, "pool": pool.id}
    return {**found, "unused": unused.id, "physical": physical, "other": other.id, "address": address}


CASES = [
    ("listPublicIpAddresses", {}, 2),
    ("listPublicIpAddresses", {"forloadbalancing": "true"}, 1),
    ("listPublicIpAddresses", {"forloadbalancing": "false"}, 2),
    ("listPublicIpAddresses", {"physicalnetworkid": "{physical}"}, 2),
    ("listPublicIpAddresses", {"physicalnetworkid": "{other}"}, 0),
    ("listPublicIpAddresses", {"forsystemvms": "true"}, 0),
    ("listNetworks", {"networkfilter": "AccountDomain"}, 1),
    ("listNetworks", {"networkfilter": "shared"}, 0),
    ("listNetworks", {"type": "isolated", "acltype": "account", "canusefordeploy": "true"}, 1),
    ("listNetworks", {"canusefordeploy": "false"}, 0),
    ("listRouters", {"podid": "{pod}"}, 1),
    ("listRouters", {"podid": "{empty}"}, 0),
    ("listRouters", {"clusterid": "{cluster}"}, 1),
    ("listRouters", {"clusterid": "{bare}"}, 0),
    ("listRouters", {"healthchecksfailed": "true"}, 1),
    ("listRouters", {"healthchecksfailed": "false"}, 0),
    ("listSystemVms", {"podid": "{pod}", "storageid": "{pool}"}, 1),
    ("listSystemVms", {"podid": "{empty}"}, 0),
    ("listSystemVms", {"storageid": "{unused}"}, 0),
    ("listStoragePools", {"ipaddress": "172.20.0.2"}, 1),
    ("listStoragePools", {"ipaddress": "172.20.0.9"}, 0),
    ("listHosts", {"version": "1.2", "type": "routing"}, 1),
    ("listHosts", {"version": "1.3"}, 0),
    ("listHosts", {"type": "ConsoleProxy"}, 0),
]


@pytest.mark.parametrize(("command", "sent", "count"), CASES)
def test_a_filter_finds_what_it_says(
    world: World, names: Names, command: str, sent: dict[str, str], count: int
) -> None:
    asked: dict[str, Any] = {name: value.format(**names) for name, value in sent.items()}
    is_tenants = command in ("listPublicIpAddresses", "listNetworks") and "physicalnetworkid" not in sent
    caller = "alice" if is_tenants else "admin"
    assert world.call(command, caller, listall="true", **asked).get("count", 0) == count


@pytest.mark.parametrize(
    ("command", "sent", "words"),
    [
        ("listNetworks", {"networkfilter": "Mine"}, "Invalid value Mine for parameter networkfilter"),
        ("listEvents", {"duration": "60"}, "duration is not supported: startdate and enddate"),
        ("listTemplates", {"templatefilter": "all", "showremoved": "true"}, "showremoved is not supported"),
        ("listVirtualMachines", {"userid": "x"}, "userid is not supported: VMs belong to accounts"),
    ],
)
def test_a_filter_that_is_not_there_is_refused(
    world: World, command: str, sent: dict[str, str], words: str
) -> None:
    with pytest.raises(CloudError, match=words):
        world.call(command, "admin", **sent)


def test_a_template_of_two_zones_is_listed_once_for_who_asks(world: World) -> None:
    zone = tables.Zone(name="z2", dns1="9.9.9.9", internal_dns1="9.9.9.9")
    world.add(zone)
    first = world.get(tables.Template, world.ids["template"])
    copy = tables.Template(
        account_id=first.account_id, domain_id=first.domain_id, zone_id=zone.id, name="t", display_text="t",
        url="", state=TemplateState.ready, home_id=first.id, is_builtin=True,
    )  # fmt: skip
    world.add(copy)

    def count(**more: str) -> int:
        return int(world.call("listTemplates", "admin", templatefilter="all", **more).get("count", 0))

    before = count()
    assert count(showunique="true") == before - 1
    assert count(showunique="true", zoneid=zone.id) == count(zoneid=zone.id) == 1
    assert count(templatetype="user") + count(templatetype="BUILTIN") == before
    assert count(templatetype="BUILTIN", zoneid=zone.id) == 1
    assert count(templatetype="ROUTING") == 0


@pytest.mark.parametrize("command", ["listDiskOfferings", "listServiceOfferings"])
def test_offerings_by_the_kind_of_their_storage(world: World, command: str) -> None:
    everything = world.call(command, "admin")["count"]
    found = [world.call(command, "admin", storagetype=kind).get("count", 0) for kind in ("local", "shared")]
    assert sum(found) == everything
    assert found[0]


def test_a_router_that_is_off_has_failed_no_check(world: World, names: Names) -> None:
    with world.context.database.writing() as session:
        session.query(tables.Vm).filter_by(kind=VmKind.router).one().state = VmState.stopped
    sick = world.call("listRouters", "admin", listall="true", healthchecksfailed="true")
    assert sick == {}
