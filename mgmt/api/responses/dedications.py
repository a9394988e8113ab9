"""Dedicated zones, pods, clusters and hosts on the wire: one shape each, that differ in two names."""

from collections.abc import Callable, Sequence

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import rows_by_id
from mgmt.ops.infrastructure.dedications import KINDS
from mgmt.store.tables import Dedication


class _Dedicated(Response):
    id: str
    domainid: str
    accountid: str | None


class DedicatedZoneResponse(_Dedicated):
    """A dedicated zone."""

    zoneid: str
    zonename: str


class DedicatedPodResponse(_Dedicated):
    """A dedicated pod."""

    podid: str
    podname: str


class DedicatedClusterResponse(_Dedicated):
    """A dedicated cluster."""

    clusterid: str
    clustername: str


class DedicatedHostResponse(_Dedicated):
    """A dedicated host."""

    hostid: str
    hostname: str


def _builder(
    kind: str, response: type[_Dedicated]
) -> Callable[[Call, Sequence[Dedication]], list[_Dedicated]]:
    def build(call: Call, rows: Sequence[Dedication]) -> list[_Dedicated]:
        named = rows_by_id(call, KINDS[kind], (row.resource_id for row in rows))
        return [
            response(
                id=row.id,
                domainid=row.domain_id,
                accountid=row.account_id,
                **{f"{kind}id": row.resource_id, f"{kind}name": named[row.resource_id].name},
            )
            for row in rows
        ]

    return build


DEDICATED_ZONE = Entity(
    Dedication,
    DedicatedZoneResponse,
    "dedicatedzone",
    _builder("zone", DedicatedZoneResponse),  # type: ignore[arg-type]
)
DEDICATED_POD = Entity(
    Dedication,
    DedicatedPodResponse,
    "dedicatedpod",
    _builder("pod", DedicatedPodResponse),  # type: ignore[arg-type]
)
DEDICATED_CLUSTER = Entity(
    Dedication,
    DedicatedClusterResponse,
    "dedicatedcluster",
    _builder("cluster", DedicatedClusterResponse),  # type: ignore[arg-type]
)
DEDICATED_HOST = Entity(
    Dedication,
    DedicatedHostResponse,
    "dedicatedhost",
    _builder("host", DedicatedHostResponse),  # type: ignore[arg-type]
)
