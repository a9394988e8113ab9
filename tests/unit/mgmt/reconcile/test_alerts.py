"""Alerts: raised once, counted when they come back, over by themselves."""

import pytest

from mgmt.model.configuration import CLUSTER_MEMORY_NOTICE, PUBLIC_ADDRESS_NOTICE, STORAGE_USED_NOTICE, Scope
from mgmt.model.notices import AlertType
from mgmt.ops import names
from mgmt.reconcile.alerts import update_alerts
from mgmt.store.configured import EVERYWHERE, set_value
from mgmt.store.tables import (
    Alert,
    Cluster,
    Host,
    PublicAddress,
    StoragePool,
    Template,
    TrafficType,
    Vm,
)
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit


def alerts(cloud: SmallCloud, kind: AlertType, days_left: dict[str, int] | None = None) -> list[Alert]:
    """The alerts of a kind, after another look."""
    update_alerts(cloud.runtime, days_left or {})
    return [row for row in cloud.rows(Alert) if row.type == kind]


def change(cloud: SmallCloud, table: type[object], row_id: str, **columns: object) -> None:
    with cloud.runtime.database.writing() as session:
        row = session.get_one(table, row_id)
        for name, value in columns.items():
            setattr(row, name, value)


def test_a_healthy_cloud_has_no_alerts(cloud: SmallCloud) -> None:
    update_alerts(cloud.runtime, {})
    assert [row.description for row in cloud.rows(Alert)] == []


def test_a_host_that_is_away_is_one_alert_however_often_one_looks(cloud: SmallCloud) -> None:
    change(cloud, Host, cloud.host_id, state="Alert")
    first = alerts(cloud, AlertType.host)
    (again,) = alerts(cloud, AlertType.host)
    assert [row.id for row in first] == [again.id]
    assert (again.count, again.resolved, again.subject_id) == (1, None, cloud.host_id)
    assert again.description == "host host1 at 172.31.240.1 is Alert: its agent does not answer"
    change(cloud, Host, cloud.host_id, state="Up")
    (over,) = alerts(cloud, AlertType.host)
    assert over.resolved == cloud.clock.now
    change(cloud, Host, cloud.host_id, state="Alert")
    (back,) = alerts(cloud, AlertType.host)
    assert (back.id, back.count, back.resolved) == (again.id, 2, None)


def test_an_open_zone_says_what_its_system_vms_lack(cloud: SmallCloud) -> None:
    (label,) = [row for row in cloud.rows(TrafficType) if row.type == "Public"]
    change(cloud, TrafficType, label.id, label=None)
    assert alerts(cloud, AlertType.storage_vm) == [], "it has its system VMs already"
    (console,) = [row for row in cloud.rows(Vm) if row.kind == "console"]
    change(cloud, Vm, console.id, removed=cloud.clock.now)
    (alert,) = alerts(cloud, AlertType.storage_vm)
    missing = "the kvmnetworklabel of its Public traffic (addTrafficType, updateTrafficType)"
    assert alert.description.endswith(f"is Enabled and cannot have its system VMs: it lacks {missing}")
    change(cloud, TrafficType, label.id, label="br0")
    (over,) = alerts(cloud, AlertType.storage_vm)
    assert over.resolved is not None


def test_a_system_vm_that_never_started_is_an_alert_once_that_failed(cloud: SmallCloud) -> None:
    (storage,) = [row for row in cloud.rows(Vm) if row.kind == "storage"]
    change(cloud, Vm, storage.id, state="Stopped", desired_power="running", last_start=None, reason="")
    assert alerts(cloud, AlertType.storage_vm) == []
    change(cloud, Vm, storage.id, reason="no bridge br0")
    (alert,) = alerts(cloud, AlertType.storage_vm)
    assert alert.description.endswith("is Stopped: no bridge br0")


