"""Alerts and capacity on the wire."""

from collections.abc import Sequence

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import rows_by_id, wire_time
from mgmt.model.notices import CAPACITY_NAMES
from mgmt.ops.infrastructure.capacity import Capacity
from mgmt.store.tables import Alert, Cluster, Pod, Zone


class AlertResponse(Response):
    """An alert; one that is over says so in its description."""

    id: str
    type: int
    name: str
    description: str
    sent: str | None


def alert_responses(call: Call, rows: Sequence[Alert]) -> list[AlertResponse]:
    """Alerts on the wire."""
    return [
        AlertResponse(
            id=row.id, type=row.type, name=row.name, description=_words(row), sent=wire_time(row.last_sent)
        )
        for row in rows
    ]


def _words(row: Alert) -> str:
    times = f" ({row.count} times)" if row.count > 1 else ""
    over = f"; over since {wire_time(row.resolved)}" if row.resolved else ""
    return f"{row.description}{times}{over}"


ALERT = Entity(Alert, AlertResponse, "alert", alert_responses)


class AlertTypeResponse(Response):
    """A kind of alert."""

    id: str
    name: str
    type: int


class CapacityResponse(Response):
    """One kind of capacity of a zone, pod or cluster. Memory and storage in bytes, CPU in MHz."""

    type: int
    name: str
    zoneid: str
    zonename: str
    capacityused: int
    capacitytotal: int
    capacityallocated: int
    percentused: str
    podid: str | None = None
    podname: str | None = None
    clusterid: str | None = None
    clustername: str | None = None


def capacity_responses(call: Call, items: Sequence[Capacity]) -> list[CapacityResponse]:
    """Capacities on the wire."""
    zones = rows_by_id(call, Zone, (item.zone_id for item in items))
    pods = rows_by_id(call, Pod, (item.pod_id for item in items))
    clusters = rows_by_id(call, Cluster, (item.cluster_id for item in items))
    return [
        CapacityResponse(
            type=int(item.type),
            name=CAPACITY_NAMES[item.type],
            zoneid=item.zone_id,
            zonename=zones[item.zone_id].name,
            podid=item.pod_id,
            podname=pods[item.pod_id].name if item.pod_id else None,
            clusterid=item.cluster_id,
            clustername=clusters[item.cluster_id].name if item.cluster_id else None,
            capacityused=item.used,
            capacityallocated=item.used,
            capacitytotal=item.total,
            percentused=f"{100 * item.share:.2f}",
        )
        for item in items
    ]
