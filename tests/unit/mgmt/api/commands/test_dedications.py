"""Resources for one domain or account alone, and what placement makes of them."""

from typing import Any

import pytest

from mgmt.alloc.addresses import claim
from mgmt.alloc.hosts import place
from mgmt.alloc.room import Demand
from mgmt.model.errors import CloudError, NoCapacity
from mgmt.model.states import AccountType
from mgmt.store.tables import (
    Account,
    Cluster,
    Dedication,
    Domain,
    Host,
    Network,
    PhysicalNetwork,
    Pod,
    Project,
    PublicAddress,
    Vm,
)
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit
KINDS = ("zone", "pod", "cluster", "host")


@pytest.fixture
def ids(world: World) -> dict[str, str]:
    """A host in a cluster in a pod, and a domain below ROOT."""
    zone = world.ids["zone"]
    net = {"gateway": "172.20.0.1", "netmask": "255.255.255.0"}
    pod = Pod(zone_id=zone, name="p", start_ip="172.20.0.10", end_ip="172.20.0.19", **net)  # type: ignore[arg-type]
    world.add(pod)
    cluster = Cluster(zone_id=zone, pod_id=pod.id, name="c")
    world.add(cluster)
    host = Host(
        zone_id=zone,
        pod_id=pod.id,
        cluster_id=cluster.id,
        name="h",
        address="172.20.0.2",
        port=1,
        tunnel_port=2,
        relay_port=3,
        cpus=4,
        memory_mib=8192,
        state="Up",
    )
    domain = Domain(name="d", path="/d/", parent_id=world.callers["alice"].domain.id)
    world.add(host, domain)
    return {"zone": zone, "pod": pod.id, "cluster": cluster.id, "host": host.id, "domain": domain.id}


def dedicate(world: World, ids: dict[str, str], kind: str, **more: Any) -> dict[str, Any]:
    root = world.callers["alice"].domain.id
    sent = {f"{kind}id": ids[kind], "domainid": root} | more
    job = world.call(f"dedicate{kind.capitalize()}", "admin", **sent)
    result = world.call("queryAsyncJobResult", "admin", jobid=job["jobid"])["jobresult"]
    made: dict[str, Any] = result[f"dedicated{kind}"]
    return made


def fits(world: World, caller: str) -> bool:
    who = world.callers[caller]
    demand = Demand(world.ids["zone"], 1, 128, account_id=who.account.id, domain_id=who.domain.id)
    with world.context.database.reading() as session:
        try:
            return place(session, demand).name == "h"
        except NoCapacity:
            return False


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_dedicated_is_its_owners_alone(world: World, ids: dict[str, str], kind: str) -> None:
    made = dedicate(world, ids, kind, account="alice")
    assert (made[f"{kind}id"], made["accountid"]) == (ids[kind], world.callers["alice"].account.id)
    of_root = world.call("listZones", "admin", domainid=world.callers["alice"].domain.id)
    assert of_root.get("count", 0) == (kind == "zone")
    assert made[f"{kind}name"]
    assert (fits(world, "alice"), fits(world, "bob")) == (True, False)
    listing = f"listDedicated{kind.capitalize()}s"
    assert world.call(listing, "admin", account="alice")[f"dedicated{kind}"] == [made]
    assert world.call(listing, "admin", **{f"{kind}id": ids[kind]})["count"] == 1
    assert world.call(listing, "admin", account="bob") == {}
    for other in {*KINDS} - {kind}:
        assert world.call(f"listDedicated{other.capitalize()}s", "admin") == {}
    world.call(f"releaseDedicated{kind.capitalize()}", "admin", **{f"{kind}id": ids[kind]})
    assert (fits(world, "bob"), world.call(listing, "admin")) == (True, {})
    assert world.get(Dedication, made["id"]).removed is not None


def test_a_domains_resource_serves_the_domains_below(world: World, ids: dict[str, str]) -> None:
    dedicate(world, ids, "cluster")
    assert fits(world, "bob")
    world.call("releaseDedicatedCluster", "admin", clusterid=ids["cluster"])
    dedicate(world, ids, "cluster", domainid=ids["domain"])
    assert not fits(world, "bob")


