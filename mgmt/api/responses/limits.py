"""Limits and counts on the wire: as lists of their own, and as fields of accounts, domains and projects."""

from collections.abc import Sequence
from typing import Any

from mgmt.alloc.limits import limits_and_counts_of
from mgmt.api.call import Call
from mgmt.api.registry import Response
from mgmt.model.resources import GIB, UNLIMITED, OwnerKind, ResourceType

WORD = "Unlimited"


class ResourceLimitResponse(Response):
    """A limit; -1 is none. Storage in GiB, memory in MiB. `resourcetype` is a number, sent as text."""

    resourcetype: str
    resourcetypename: str
    max: int
    domain: str
    domainid: str
    domainpath: str
    account: str | None = None
    project: str | None = None
    projectid: str | None = None


class ResourceCountResponse(Response):
    """How much an owner has; storage in bytes, memory in MiB."""

    resourcetype: str
    resourcetypename: str
    resourcecount: int
    domain: str
    domainid: str
    domainpath: str
    account: str | None = None
    project: str | None = None
    projectid: str | None = None


class LimitFields(Response):
    """What accounts, domains and projects say of each resource: limit, total, what is left of the limit.

    Limits are texts, `Unlimited` for none; storage in GiB, memory in MiB.
    """

    vmlimit: str
    vmtotal: int
    vmavailable: str
    iplimit: str
    iptotal: int
    ipavailable: str
    volumelimit: str
    volumetotal: int
    volumeavailable: str
    snapshotlimit: str
    snapshottotal: int
    snapshotavailable: str
    templatelimit: str
    templatetotal: int
    templateavailable: str
    networklimit: str
    networktotal: int
    networkavailable: str
    vpclimit: str
    vpctotal: int
    vpcavailable: str
    cpulimit: str
    cputotal: int
    cpuavailable: str
    memorylimit: str
    memorytotal: int
    memoryavailable: str
    primarystoragelimit: str
    primarystoragetotal: int
    primarystorageavailable: str
    secondarystoragelimit: str
    secondarystoragetotal: float
    secondarystorageavailable: str


class ProjectLimitFields(LimitFields):
    """The same for those who may have projects: accounts and domains."""

    projectlimit: str
    projecttotal: int
    projectavailable: str


PREFIXES = {
    ResourceType.user_vm: "vm",
    ResourceType.public_ip: "ip",
    ResourceType.primary_storage: "primarystorage",
    ResourceType.secondary_storage: "secondarystorage",
}
"""How the fields of a resource begin, where not with its name."""


def limit_fields(
    call: Call, owners: Sequence[tuple[str, OwnerKind]], unlimited: set[str]
) -> dict[str, dict[str, Any]]:
    """The fields of many owners by id; a fixed number of statements. Those in `unlimited` have no limits."""
    limits, counts = limits_and_counts_of(call.session, owners)
    found: dict[str, dict[str, Any]] = {}
    for owner_id, owner_kind in owners:
        found[owner_id] = {}
        for kind in ResourceType:
            if kind is ResourceType.project and owner_kind is OwnerKind.project:
                continue
            most = UNLIMITED if owner_id in unlimited else limits[owner_id].get(kind, UNLIMITED)
            found[owner_id] |= _fields(kind, most, counts[owner_id][kind])
    return found


def _fields(kind: ResourceType, most: int, used: int) -> dict[str, Any]:
    prefix = PREFIXES.get(kind, kind.name)
    total: int | float = used // kind.unit
    if kind is ResourceType.secondary_storage:
        total = round(used / GIB, 2)
    left = max(0, most - -(-used // kind.unit))  # a started GiB is gone
    is_free = most == UNLIMITED
    return {
        f"{prefix}limit": WORD if is_free else str(most),
        f"{prefix}total": total,
        f"{prefix}available": WORD if is_free else str(left),
    }