def test_an_archived_alert_stays_away_until_it_was_over(cloud: SmallCloud) -> None:
    change(cloud, Host, cloud.host_id, state="Alert")
    (alert,) = alerts(cloud, AlertType.host)
    change(cloud, Alert, alert.id, removed=cloud.clock.now)
    assert alerts(cloud, AlertType.host) == []
    change(cloud, Host, cloud.host_id, state="Up")
    assert alerts(cloud, AlertType.host) == []
    change(cloud, Host, cloud.host_id, state="Alert")
    (fresh,) = alerts(cloud, AlertType.host)
    assert fresh.id != alert.id


@pytest.fixture
def trouble(cloud: SmallCloud, request: pytest.FixtureRequest) -> tuple[SmallCloud, AlertType]:
    """A cloud with one thing wrong, named by the parameter."""
    kind: AlertType = request.param
    storage = next(vm for vm in cloud.rows(Vm) if vm.kind == "storage")
    wrongs = {
        AlertType.storage_vm: (Vm, storage.id, {"state": "Stopped", "desired_power": "running"}),
        AlertType.storage: (StoragePool, cloud.pool_id, {"used": 999 * 1024**3}),
        AlertType.storage_allocated: (StoragePool, cloud.pool_id, {"capacity": 1024}),
        AlertType.template: (
            Template,
            cloud.template_id,
            {"state": "Failed", "is_public": True, "reason": "HTTP 404"},
        ),
        AlertType.memory: (Host, cloud.host_id, {"memory_mib": 1024}),
    }
    table, row_id, columns = wrongs[kind]
    if kind is AlertType.storage_allocated:
        network = cloud.new_network()
        cloud.run(names.DEPLOY_VM, vm_id=cloud.new_vm(network).id)
    change(cloud, table, row_id, **columns)
    return cloud, kind


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (AlertType.storage_vm, "is Stopped"),
        (AlertType.storage, "space of storage pool primary is taken by more than 75%"),
        (AlertType.storage_allocated, "space to promise of storage pool primary"),
        (AlertType.template, "public template tiny could not be downloaded: HTTP 404"),
        (AlertType.memory, "memory of cluster cluster1 is taken by more than 75%"),
    ],
    indirect=["trouble"],
)
def test_what_is_wrong_is_said(trouble: tuple[SmallCloud, AlertType], words: str) -> None:
    cloud, kind = trouble
    (alert,) = alerts(cloud, kind)
    assert words in alert.description
    assert alert.zone_id == cloud.zone_id


def test_a_certificate_near_its_end(cloud: SmallCloud) -> None:
    assert alerts(cloud, AlertType.certificate, {cloud.host_id: 20}) == []
    (alert,) = alerts(cloud, AlertType.certificate, {cloud.host_id: 3})
    assert alert.description == "the certificate of host host1 ends in 3 days and could not be renewed"
    (alert,) = alerts(cloud, AlertType.certificate, {})
    assert alert.resolved is not None


def test_thresholds_are_configured_where_they_count(cloud: SmallCloud) -> None:
    for address in cloud.rows(PublicAddress)[:4]:
        change(cloud, PublicAddress, address.id, state="Allocated")
    change(cloud, StoragePool, cloud.pool_id, used=500 * 1024**3)
    assert alerts(cloud, AlertType.public_address) == []
    (cluster,) = cloud.rows(Cluster)
    with cloud.runtime.database.writing() as session:
        set_value(session, PUBLIC_ADDRESS_NOTICE, (Scope.zone, cloud.zone_id), 0.3)
        set_value(session, STORAGE_USED_NOTICE, EVERYWHERE, 0.2)
        set_value(session, STORAGE_USED_NOTICE, (Scope.pool, cloud.pool_id), 0.6)
        set_value(session, CLUSTER_MEMORY_NOTICE, (Scope.cluster, cluster.id), 0.0)
    assert len(alerts(cloud, AlertType.public_address)) == 1
    assert alerts(cloud, AlertType.storage) == []
    assert len(alerts(cloud, AlertType.memory)) == 1