@pytest.mark.parametrize(
    ("kind", "more", "words"),
    [
        ("host", {"account": "alice"}, "dedicated already"),
        ("cluster", {"account": "bob"}, "is dedicated to somebody else"),
        ("zone", {"account": "bob"}, "is dedicated to somebody else"),
        ("pod", {"account": "nobody"}, "the name of an account in domain ROOT"),
    ],
)
def test_two_owners_cannot_be(
    world: World, ids: dict[str, str], kind: str, more: dict[str, str], words: str
) -> None:
    dedicate(world, ids, "host", account="alice")
    with pytest.raises(CloudError, match=words):
        dedicate(world, ids, kind, **more)


def test_strangers_must_move_first(world: World, ids: dict[str, str]) -> None:
    vm = world.vm(world.network())
    with world.context.database.writing() as session:
        session.get_one(Vm, vm.id).host_id = ids["host"]
    with pytest.raises(CloudError, match="has VM web, not of account bob of domain ROOT"):
        dedicate(world, ids, "pod", account="bob")
    assert dedicate(world, ids, "pod", account="alice")["podid"] == ids["pod"]
    with pytest.raises(CloudError, match="is not dedicated"):
        world.call("releaseDedicatedHost", "admin", hostid=ids["host"])


def take(world: World, network: Network, wanted: str | None = None) -> str:
    with world.context.database.writing() as session:
        return claim(session, network=session.get_one(Network, network.id), address=wanted).address


def test_a_dedicated_range_is_its_owners_alone(world: World) -> None:
    range_id, root = world.ids["range"], world.callers["alice"].domain.id
    hers, his = world.network(), world.network("bob", "his")
    with pytest.raises(CloudError, match="is somebody else's"):
        world.call("dedicatePublicIpRange", "admin", id=range_id, domainid=root, account="alice")
    for name in ("his-source", "his-extra"):
        with world.context.database.writing() as session:
            address = session.get_one(PublicAddress, world.ids[name])
            address.account_id = world.callers["alice"].account.id
    made = world.call("dedicatePublicIpRange", "admin", id=range_id, domainid=root, account="alice")["vlan"]
    assert (made["account"], made["domain"]) == ("alice", "ROOT")
    with pytest.raises(NoCapacity):
        take(world, his)
    with pytest.raises(CloudError, match="is not free"):
        take(world, his, "198.51.100.200")
    assert take(world, hers) == "198.51.100.200"
    with pytest.raises(CloudError, match="dedicated already"):
        world.call("dedicatePublicIpRange", "admin", id=range_id, domainid=root)
    world.call("releasePublicIpRange", "admin", id=range_id)
    assert take(world, his) == "198.51.100.201"
    with pytest.raises(CloudError, match="not dedicated"):
        world.call("releasePublicIpRange", "admin", id=range_id)


def test_a_range_is_made_for_an_account_or_a_project(world: World) -> None:
    root = world.callers["alice"].domain.id
    physical = PhysicalNetwork(zone_id=world.ids["zone"], name="p1")
    own = Account(name="of-a-project", domain_id=root, type=AccountType.project)
    world.add(physical, own)
    project = Project(name="pr", domain_id=root, account_id=own.id)
    world.add(project)
    net = {"gateway": "192.0.2.1", "netmask": "255.255.255.0", "physicalnetworkid": physical.id}
    hers = {"startip": "192.0.2.10", "endip": "192.0.2.11"} | net
    shared = {"startip": "192.0.2.20", "endip": "192.0.2.21", "projectid": project.id} | net
    with pytest.raises(CloudError, match="Send domainid with account alice"):
        world.call("createVlanIpRange", "admin", account="alice", **hers)
    with pytest.raises(CloudError, match="parameter account: expected the name of an account in domain ROOT"):
        world.call("createVlanIpRange", "admin", account="eve", domainid=root, **hers)
    made = world.call("createVlanIpRange", "admin", account="alice", domainid=root, **hers)["vlan"]
    assert (made["account"], made["domainid"]) == ("alice", root)
    with pytest.raises(CloudError, match="not both"):
        world.call("createVlanIpRange", "admin", account="alice", **shared)
    given = world.call("createVlanIpRange", "admin", **shared)["vlan"]
    assert (given["project"], given["projectid"]) == ("pr", project.id)
    for wanted, there in (({"account": "alice"}, made), ({"projectid": project.id}, given)):
        assert world.call("listVlanIpRanges", "admin", **wanted)["vlaniprange"] == [there]
    assert world.call("listVlanIpRanges", "admin", domainid=root)["count"] == 2
