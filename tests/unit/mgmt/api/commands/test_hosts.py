"""Hosts and their storage, on the simulated hypervisor."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from mgmt.agents.errors import AgentUnreachable
from mgmt.api.testing import Api, Client, open_api
from mgmt.drivers.faults import Faults
from mgmt.drivers.simulator import Simulator
from mgmt.ops import names
from mgmt.ops.runtime import Runtime
from mgmt.pki.authority import Authority
from mgmt.store.tables import Account, Host, Job, ServiceOffering, Vm, Volume

pytestmark = pytest.mark.unit


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def api(tmp_path: Path, fresh_store: Path, faults: Faults) -> Iterator[Api]:
    with open_api(tmp_path, like=fresh_store) as opened:
        context = opened.context
        context.parts[Runtime] = Runtime(
            database=context.database,
            seal=context.seal,
            authority=Authority(tmp_path / "pki"),
            drivers={"simulator": Simulator(faults)},
        )
        yield opened


@pytest.fixture
def place(admin: Client) -> dict[str, str]:
    zone = admin.get("createZone", name="z", networktype="Advanced", dns1="9.9.9.9", internaldns1="9.9.9.9")
    zone_id = zone["zone"]["id"]
    net = {
        "gateway": "172.20.0.1",
        "netmask": "255.255.255.0",
        "startip": "172.20.0.10",
        "endip": "172.20.0.20",
    }
    pod_id = admin.get("createPod", name="p", zoneid=zone_id, **net)["pod"]["id"]
    where = {"zoneid": zone_id, "podid": pod_id}
    cluster = admin.get("addCluster", clustername="c", hypervisor="Simulator", **where)["cluster"][0]
    return {**where, "clusterid": cluster["id"]}


def add_host(admin: Client, place: dict[str, str], address: str = "172.20.0.2") -> dict[str, object]:
    answer = admin.get("addHost", hypervisor="Simulator", url=f"https://{address}:8445", **place)
    (host,) = answer["host"]
    return dict(host)


def test_a_host_is_what_its_agent_says(admin: Client, place: dict[str, str]) -> None:
    host = add_host(admin, place)
    assert (host["type"], host["state"], host["resourcestate"]) == ("Routing", "Up", "Enabled")
    assert (host["ipaddress"], host["hypervisor"]) == ("172.20.0.2", "Simulator")
    assert host["cpunumber"] == 16
    assert host["memorytotal"] == 65536 * 1024**2
    assert admin.get("listHosts", type="Routing")["host"] == [host]
    assert admin.get("listHosts", type="ConsoleProxy") == {}
    (event,) = admin.get("listEvents", type="HOST.ADD")["event"]
    assert event["resourceid"] == host["id"]
    again = admin("addHost", hypervisor="Simulator", url="https://172.20.0.2", **place)
    assert again.status == 431
    assert "is here already" in again.error


def test_an_agent_that_does_not_answer_is_named(admin: Client, place: dict[str, str], faults: Faults) -> None:
    faults.fail("info", AgentUnreachable("host", "no route to 172.20.0.2"))
    answer = admin("addHost", hypervisor="Simulator", url="https://172.20.0.2:8445", **place)
    assert (answer.status, admin.get("listHosts")) == (534, {})
    assert "172.20.0.2:8445" in answer.error
    assert "no route" in answer.error


def test_a_pool_is_one_of_the_hosts(admin: Client, place: dict[str, str]) -> None:
    host = add_host(admin, place)
    wanted = {"name": "s", "zoneid": place["zoneid"], "scope": "HOST", "hostid": host["id"]}
    unknown = admin("createStoragePool", url=f"file://{host['name']}/elsewhere", **wanted)
    assert unknown.status == 431
    assert "a pool that host" in unknown.error
    for url, kind in (
        ("nfs://h/x", "NetworkFilesystem"),
        ("RBD://user:secret@h/x", "RBD"),
        ("iscsi://h/iqn/0", "Iscsi"),
        ("clvm://h/vg", "CLVM"),
    ):
        refused = admin("createStoragePool", url=url, **wanted)
        assert (refused.status, f"no driver for {kind} storage" in refused.error) == (431, True)
        assert "secret" not in refused.error
    pool = admin.get("createStoragePool", url=f"file://{host['name']}/primary", **wanted)["storagepool"]
    assert pool["disksizetotal"] > 0
    assert pool["disksizeused"] == 0
    assert (pool["scope"], pool["state"], pool["ipaddress"]) == ("HOST", "Up", "172.20.0.2")
    assert admin.get("listStoragePools", hostid=host["id"])["storagepool"] == [pool]
    twice = admin("createStoragePool", url=f"file://{host['name']}/primary", **wanted)
    assert "is storage pool s already" in twice.error
    assert admin("deleteHost", id=host["id"]).status == 536
    admin.get("deleteStoragePool", id=pool["id"])
    admin.get("deleteHost", id=host["id"])
    assert admin.get("listHosts") == {}
    assert add_host(admin, place)["state"] == "Up", "a host can come back"


def test_a_shared_folder_is_checked_on_all_hosts_of_its_scope(
    api: Api, admin: Client, place: dict[str, str]
) -> None:
    wanted = {"name": "s", "url": "SharedMountPoint://localhost/mnt/s", "provider": "DefaultPrimary", **place}
    assert "addHost first" in admin("createStoragePool", **wanted).error
    hosts = [add_host(admin, place, address) for address in ("172.20.0.2", "172.20.0.3")]
    simulator = api.context.parts[Runtime].drivers["simulator"]
    simulator.hosts["172.20.0.3"].unmounted.add("/mnt/s")
    refused = admin("createStoragePool", **wanted)
    assert (refused.status, "cannot use /mnt/s as storage pool s" in refused.error) == (431, True)
    assert hosts[1]["name"] in refused.error
    simulator.hosts["172.20.0.3"].unmounted.clear()
    for wrong in (
        {"url": "SharedMountPoint://nas/mnt/s"},
        {"url": "SharedMountPoint://localhost/mnt/../etc"},
        {"url": "SharedMountPoint://localhost/mnt/a b"},
        {"scope": "HOST"},
        {"provider": "NetApp"},
        {"scope": "CLUSTER", "clusterid": None},
    ):
        assert admin("createStoragePool", **{**wanted, **wrong}).status == 431, wrong
    pool = admin.get("createStoragePool", tags="fast", **wanted)["storagepool"]
    shown = {key: pool[key] for key in ("type", "scope", "path", "clusterid", "tags", "state")}
    assert shown == {
        "type": "SharedMountPoint",
        "scope": "CLUSTER",
        "path": "/mnt/s",
        "clusterid": place["clusterid"],
        "tags": "fast",
        "state": "Up",
    }
    assert pool["disksizetotal"] > 0
    assert "ipaddress" not in pool
    assert "is storage pool s already" in admin("createStoragePool", **wanted).error
    for host in hosts:
        assert admin.get("listStoragePools", hostid=host["id"])["storagepool"] == [pool]
        admin.get("deleteHost", id=host["id"])
    admin.get("deleteStoragePool", id=pool["id"])
    assert simulator.folders["/mnt/s"].pool == pool["id"], "nobody was there to be told"


def test_a_zone_shares_a_folder_until_it_is_given_up(api: Api, admin: Client, place: dict[str, str]) -> None:
    add_host(admin, place)
    wanted = {"name": "z", "zoneid": place["zoneid"], "scope": "zone", "hypervisor": "Simulator"}
    url = "SharedMountPoint://localhost/mnt/z"
    pool = admin.get("createStoragePool", url=url, **wanted)["storagepool"]
    assert (pool["scope"], "clusterid" in pool) == ("ZONE", False)
    admin.get("deleteStoragePool", id=pool["id"], forced=True)
    folder = api.context.parts[Runtime].drivers["simulator"].folders["/mnt/z"]
    assert folder.pool == ""
    (event,) = admin.get("listEvents", type="STORAGE.POOL.DELETE")["event"]
    assert event["resourceid"] == pool["id"]
    assert admin.get("createStoragePool", url=url, **wanted)["storagepool"]["state"] == "Up"


def test_a_host_is_disabled_and_enabled(admin: Client, place: dict[str, str]) -> None:
    host = add_host(admin, place)
    changed = admin.get("updateHost", id=host["id"], allocationstate="Disable")["host"]
    assert changed["resourcestate"] == "Disabled"
    assert admin("updateHost", id=host["id"], allocationstate="Sleep").status == 431


def prepare(admin: Client, host_id: object) -> None:
    assert set(admin.get("prepareHostForMaintenance", id=host_id)) == {"jobid"}


def test_a_host_goes_into_maintenance_by_a_job_and_comes_back(
    api: Api, admin: Client, place: dict[str, str]
) -> None:
    host = add_host(admin, place)
    prepare(admin, host["id"])
    (listed,) = admin.get("listHosts", resourcestate="PrepareForMaintenance")["host"]
    assert listed["id"] == host["id"]
    with api.context.database.reading() as session:
        job = session.get_one(Job, api.jobs.started[-1])
    assert (job.workflow, job.arguments) == (names.PREPARE_HOST, {"host_id": host["id"]})
    again = admin("prepareHostForMaintenance", id=host["id"])
    assert (again.status, "PrepareForMaintenance already" in again.error) == (431, True)
    assert (
        "cancelHostMaintenance ends that"
        in admin("updateHost", id=host["id"], allocationstate="Enable").error
    )
    done = admin.get("cancelHostMaintenance", id=host["id"])
    result = admin.get("queryAsyncJobResult", jobid=done["jobid"])["jobresult"]
    assert result["host"]["resourcestate"] == "Enabled"
    assert "not in maintenance" in admin("cancelHostMaintenance", id=host["id"]).error


def add_vm(api: Api, host: dict[str, object], **more: object) -> Vm:
    with api.context.database.writing() as session:
        account = session.scalars(select(Account).where(Account.name == "admin")).one()
        offering = session.scalars(
            select(ServiceOffering).where(ServiceOffering.name == "Tiny Instance")
        ).one()
        columns: dict[str, object] = {
            "kind": "user",
            "name": "web",
            "instance_name": "i-2-web",
            "state": "Running",
            "account_id": account.id,
            "domain_id": account.domain_id,
            "zone_id": host["zoneid"],
            "host_id": host["id"],
            "offering_id": offering.id,
        }
        vm = Vm(**(columns | more))  # type: ignore[arg-type]
        session.add(vm)
    return vm


def test_a_host_with_vms_is_deleted_only_when_it_is_lost(
    api: Api, admin: Client, place: dict[str, str]
) -> None:
    host = add_host(admin, place)
    vm = add_vm(api, host)
    assert "still has VMs; prepareHostForMaintenance" in admin("deleteHost", id=host["id"]).error
    assert "prepareHostForMaintenance first" in admin("deleteHost", id=host["id"], forced=True).error
    with api.context.database.writing() as session:
        session.get_one(Host, str(host["id"])).state = "Alert"
    admin.get("deleteHost", id=host["id"], forced=True)
    with api.context.database.reading() as session:
        row = session.get_one(Vm, vm.id)
    assert (row.state, row.host_id, row.desired_power) == ("Stopped", None, "stopped")
    assert row.reason == f"its host {host['name']} was deleted"


def test_tags_of_hosts_and_pools(admin: Client, place: dict[str, str]) -> None:
    host = add_host(admin, place)
    assert admin.get("updateHost", id=host["id"], hosttags="ssd,gpu,ssd")["host"]["hosttags"] == "ssd,gpu"
    assert admin.get("listHosts", hosttag="gpu")["count"] == 1
    assert admin.get("listHosts", hosttag="gp") == {}
    assert admin("updateHost", id=host["id"], hosttags="a b").status == 431
    pool = add_pool(admin, place, host)
    changed = admin.get("updateStoragePool", id=pool, name="fast", tags="ssd")["storagepool"]
    assert (changed["name"], changed["tags"]) == ("fast", "ssd")


def add_pool(admin: Client, place: dict[str, str], host: dict[str, object]) -> str:
    wanted = {"name": "s", "zoneid": place["zoneid"], "scope": "HOST", "hostid": host["id"]}
    made = admin.get("createStoragePool", url=f"file://{host['name']}/primary", **wanted)
    return str(made["storagepool"]["id"])


def test_storage_goes_out_of_service_unless_disks_are_in_use(
    api: Api, admin: Client, place: dict[str, str]
) -> None:
    host = add_host(admin, place)
    pool = add_pool(admin, place, host)
    vm = add_vm(api, host)
    with api.context.database.writing() as session:
        owner = {"account_id": vm.account_id, "domain_id": vm.domain_id}
        zone = place["zoneid"]
        session.add(Volume(zone_id=zone, pool_id=pool, vm_id=vm.id, name="r", kind="ROOT", size=1, **owner))  # type: ignore[arg-type]
    refused = admin("enableStorageMaintenance", id=pool)
    assert (refused.status, "has disks of VM web, which run" in refused.error) == (536, True)
    with api.context.database.writing() as session:
        session.get_one(Vm, vm.id).state = "Stopped"
    answer = admin("enableStorageMaintenance", id=pool)
    assert answer.envelope == "prepareprimarystorageformaintenanceresponse"
    assert admin.get("listStoragePools")["storagepool"][0]["state"] == "Maintenance"
    assert admin("enableStorageMaintenance", id=pool).status == 431
    assert admin("updateStoragePool", id=pool, enabled=False).status == 431
    answer = admin("cancelStorageMaintenance", id=pool)
    assert answer.envelope == "cancelprimarystoragemaintenanceresponse"
    assert admin("cancelStorageMaintenance", id=pool).status == 431
    assert admin.get("updateStoragePool", id=pool, enabled=False)["storagepool"]["state"] == "Disabled"
    assert admin.get("updateStoragePool", id=pool, enabled=True)["storagepool"]["state"] == "Up"
    assert admin("deleteStoragePool", id=pool, forced=True).status == 536, "volumes are never given up"


def test_figures_of_hosts_clusters_and_pools(api: Api, admin: Client, place: dict[str, str]) -> None:
    host = add_host(admin, place)
    add_pool(admin, place, host)
    add_vm(api, host)
    (listed,) = admin.get("listHostsMetrics", id=host["id"])["host"]
    assert (listed["instances"], listed["memorytotalgb"]) == ("1 / 1", "64.00 GB")
    assert listed["memoryallocatedgb"] == "0.12 GB"
    admin.get(
        "updateConfiguration", name="mem.overprovisioning.factor", value="2", clusterid=place["clusterid"]
    )
    (listed,) = admin.get("listHosts", id=host["id"])["host"]
    assert int(listed["memorywithoverprovisioning"]) == 2 * listed["memorytotal"]
    assert int(listed["cpuwithoverprovisioning"]) == 8 * 16 * listed["cpuspeed"], "the default factor"
    assert (listed["memoryallocatedpercentage"], listed["cpuallocated"]) == ("0.10%", "0.20%")
    admin.get("resetConfiguration", name="mem.overprovisioning.factor", clusterid=place["clusterid"])
    (cluster,) = admin.get("listClustersMetrics", name="c")["cluster"]
    assert (cluster["hosts"], cluster["memorytotal"]) == ("1 / 1", "63.50 GB")
    (pool,) = admin.get("listStoragePoolsMetrics", hostid=host["id"])["storagepool"]
    assert (pool["disksizeallocatedgb"], pool["disksizeused"]) == ("0.00 GB", 0)
    (zone,) = admin.get("listZonesMetrics")["zone"]
    assert (zone["clusters"], zone["memorytotal"]) == ("1 / 1", "63.50 GB")
