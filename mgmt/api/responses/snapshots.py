"""Snapshots and their policies on the wire. Sizes in bytes."""

from collections.abc import Sequence
from typing import Any

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import Owners, TagResponse, plain_tags_of, rows_by_id, wire_time
from mgmt.model.states import SnapshotState
from mgmt.store.tables import Snapshot, SnapshotPolicy, Volume, Zone

MANUAL = "MANUAL"
#: Where snapshots are: the storage VM has them, no pool of a host does.
LOCATION = "SECONDARY"


class SnapshotResponse(Response, kw_only=True):
    """A volume at one moment; `virtualsize` is the disk's, `physicalsize` what the snapshot takes."""

    id: str
    name: str
    account: str | None = None
    project: str | None = None
    projectid: str | None = None
    domainid: str | None = None
    domain: str | None = None
    domainpath: str | None = None
    zoneid: str
    zonename: str | None = None
    created: str | None = None
    volumeid: str
    volumename: str | None = None
    volumetype: str | None = None
    volumestate: str | None = None
    snapshottype: str
    intervaltype: str
    locationtype: str
    state: str
    status: str | None = None
    virtualsize: int
    physicalsize: int
    revertable: bool
    tags: list[TagResponse]


class SnapshotPolicyResponse(Response, kw_only=True):
    """Snapshots by the clock; `intervaltype` is 0 hourly, 1 daily, 2 weekly, 3 monthly."""

    id: str
    volumeid: str
    volumename: str | None = None
    schedule: str
    timezone: str
    intervaltype: int
    maxsnaps: int
    fordisplay: bool
    tags: list[TagResponse]


def build_snapshots(call: Call, rows: Sequence[Snapshot]) -> list[SnapshotResponse]:
    """Answers for snapshots; a fixed number of statements."""
    owners = Owners(call, rows)
    zones = rows_by_id(call, Zone, (row.zone_id for row in rows))
    volumes = rows_by_id(call, Volume, (row.volume_id for row in rows))
    tags = plain_tags_of(call, "Snapshot", rows)
    return [
        SnapshotResponse(
            id=row.id,
            name=row.name,
            zoneid=row.zone_id,
            zonename=zones[row.zone_id].name if row.zone_id in zones else None,
            created=wire_time(row.created),
            volumeid=row.volume_id,
            snapshottype=MANUAL if row.kind == MANUAL else "RECURRING",
            intervaltype=row.kind,
            locationtype=LOCATION,
            state=row.state,
            status=row.reason or None,
            virtualsize=row.size,
            physicalsize=row.physical_size,
            revertable=row.state == SnapshotState.backed_up,
            tags=tags.get(row.id, []),
            **_volume(volumes.get(row.volume_id)),
            **owners.names(row),
        )
        for row in rows
    ]


def build_policies(call: Call, rows: Sequence[SnapshotPolicy]) -> list[SnapshotPolicyResponse]:
    """Answers for policies; a fixed number of statements."""
    volumes = rows_by_id(call, Volume, (row.volume_id for row in rows))
    tags = plain_tags_of(call, "SnapshotPolicy", rows)
    return [
        SnapshotPolicyResponse(
            id=row.id,
            volumeid=row.volume_id,
            volumename=volumes[row.volume_id].name if row.volume_id in volumes else None,
            schedule=row.schedule,
            timezone=row.timezone,
            intervaltype=row.interval,
            maxsnaps=row.most,
            fordisplay=True,
            tags=tags.get(row.id, []),
        )
        for row in rows
    ]


def _volume(volume: Volume | None) -> dict[str, Any]:
    if volume is None:
        return {}
    return {"volumename": volume.name, "volumetype": volume.kind, "volumestate": volume.state}


SNAPSHOT = Entity(Snapshot, SnapshotResponse, "snapshot", build_snapshots)
SNAPSHOT_POLICY = Entity(SnapshotPolicy, SnapshotPolicyResponse, "snapshotpolicy", build_policies)
