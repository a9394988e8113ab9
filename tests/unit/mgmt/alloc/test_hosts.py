"""Which host a VM gets: planners, tags, dedication, affinity, overcommitment; and what is said when none."""

from typing import Any

import pytest
from sqlalchemy import event

from mgmt.alloc.affinity import APART, SOFT_APART, SOFT_TOGETHER, TOGETHER, Affinity, affinity_of
from mgmt.alloc.hosts import place
from mgmt.alloc.room import Demand
from mgmt.model.configuration import Scope
from mgmt.model.configuration.items import PLANNERS
from mgmt.model.errors import NoCapacity
from mgmt.model.states import VmState
from mgmt.ops.compute.placement import place_vm
from mgmt.store.tables import (
    Account,
    AffinityGroup,
    AffinityMember,
    Cluster,
    ConfigurationValue,
    Dedication,
    Domain,
    Host,
    Network,
    Pod,
    ServiceOffering,
    StoragePool,
    Vm,
)
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit


def add_hosts(cloud: SmallCloud, **hosts: dict[str, Any]) -> dict[str, str]:
    """Hosts by name, besides host1; their ids."""
    first = cloud.row(Host, cloud.host_id)
    ids = {"host1": cloud.host_id}
    for name, more in hosts.items():
        columns = {"cpus": 4, "memory_mib": 4608, "state": "Up", "pod_id": first.pod_id, **more}
        row = Host(
            zone_id=first.zone_id,
            cluster_id=first.cluster_id,
            name=name,
            driver="simulator",
            address=name,
            port=1,
            tunnel_port=2,
            relay_port=3,
            **columns,
        )
        ids[name] = cloud.add(row).id
    return ids


def change(cloud: SmallCloud, table: type[Any], row_id: str, **columns: Any) -> None:
    with cloud.runtime.database.writing() as session:
        for name, value in columns.items():
            setattr(session.get_one(table, row_id), name, value)


def vm_on(cloud: SmallCloud, host_id: str | None, name: str, **columns: Any) -> Vm:
    """A VM on a host, or a stopped one."""
    network = next(iter(cloud.rows(Network)), None) or cloud.new_network()
    vm = cloud.new_vm(network, name)
    state = VmState.running if host_id else VmState.stopped
    change(cloud, Vm, vm.id, host_id=host_id, state=state, **columns)
    return cloud.row(Vm, vm.id)  # type: ignore[no-any-return]


def configure(cloud: SmallCloud, name: str, value: str, scope: str = Scope.everywhere, at: str = "") -> None:
    cloud.add(ConfigurationValue(scope=scope, scope_id=at, name=name, value=value))


def chosen(cloud: SmallCloud, **demand: Any) -> str:
    wanted = Demand(**{"zone_id": cloud.zone_id, "cpus": 1, "memory": 128, **demand})
    with cloud.runtime.database.reading() as session:
        return place(session, wanted).name


def refusal(cloud: SmallCloud, **demand: Any) -> str:
    with pytest.raises(NoCapacity) as refused:
        chosen(cloud, **demand)
    assert refused.value.code == 533
    return refused.value.text


def test_first_fit_goes_by_age_and_what_is_free(bare_cloud: SmallCloud) -> None:
    change(bare_cloud, Host, bare_cloud.host_id, memory_mib=1024)
    add_hosts(bare_cloud, host2={}, host3={"memory_mib": 99999})
    assert chosen(bare_cloud) == "host1"
    assert chosen(bare_cloud, memory=513) == "host2"
    assert chosen(bare_cloud, memory=4097) == "host3"


def test_the_sentence_says_what_is_wanted_what_is_there_and_who_lacks_what(bare_cloud: SmallCloud) -> None:
    change(bare_cloud, Host, bare_cloud.host_id, memory_mib=2560, cpus=1)
    add_hosts(bare_cloud, host2={"memory_mib": 3072}, host3={"state": "Down", "memory_mib": 99999})
    assert refusal(bare_cloud, memory=4096) == (
        "no host with 4 GB free in zone zone1: 3 hosts, largest free 2.5 GB on host2;"
        " host1 has 2 GB of 2 GB free, host2 has 2.5 GB of 2.5 GB free, host3 is Down"
    )
    assert "no host with 33 free virtual CPUs in zone zone1: 3 hosts, most free 32 on host2" in refusal(
        bare_cloud, cpus=33
    )
    change(bare_cloud, Host, bare_cloud.host_id, memory_mib=9999)
    assert "no host with 4 GB and 9 virtual CPUs free together" in refusal(bare_cloud, cpus=9, memory=4096)
    tied = refusal(bare_cloud, cpus=9, host_id=bare_cloud.host_id)
    assert "1 host, to which its disks or its owner tie it" in tied


