"""Volumes grow, are renamed, and are found by where they are."""

from typing import Any

import pytest

from mgmt.model.errors import LimitReached, ParameterError, PermissionDenied
from mgmt.store import tables
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit
GIB = 1 << 30


@pytest.fixture
def volume(world: World) -> str:
    sent = {"name": "d", "zoneid": world.ids["zone"], "diskofferingid": world.ids["disk_offering"]}
    made: str = world.call("createVolume", **sent, size=2)["id"]
    return made


def new_offering(world: World, gib: int) -> str:
    made: str = world.call(
        "createDiskOffering", "admin", name=f"{gib}", displaytext=f"{gib} GiB", disksize=gib
    )["diskoffering"]["id"]
    return made


def change(world: World, table: type[Any], row: str, **columns: Any) -> None:
    with world.context.database.writing() as session:
        for name, value in columns.items():
            setattr(session.get_one(table, row), name, value)


def test_a_volume_grows_by_its_size_or_by_another_offering(world: World, volume: str) -> None:
    world.call("resizeVolume", id=volume, size=3)
    job = world.last_job()
    assert (job.workflow, job.arguments) == (
        "resize_volume", {"volume_id": volume, "size": 3 * GIB, "offering_id": None},
    )  # fmt: skip
    offering = new_offering(world, 5)
    world.call("resizeVolume", id=volume, diskofferingid=offering)
    assert world.last_job().arguments == {"volume_id": volume, "size": 5 * GIB, "offering_id": offering}


def test_what_does_not_grow(world: World, volume: str) -> None:
    small, large = new_offering(world, 1), new_offering(world, 5)
    vm = world.vm(world.network())
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"size": 1}, "cannot shrink to 1"),
        ({"size": 1, "shrinkok": True}, "cannot shrink to 1"),
        ({"size": 2}, "has 2 GiB already"),
        ({"size": 0}, "size"),
        ({"size": 9999999}, "size"),
        ({"size": "x"}, "size"),
        ({}, "Send size in GiB"),
        ({"diskofferingid": small}, "cannot shrink to 1"),
        ({"diskofferingid": large, "size": 6}, "5 fixes the size"),
        ({"diskofferingid": vm.id, "size": 6}, "diskofferingid"),
    )
    for sent, words in cases:
        with pytest.raises(ParameterError, match=words):
            world.call("resizeVolume", id=volume, **sent)
    for table, row, state, words in (
        (tables.Vm, vm.id, "Starting", "is Starting"),
        (tables.Volume, volume, "Destroy", "is Destroy"),
    ):
        change(world, tables.Volume, volume, vm_id=vm.id)
        change(world, table, row, state=state)
        with pytest.raises(ParameterError, match=words):
            world.call("resizeVolume", id=volume, size=3)
        change(world, table, row, state="Running")
    change(world, tables.Volume, volume, state="Ready", kind="ROOT")
    with pytest.raises(ParameterError, match="is a root disk; send size"):
        world.call("resizeVolume", id=volume, diskofferingid=large)
    world.call("resizeVolume", id=volume, size=4)
    change(world, tables.Vm, vm.id, kind="router")
    for command in ("resizeVolume", "updateVolume"):
        with pytest.raises(ParameterError, match="entity does not exist"):
            world.call(command, id=volume)


def test_growth_counts_and_belongs_to_its_owner(world: World, volume: str) -> None:
    with pytest.raises(PermissionDenied):
        world.call("resizeVolume", "bob", id=volume, size=3)
    with pytest.raises(PermissionDenied):
        world.call("updateVolume", "bob", id=volume, name="his")
    limit = {"resourcetype": 10, "max": 3, "account": "alice", "domainid": world.callers["alice"].domain.id}
    world.call("updateResourceLimit", "admin", **limit)
    with pytest.raises(LimitReached, match="primary_storage"):
        world.call("resizeVolume", id=volume, size=4)
    world.call("resizeVolume", id=volume, size=3)


def test_a_volume_gets_another_name(world: World, volume: str) -> None:
    answer = world.call("updateVolume", id=volume, name="better")
    job = world.call("queryAsyncJobResult", jobid=answer["jobid"])
    assert job["jobresult"]["volume"]["name"] == "better"


def test_volumes_by_where_and_what_they_are(world: World, volume: str) -> None:
    zone = world.ids["zone"]
    pod = tables.Pod(
        zone_id=zone,
        name="p",
        gateway="10.0.0.1",
        netmask="255.0.0.0",
        start_ip="10.0.0.2",
        end_ip="10.0.0.3",
    )
    world.add(pod)
    cluster = tables.Cluster(zone_id=zone, pod_id=pod.id, name="c")
    world.add(cluster)
    host = tables.Host(
        zone_id=zone, pod_id=pod.id, cluster_id=cluster.id, name="h", driver="simulator", address="10.0.0.9",
        port=1, tunnel_port=2, relay_port=3, cpus=1, memory_mib=1, state="Up",
    )  # fmt: skip
    world.add(host)
    pool = tables.StoragePool(zone_id=zone, host_id=host.id, name="s", path="s", capacity=GIB)
    world.add(pool)
    places = ({"podid": pod.id}, {"clusterid": cluster.id}, {"storageid": pool.id})
    for place in places:
        assert world.call("listVolumes", "admin", listall=True, **place) == {}
    change(world, tables.Volume, volume, pool_id=pool.id)
    kinds = (
        {"type": "DATADISK"},
        {"state": "Allocated"},
        {"ids": volume},
        {"keyword": "D"},
        {"zoneid": zone},
    )
    for sent in (*places, *kinds, {"diskofferingid": world.ids["disk_offering"]}):
        (row,) = world.call("listVolumes", "admin", listall=True, **sent)["volume"]
        assert row["id"] == volume, sent
    shared = {"pod_id": pod.id, "cluster_id": cluster.id, "scope": "CLUSTER", "path": "/mnt/s"}
    there = tables.StoragePool(zone_id=zone, name="shared", **shared)
    world.add(there)
    change(world, tables.Volume, volume, pool_id=there.id)
    for place in places[:2]:
        (row,) = world.call("listVolumes", "admin", listall=True, **place)["volume"]
        assert (row["storage"], row["storagetype"]) == ("shared", "shared")
    for sent in ({"type": "ROOT"}, {"state": "Ready"}, {"keyword": "x"}):
        assert world.call("listVolumes", **sent) == {}
