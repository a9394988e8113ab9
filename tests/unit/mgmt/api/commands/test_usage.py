"""Usage records through the API."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mgmt.model.errors import CloudError
from mgmt.ops.usage import MARK
from mgmt.store.tables import Setting, UsageRecord, UsageSpan
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit
DAY = datetime(2026, 1, 1, tzinfo=UTC)


def add_record(world: World, caller: str, day: int = 0, kind: int = 1, raw: float = 24) -> None:
    who, start = world.callers[caller], DAY + timedelta(days=day)
    world.add(
        UsageRecord(
            account_id=who.account.id,
            domain_id=who.domain.id,
            type=kind,
            zone_id=world.ids["zone"],
            resource_id=f"{kind}-{caller}",
            name=f"of {caller}",
            raw=raw,
            memory=4096,
            start=start,
            end=start + timedelta(days=1, seconds=-1),
        )
    )


def listed(world: World, caller: str = "alice", **parameters: Any) -> list[tuple[int, str]]:
    dates = {"startdate": "2026-01-01", "enddate": "2026-01-01"}
    answer = world.call("listUsageRecords", caller, **{**dates, **parameters})
    return [(item["usagetype"], item["rawusage"]) for item in answer.get("usagerecord", [])]


def test_everybody_sees_the_own_usage(world: World) -> None:
    add_record(world, "alice")
    add_record(world, "alice", 1, raw=1.25)
    add_record(world, "alice", kind=6, raw=0.5)
    add_record(world, "bob")
    assert sorted(listed(world)) == [(1, "24"), (6, "0.5")]
    assert listed(world, enddate="2026-01-02", type=1) == [(1, "24"), (1, "1.25")]
    assert listed(world, startdate="2026-01-02", enddate="2026-01-03") == [(1, "1.25")]
    assert listed(world, enddate="2026-01-01T12:00:00+0000") == [], "that day was not over"
    assert len(listed(world, "admin")) == 3, "an administrator bills everybody"
    assert len(listed(world, "bob", listall="true")) == 1
    assert len(listed(world, "admin", account="bob", domainid=world.callers["bob"].domain.id)) == 1
    assert listed(world, usageid="6-alice") == [(6, "0.5")]
    assert len(listed(world, page=1, pagesize=1)) == 1
    (first,) = world.call(
        "listUsageRecords", "bob", startdate="2026-01-01", enddate="2026-01-01", keyword="BOB"
    )["usagerecord"]
    assert (first["usage"], first["virtualmachineid"], first["account"]) == ("24 Hrs", "1-bob", "bob")
    assert (first["memory"], "cpunumber" in first) == (4096, False)
    assert (first["startdate"], first["enddate"]) == ("2026-01-01T00:00:00+0000", "2026-01-01T23:59:59+0000")


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"enddate": "2025-01-01"}, "is before startdate"),
        ({"type": 77}, "Invalid value 77 for parameter type"),
        ({"startdate": "soon"}, "Invalid value soon for parameter startdate"),
        ({"startdate": ""}, "missing parameter startdate"),
    ],
)
def test_wrong_questions(world: World, sent: dict[str, Any], words: str) -> None:
    with pytest.raises(CloudError, match=words):
        listed(world, **sent)


def test_records_are_made_on_demand(world: World) -> None:
    who = world.callers["alice"]
    yesterday = (world.context.clock() - timedelta(days=1)).replace(hour=0, minute=0, second=0)
    span = {"account_id": who.account.id, "domain_id": who.domain.id, "zone_id": world.ids["zone"]}
    world.add(
        UsageSpan(
            **span,
            type=1,
            resource_id="x",
            name="x",
            started=yesterday,
            ended=yesterday + timedelta(hours=3),
        )
    )
    for _ in range(2):
        assert world.call("generateUsageRecords", "admin") == {"success": True}
    day = {"startdate": f"{yesterday:%Y-%m-%d}", "enddate": f"{yesterday:%Y-%m-%d}"}
    assert listed(world, **day, usageid="x") == [(1, "3")]
    world.call("removeRawUsageRecords", "admin", interval=1)
    with pytest.raises(CloudError, match="for parameter interval"):
        world.call("removeRawUsageRecords", "admin", interval=0)
    types = {item["id"]: item["name"] for item in world.call("listUsageTypes")["usagetype"]}
    assert (types[1], types[9]) == ("RUNNING_VM", "SNAPSHOT")


def test_dashboards_see_until_when_usage_is_summed_up(world: World) -> None:
    assert "lastsuccessfuljob" not in world.call("listUsageServerMetrics", "admin")["usageMetrics"]
    world.add(Setting(name=MARK, value="2026-01-31"))
    world.call("updateConfiguration", "admin", name="enable.usage.server", value="false")
    found = world.call("listUsageServerMetrics", "admin")["usageMetrics"]
    assert (found["state"], found["lastsuccessfuljob"]) == ("Disabled", "2026-01-31")
