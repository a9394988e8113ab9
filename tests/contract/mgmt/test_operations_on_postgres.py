"""Capacity, alerts, configuration and usage on PostgreSQL as on SQLite: sums have other types there."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select

from mgmt.alloc.addresses import claim
from mgmt.api.offering_domains import add_offering, may_use
from mgmt.model.configuration import MEMORY_OVERPROVISIONING, Scope
from mgmt.model.notices import AlertType, CapacityType
from mgmt.ops import names
from mgmt.ops.infrastructure.capacity import all_capacities
from mgmt.ops.usage import aggregate
from mgmt.reconcile.alerts import update_alerts
from mgmt.reconcile.sweep import Sweeper
from mgmt.store.configured import configured, set_value
from mgmt.store.tables import (
    Alert,
    Cluster,
    Domain,
    Host,
    Network,
    ServiceOffering,
    UsageRecord,
    UsageSpan,
    VlanRange,
)
from mgmt.store.vitals import vitals
from tests.postgres import postgres
from tests.unit.mgmt.small_cloud import SmallCloud, make_cloud

pytestmark = pytest.mark.contract
MIB = 1024**2


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallCloud]:
    """A cloud with its system VMs and a tenant's VM."""
    with postgres() as url:
        made = make_cloud(tmp_path_factory.mktemp("cloud"), url=url)
        try:
            made.run(names.ENSURE_SYSTEM_VMS, zone_id=made.zone_id)
            made.run(names.DEPLOY_VM, vm_id=made.new_vm(made.new_network()).id)
            yield made
        finally:
            made.runtime.database.close()


def test_capacities_are_summed_up(cloud: SmallCloud) -> None:
    (cluster,) = cloud.rows(Cluster)
    with cloud.runtime.database.writing() as session:
        set_value(session, MEMORY_OVERPROVISIONING, (Scope.cluster, cluster.id), 2.0)
        assert configured(session, MEMORY_OVERPROVISIONING, cluster_id=cluster.id) == 2.0
        found = {item.type: item for item in all_capacities(session)}
    assert set(found) == set(CapacityType)
    assert found[CapacityType.memory].total == (2 * 65536 - 512) * MIB
    assert found[CapacityType.memory].used == (128 + 3 * 256) * MIB
    assert all(isinstance(item.used, int) and isinstance(item.total, int) for item in found.values())


def test_alerts_come_and_go(cloud: SmallCloud) -> None:
    for state, is_over in (("Alert", False), ("Up", True)):
        with cloud.runtime.database.writing() as session:
            session.get_one(Host, cloud.host_id).state = state
        update_alerts(cloud.runtime, {})
        (alert,) = [row for row in cloud.rows(Alert) if row.type == AlertType.host]
        assert (alert.resolved is not None) == is_over


def test_days_are_summed_up(cloud: SmallCloud) -> None:
    with cloud.runtime.database.writing() as session:
        for span in session.scalars(select(UsageSpan)):
            span.started = cloud.clock.now - timedelta(hours=1)
    moment = cloud.clock.now.replace(hour=0, minute=0, second=0)
    assert aggregate(cloud.runtime.database, moment + timedelta(days=1)) == 2
    assert {row.raw for row in cloud.rows(UsageRecord)} == {1.0, 24.0}
    assert aggregate(cloud.runtime.database, moment + timedelta(days=1)) == 0
    Sweeper(cloud.runtime).sweep()


def test_the_owners_own_range_comes_first(cloud: SmallCloud) -> None:
    (shared,) = cloud.rows(VlanRange)
    network = cloud.rows(Network)[0]
    with cloud.runtime.database.writing() as session:
        session.get_one(VlanRange, shared.id).domain_id = cloud.domain_id
    with cloud.runtime.database.writing() as session:
        assert claim(session, network=session.get_one(Network, network.id)).range_id == shared.id


def test_offerings_of_a_domain(cloud: SmallCloud) -> None:
    below = cloud.add(Domain(name="a_b", path="/a_b/"))
    offering = ServiceOffering(name="theirs", display_text="theirs", cpus=1, memory=128)
    with cloud.runtime.database.writing() as session:
        made = add_offering(session, offering, [below.id]).id
    with cloud.runtime.database.reading() as session:
        paths = ("/a_b/", "/a_b/c/", "/axb/", "/")
        assert [may_use(session, made, path) for path in paths] == [True, True, False, False]
        everybodys = session.scalars(select(ServiceOffering.id).where(ServiceOffering.id != made)).first()
        assert may_use(session, str(everybodys), "/")


def test_the_database_says_how_it_is(cloud: SmallCloud) -> None:
    with cloud.runtime.database.reading() as session:
        found = vitals(session)
    assert found.name == "PostgreSQL"
    assert int(found.version.split(".")[0]) > 10
    assert (found.connections or 0) > 0
    assert found.uptime is not None