@pytest.mark.parametrize(
    ("table", "columns", "words"),
    [
        (Host, {"resource_state": "Maintenance"}, "host1 is Maintenance"),
        (Cluster, {"allocation": "Disabled"}, "host1 is in cluster cluster1, which is disabled"),
        (Pod, {"allocation": "Disabled"}, "host1 is in pod pod1, which is disabled"),
    ],
)
def test_what_is_closed_takes_nothing(
    bare_cloud: SmallCloud, table: type[Any], columns: dict[str, str], words: str
) -> None:
    (row,) = bare_cloud.rows(table)
    change(bare_cloud, table, row.id, **columns)
    assert refusal(bare_cloud) == f"no host for the VM in zone zone1: 1 host; {words}"


def test_many_hosts_are_counted_not_listed(bare_cloud: SmallCloud) -> None:
    add_hosts(bare_cloud, **{f"host{number}": {} for number in range(2, 9)})
    assert refusal(bare_cloud, memory=2**20).endswith("host5 has 4 GB of 4 GB free and 3 more")


def test_a_cluster_may_be_overcommitted(bare_cloud: SmallCloud) -> None:
    change(bare_cloud, Host, bare_cloud.host_id, memory_mib=2048, cpus=1)
    (cluster,) = bare_cloud.rows(Cluster)
    assert "largest free 1.5 GB" in refusal(bare_cloud, memory=2048)
    configure(bare_cloud, "mem.overprovisioning.factor", "2.0", Scope.cluster, cluster.id)
    assert chosen(bare_cloud, memory=2048) == "host1"
    assert "most free 8" in refusal(bare_cloud, cpus=10)
    configure(bare_cloud, "cpu.overprovisioning.factor", "12", Scope.zone, bare_cloud.zone_id)
    assert chosen(bare_cloud, cpus=10) == "host1"
    configure(bare_cloud, "cpu.overprovisioning.factor", "9", Scope.cluster, cluster.id)
    assert "most free 9" in refusal(bare_cloud, cpus=10)
    configure(bare_cloud, "host.reserved.mem.mb", "4000", Scope.cluster, "another")
    assert chosen(bare_cloud) == "host1"


def test_a_vm_with_a_size_of_its_own_takes_that(bare_cloud: SmallCloud) -> None:
    change(bare_cloud, Host, bare_cloud.host_id, memory_mib=2560)
    vm_on(bare_cloud, bare_cloud.host_id, "big", memory=1948, cpus=3)
    assert "largest free 100 MB" in refusal(bare_cloud)


def test_offerings_ask_for_host_tags(bare_cloud: SmallCloud) -> None:
    add_hosts(bare_cloud, host2={"tags": ["ssd", "größe"]}, host3={"tags": ["ssd_"]})
    assert chosen(bare_cloud, tags=("ssd",)) == "host2"
    assert chosen(bare_cloud, tags=("ssd", "größe")) == "host2"
    assert "host1 lacks the offering's host tags gpu" in refusal(bare_cloud, tags=("gpu",))


def test_dedicated_hosts_are_for_their_owner_and_the_domains_below(bare_cloud: SmallCloud) -> None:
    ids = add_hosts(bare_cloud, host2={})
    change(bare_cloud, Host, bare_cloud.host_id, state="Down")
    domain = bare_cloud.add(Domain(name="a", path="/a/", parent_id=bare_cloud.domain_id))
    below = bare_cloud.add(Domain(name="b", path="/a/b/", parent_id=domain.id))
    beside = bare_cloud.add(Domain(name="ab", path="/ab/", parent_id=bare_cloud.domain_id))
    account = bare_cloud.add(Account(name="t", domain_id=below.id))
    bare_cloud.add(Dedication(resource_type="Host", resource_id=ids["host2"], domain_id=domain.id))
    assert chosen(bare_cloud, account_id=account.id, domain_id=below.id) == "host2"
    for other in (beside.id, bare_cloud.domain_id):
        assert "host2 is dedicated to somebody else" in refusal(
            bare_cloud, account_id=bare_cloud.account_id, domain_id=other
        )
    assert chosen(bare_cloud) == "host2", "system VMs run anywhere"


@pytest.mark.parametrize(
    ("planner", "expected"),
    [
        ("firstfit", {"host1"}),
        ("firstfitleastconsumed", {"host3"}),
        ("random", {"host1", "host2", "host3"}),
        ("userdispersing", {"host2"}),
        ("userconcentratedpod_firstfit", {"host1"}),
        ("userconcentratedpod_random", {"host1", "host2"}),
    ],
)
def test_planners(bare_cloud: SmallCloud, planner: str, expected: set[str]) -> None:
    assert planner in PLANNERS
    first = bare_cloud.row(Host, bare_cloud.host_id)
    pod = bare_cloud.add(
        Pod(zone_id=first.zone_id, name="p2", gateway="g", netmask="m", start_ip="1", end_ip="2")
    )
    ids = add_hosts(bare_cloud, host2={}, host3={"memory_mib": 99999, "pod_id": pod.id})
    for number, host in enumerate(("host1", "host1", "host3")):
        vm_on(bare_cloud, ids[host], f"vm{number}")
    owner = {"account_id": bare_cloud.account_id, "domain_id": bare_cloud.domain_id}
    configure(bare_cloud, "vm.allocation.algorithm", planner)
    seen = {chosen(bare_cloud, **owner) for _ in range(40 if len(expected) > 1 else 1)}
    assert seen == expected


