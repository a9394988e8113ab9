"""Hosts are chosen on PostgreSQL as on SQLite: its types are stricter, and its integers shorter."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event

from mgmt.alloc.affinity import APART, TOGETHER
from mgmt.alloc.hosts import candidates, place
from mgmt.alloc.pools import Wish
from mgmt.alloc.room import Demand
from mgmt.model.configuration import Scope
from mgmt.model.configuration.items import PLANNERS
from mgmt.model.errors import NoCapacity
from mgmt.ops import names
from mgmt.store.tables import (
    AffinityGroup,
    AffinityMember,
    ConfigurationValue,
    Dedication,
    Domain,
    Host,
    Nic,
    Vm,
)
from tests.postgres import postgres
from tests.unit.mgmt.small_cloud import SmallCloud, make_cloud

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallCloud]:
    """A cloud whose second host has a tag, and is dedicated to a domain."""
    with postgres() as url:
        made = make_cloud(tmp_path_factory.mktemp("cloud"), url=url)
        try:
            add_second_host(made)
            yield made
        finally:
            made.runtime.database.close()


def add_second_host(cloud: SmallCloud) -> None:
    first = cloud.row(Host, cloud.host_id)
    place_of = {"zone_id": first.zone_id, "pod_id": first.pod_id, "cluster_id": first.cluster_id}
    ports = {"port": 1, "tunnel_port": 2, "relay_port": 3}
    sizes = {"cpus": 4, "memory_mib": 4608}
    second = cloud.add(
        Host(**place_of, **ports, **sizes, name="host2", address="172.31.240.2", state="Up", tags=["ssd"])
    )
    domain = cloud.add(Domain(name="a", path="/a/", parent_id=cloud.domain_id))
    cloud.add(Dedication(resource_type="Host", resource_id=second.id, domain_id=domain.id))


def chosen(cloud: SmallCloud, memory: int = 128, tags: tuple[str, ...] = (), owner: str | None = None) -> str:
    tenant = {"account_id": cloud.account_id, "domain_id": owner} if owner else {}
    demand = Demand(cloud.zone_id, 1, memory, tags=tags, **tenant)  # type: ignore[arg-type]
    with cloud.runtime.database.reading() as session:
        return place(session, demand).name


@pytest.mark.parametrize("planner", PLANNERS)
def test_every_planner_finds_the_only_host_that_fits(cloud: SmallCloud, planner: str) -> None:
    setting = ConfigurationValue(
        scope=Scope.zone, scope_id=cloud.zone_id, name="vm.allocation.algorithm", value=planner
    )
    with cloud.runtime.database.writing() as session:
        session.merge(setting)
    assert chosen(cloud, memory=8192) == "host1"
    assert chosen(cloud, tags=("ssd",)) == "host2"
    assert chosen(cloud, owner=cloud.domain_id) == "host1"
    with pytest.raises(NoCapacity, match=r"host2 is dedicated to somebody else"):
        chosen(cloud, tags=("ssd",), owner=cloud.domain_id)


def test_a_host_is_looked_at_only_if_none_before_it_fits(cloud: SmallCloud) -> None:
    """PostgreSQL would rather join hosts with all they need, and sort them all, as long as it may."""
    wishes = frozenset({Wish(), Wish("local")})
    demand = Demand(
        cloud.zone_id, 1, 128, storage=wishes, account_id=cloud.account_id, domain_id=cloud.domain_id
    )
    asked: list[tuple[str, Any]] = []
    with cloud.runtime.database.reading() as session:
        engine = session.get_bind().engine
        event.listen(engine, "before_cursor_execute", lambda *details: asked.append((details[2], details[3])))
        place(session, demand)
        statement, values = asked[1]  # the first is about the configuration
        plans = (
            session.connection().exec_driver_sql(f"explain (format json) {statement}", values).scalar_one()
        )
    node = plans[0]["Plan"]
    while below := [
        each for each in node.get("Plans", []) if each["Parent Relationship"] in ("Outer", "Inner")
    ]:
        (node,) = below
    assert node["Relation Name"] == "host"


def test_a_vm_lives_with_its_group(cloud: SmallCloud) -> None:
    cloud.run(names.ENSURE_SYSTEM_VMS, zone_id=cloud.zone_id)
    network = cloud.new_network()
    vms = [cloud.new_vm(network, name) for name in ("one", "two")]
    owner = {"account_id": cloud.account_id, "domain_id": cloud.domain_id}
    group = cloud.add(AffinityGroup(**owner, name="g", type=TOGETHER))
    cloud.add(*(AffinityMember(group_id=group.id, vm_id=vm.id) for vm in vms))
    for vm in vms:
        cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    assert {cloud.row(Vm, vm.id).host_id for vm in vms} == {cloud.host_id}
    with cloud.runtime.database.writing() as session:
        session.get_one(AffinityGroup, group.id).type = APART
    cloud.run(names.STOP_VM, vm_id=vms[1].id)
    with cloud.runtime.database.reading() as session:
        found = candidates(session, Demand(cloud.zone_id, 1, 128, beside=cloud.host_id))
        assert [(host.name, fits) for host, fits in found] == [("host2", True)]
    assert sorted(str(nic.address) for nic in cloud.rows(Nic) if nic.vm_id in {vm.id for vm in vms}) == [
        "10.1.1.2",
        "10.1.1.3",
    ]
