"""Thresholds and overprovisioning of pools and hosts, where they are configured."""

import pytest
from sqlalchemy import select

from mgmt.alloc.hosts import Demand, place
from mgmt.alloc.pools import Wish, place_volume
from mgmt.model.configuration import (
    CLUSTER_CPU_LIMIT,
    CLUSTER_MEMORY_LIMIT,
    POOL_ALLOCATED_LIMIT,
    POOL_USED_LIMIT,
    STORAGE_OVERPROVISIONING,
    Item,
    Scope,
)
from mgmt.model.errors import NoCapacity
from mgmt.ops.compute.placement import place_vm
from mgmt.store.configured import EVERYWHERE, Place, set_value
from mgmt.store.tables import Cluster, ServiceOffering, StoragePool
from tests.unit.mgmt.small_cloud import SmallCloud, add_host

pytestmark = pytest.mark.unit
GIB = 1024**3


def configure(cloud: SmallCloud, item: Item[float], value: float, place: Place = EVERYWHERE) -> None:
    with cloud.runtime.database.writing() as session:
        set_value(session, item, place, value)


def why_no_volume(cloud: SmallCloud, size: int) -> str:
    """Why no pool takes a volume; empty if one does."""
    with cloud.runtime.database.reading() as session:
        try:
            place_volume(session, cloud.host_id, size)
        except NoCapacity as error:
            return error.text
    return ""


def test_a_pool_promises_what_is_configured(bare_cloud: SmallCloud) -> None:
    assert "has promised 0.0 of 2000.0 GiB" in why_no_volume(bare_cloud, 2001 * GIB)
    configure(bare_cloud, STORAGE_OVERPROVISIONING, 4)
    assert why_no_volume(bare_cloud, 4000 * GIB) == ""
    configure(bare_cloud, STORAGE_OVERPROVISIONING, 1, (Scope.pool, bare_cloud.pool_id))
    assert "0.0 of 1000.0 GiB" in why_no_volume(bare_cloud, 1001 * GIB)
    configure(bare_cloud, POOL_ALLOCATED_LIMIT, 0.5, (Scope.zone, bare_cloud.zone_id))
    assert "0.0 of 500.0 GiB" in why_no_volume(bare_cloud, 501 * GIB)


def test_a_full_pool_takes_nothing(bare_cloud: SmallCloud) -> None:
    with bare_cloud.runtime.database.writing() as session:
        session.get_one(StoragePool, bare_cloud.pool_id).used = 960 * GIB
    assert "pool primary is fuller than 95%" in why_no_volume(bare_cloud, GIB)
    configure(bare_cloud, POOL_USED_LIMIT, 0.99)
    assert why_no_volume(bare_cloud, GIB) == ""


@pytest.mark.parametrize(
    ("item", "cpus", "memory"),
    [(CLUSTER_CPU_LIMIT, 100, 128), (CLUSTER_MEMORY_LIMIT, 1, 60000)],
    ids=["cpu", "memory"],
)
def test_a_cluster_keeps_a_share_free(
    bare_cloud: SmallCloud, item: Item[float], cpus: int, memory: int
) -> None:
    demand = Demand(bare_cloud.zone_id, cpus, memory)
    with bare_cloud.runtime.database.reading() as session:
        assert place(session, demand).name == "host1"
    (cluster,) = bare_cloud.rows(Cluster)
    configure(bare_cloud, item, 0.7, (Scope.cluster, cluster.id))
    with bare_cloud.runtime.database.reading() as session, pytest.raises(NoCapacity, match="host1"):
        place(session, demand)


def test_a_volume_goes_to_a_pool_with_its_offerings_tags(bare_cloud: SmallCloud) -> None:
    other = add_host(bare_cloud)
    vm = bare_cloud.new_vm(bare_cloud.new_network())
    with bare_cloud.runtime.database.writing() as session:
        session.get_one(ServiceOffering, vm.offering_id).storage_tags = ["fast", "safe"]
        session.get_one(StoragePool, bare_cloud.pool_id).tags = ["fast"]
    words = "host1 has no local storage pool with tags fast, safe that is Up"
    with pytest.raises(NoCapacity, match=words):
        place_vm(bare_cloud.runtime, vm.id)
    with pytest.raises(NoCapacity, match="pool primary lacks the offering's storage tags safe"):
        _place(bare_cloud, bare_cloud.host_id, ("fast", "safe"))
    with bare_cloud.runtime.database.writing() as session:
        pool = session.scalars(select(StoragePool).where(StoragePool.host_id == other)).one()
        pool.tags = ["safe", "fast", "more"]
    assert place_vm(bare_cloud.runtime, vm.id)["host"] == "host2"
    assert _place(bare_cloud, bare_cloud.host_id, ()) == bare_cloud.pool_id, "others may use it too"


def _place(cloud: SmallCloud, host_id: str, tags: tuple[str, ...]) -> str:
    with cloud.runtime.database.reading() as session:
        return place_volume(session, host_id, GIB, Wish(tags=tags)).id