def test_a_vm_is_placed_by_its_offering_and_its_groups(bare_cloud: SmallCloud) -> None:
    ids = add_hosts(bare_cloud, **{name: {"tags": ["ssd"]} for name in ("host2", "host3", "host4")})
    for name in ("host2", "host4"):
        pool = StoragePool(zone_id=bare_cloud.zone_id, host_id=ids[name], name="p", path="p", capacity=2**40)
        bare_cloud.add(pool)
    other, mine = vm_on(bare_cloud, ids["host2"], "other"), vm_on(bare_cloud, None, "mine")
    change(bare_cloud, ServiceOffering, mine.offering_id, host_tags=["ssd"])
    grouped(bare_cloud, APART, other, mine)
    assert place_vm(bare_cloud.runtime, mine.id)["host"] == "host4"
    with pytest.raises(NoCapacity, match="host3 has no local storage pool that is Up"):
        place_vm(bare_cloud.runtime, vm_on(bare_cloud, None, "third").id, ids["host3"])


GROUPS = [
    # type, where the other member runs, where it ran (stopped now), expected
    (TOGETHER, "host2", None, "host2"),
    (APART, "host1", None, "host2"),
    (SOFT_TOGETHER, "host2", None, "host2"),
    (SOFT_APART, "host1", None, "host2"),
    (TOGETHER, None, "host2", "host2"),
    (APART, None, "host1", "host2"),
    (SOFT_TOGETHER, None, None, "host1"),
]


@pytest.mark.parametrize(("kind", "on", "was_on", "expected"), GROUPS)
def test_affinity(
    bare_cloud: SmallCloud, kind: str, on: str | None, was_on: str | None, expected: str
) -> None:
    ids = add_hosts(bare_cloud, host2={})
    other = vm_on(bare_cloud, ids.get(on or ""), "other", last_host_id=ids.get(was_on or ""))
    mine = vm_on(bare_cloud, None, "mine")
    affinity = grouped(bare_cloud, kind, other, mine)
    assert chosen(bare_cloud, affinity=affinity) == expected
    if on:  # strict groups refuse the other host, the others do not
        change(bare_cloud, Host, ids[expected], state="Down")
        if kind in (SOFT_TOGETHER, SOFT_APART):
            assert chosen(bare_cloud, affinity=affinity) != expected
        else:
            assert "affinity group" in refusal(bare_cloud, affinity=affinity)


def grouped(cloud: SmallCloud, kind: str, *vms: Vm) -> Affinity:
    group = cloud.add(
        AffinityGroup(account_id=cloud.account_id, domain_id=cloud.domain_id, name=kind, type=kind)
    )
    cloud.add(*(AffinityMember(group_id=group.id, vm_id=vm.id) for vm in vms))
    with cloud.runtime.database.reading() as session:
        return affinity_of(session, vms[-1].id)


def test_the_number_of_statements_does_not_grow(bare_cloud: SmallCloud) -> None:
    ids = add_hosts(bare_cloud, **{f"host{number:02}": {"memory_mib": 1} for number in range(2, 30)})
    vms = [vm_on(bare_cloud, ids[f"host{number:02}"], f"vm{number}") for number in range(2, 12)]
    affinity = grouped(bare_cloud, APART, *vms)
    statements: list[str] = []
    for engine in bare_cloud.runtime.database.engines:
        event.listen(
            engine,
            "before_cursor_execute",
            lambda *details: statements.append(details[2]) if details[2].startswith("SELECT") else None,
        )
    assert chosen(bare_cloud, affinity=affinity) == "host1"
    assert len(statements) == 2, "the hosts, and the configuration"
    assert "29 hosts" in refusal(bare_cloud, affinity=affinity, memory=2**20)
    assert len(statements) == 2 + 4


def test_a_vm_stays_within_a_pod_or_cluster_that_was_asked_for(bare_cloud: SmallCloud) -> None:
    first = bare_cloud.row(Host, bare_cloud.host_id)
    pod = bare_cloud.row(Pod, first.pod_id)
    place_of = {key: getattr(pod, key) for key in ("zone_id", "gateway", "netmask", "start_ip", "end_ip")}
    second = bare_cloud.add(Pod(**place_of, name="pod2"))
    add_hosts(bare_cloud, host2={"pod_id": second.id})
    assert chosen(bare_cloud, within=first.pod_id) == "host1"
    assert chosen(bare_cloud, within=second.id) == "host2"
    assert chosen(bare_cloud, within=first.cluster_id) == "host1"
    words = "host1 is not in the pod or cluster that was asked for"
    assert words in refusal(bare_cloud, within=second.id, memory=9999)
