"""Bytes of public addresses: counted once, whatever happens to a router, and paid by the network's owner."""

from dataclasses import dataclass
from datetime import timedelta

import pytest
from sqlalchemy import event, select

from mgmt.agents.errors import AgentUnreachable
from mgmt.agents.machine import AddressTraffic
from mgmt.model.usage import UsageType
from mgmt.ops import names
from mgmt.ops.usage import aggregate, forget_spans
from mgmt.reconcile.traffic import watch_traffic
from mgmt.store.tables import NetworkBytes, NetworkCounter, PublicAddress, UsageRecord, Vm
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit


@dataclass
class Line:
    """The router of a network, whose public address is watched."""

    cloud: SmallCloud
    router: Vm
    address: PublicAddress

    def count(self, sent: int, received: int) -> None:
        """Let the router have counted so much since it started, and read it."""
        self.cloud.simulator.machines[self.router.id].traffic = {
            self.address.address: AddressTraffic(
                address=self.address.address, sent_bytes=sent, received_bytes=received
            )
        }
        watch_traffic(self.cloud.runtime)

    def sums(self) -> dict[str, tuple[int, int]]:
        """Bytes sent and received, by day."""
        return {row.day: (row.sent, row.received) for row in self.cloud.rows(NetworkBytes)}


@pytest.fixture
def line(cloud: SmallCloud) -> Line:
    network = cloud.new_network()
    cloud.run(names.DEPLOY_VM, vm_id=cloud.new_vm(network).id)
    address = next(row for row in cloud.rows(PublicAddress) if row.network_id == network.id)
    return Line(cloud, cloud.router(network), address)


def test_only_what_is_new_is_added(line: Line) -> None:
    line.count(0, 0)
    assert line.sums() == {}
    line.count(100, 7)
    line.count(100, 7)
    line.count(250, 7)
    assert line.sums() == {"2026-01-01": (250, 7)}
    line.cloud.clock.sleep(86400)
    line.count(300, 10)
    assert line.sums() == {"2026-01-01": (250, 7), "2026-01-02": (50, 3)}
    (first, _) = line.cloud.rows(NetworkBytes)
    assert (first.address_id, first.account_id) == (line.address.id, line.cloud.account_id)


def test_a_router_that_starts_anew_counts_from_zero(line: Line) -> None:
    line.count(100, 100)
    line.cloud.clock.sleep(60)
    line.cloud.run(names.REBOOT_SYSTEM_VM, vm_id=line.router.id)
    line.count(150, 120)
    assert line.sums() == {"2026-01-01": (250, 220)}, "its counters are above the former ones already"
    line.count(20, 130)
    assert line.sums() == {"2026-01-01": (270, 350)}, "one is smaller: nobody ordered this start"


def test_silence_and_death_lose_nothing_that_was_counted(line: Line) -> None:
    line.count(100, 1)
    line.cloud.simulator.faults.fail("machine.read", AgentUnreachable("router", "silent"))
    line.count(300, 2)
    assert line.sums() == {"2026-01-01": (100, 1)}

    def die(_connection: object) -> None:
        raise InterruptedError

    engine = line.cloud.runtime.database.engine
    event.listen(engine, "commit", die)
    with pytest.raises(InterruptedError):
        line.count(300, 2)
    event.remove(engine, "commit", die)
    line.count(400, 3)
    assert line.sums() == {"2026-01-01": (400, 3)}


def test_days_become_records_once(line: Line) -> None:
    line.count(1000, 1)
    database = line.cloud.runtime.database
    line.cloud.clock.sleep(86400)
    end = line.cloud.clock.now
    for _ in range(2):
        aggregate(database, end)
    wanted = (UsageType.bytes_sent, UsageType.bytes_received)
    with database.reading() as session:
        found = session.scalars(select(UsageRecord).where(UsageRecord.type.in_(wanted))).all()
    assert {(row.type, row.raw, row.resource_id, row.network_id) for row in found} == {
        (4, 1000.0, line.address.id, line.router.network_id),
        (5, 1.0, line.address.id, line.router.network_id),
    }
    with database.writing() as session:
        forget_spans(session, end + timedelta(days=1))
    assert line.cloud.rows(NetworkBytes) == []


def test_counters_of_routers_that_are_gone_go_too(line: Line) -> None:
    line.count(5, 5)
    line.cloud.run(names.DESTROY_SYSTEM_VM, vm_id=line.router.id)
    line.cloud.clock.sleep(86400)
    aggregate(line.cloud.runtime.database, line.cloud.clock.now)
    with line.cloud.runtime.database.reading() as session:
        assert session.scalars(select(NetworkCounter)).all() == []
        assert len(session.scalars(select(NetworkBytes)).all()) == 1
