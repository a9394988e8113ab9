"""Usage records on the wire: hours of use, or bytes."""

from collections.abc import Sequence

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import Owners, TagResponse, wire_time
from mgmt.model.usage import BYTES, UsageType
from mgmt.store.tables import UsageRecord

VMS = (UsageType.running_vm, UsageType.allocated_vm)


class UsageRecordResponse(Response):
    """Use of one resource within one day. `rawusage` is hours or bytes as a number, `usage` with the unit."""

    accountid: str
    usagetype: int
    rawusage: str
    usage: str
    usageid: str | None
    description: str
    name: str
    startdate: str | None
    enddate: str | None
    tags: list[TagResponse]
    account: str | None = None
    project: str | None = None
    projectid: str | None = None
    domain: str | None = None
    domainid: str | None = None
    domainpath: str | None = None
    zoneid: str | None = None
    virtualmachineid: str | None = None
    offeringid: str | None = None
    templateid: str | None = None
    networkid: str | None = None
    size: int | None = None
    cpunumber: int | None = None
    cpuspeed: int | None = None
    memory: int | None = None


def usage_record_responses(call: Call, rows: Sequence[UsageRecord]) -> list[UsageRecordResponse]:
    """Records on the wire."""
    owners = Owners(call, rows)
    return [_record(row, owners) for row in rows]


def _record(row: UsageRecord, owners: Owners) -> UsageRecordResponse:
    names = owners.names(row)
    amount = f"{row.raw:.6f}".rstrip("0").rstrip(".")
    unit = "Bytes" if row.type in BYTES else "Hrs"
    return UsageRecordResponse(
        accountid=row.account_id,
        **names,
        usagetype=row.type,
        rawusage=amount,
        usage=f"{amount} {unit}",
        usageid=row.resource_id,
        virtualmachineid=row.resource_id if row.type in VMS else None,
        description=row.description,
        name=row.name,
        zoneid=row.zone_id,
        offeringid=row.offering_id,
        templateid=row.template_id,
        networkid=row.network_id,
        size=row.size or None,
        cpunumber=row.cpus,
        cpuspeed=row.cpu_speed,
        memory=row.memory,
        startdate=wire_time(row.start),
        enddate=wire_time(row.end),
        tags=[],
    )


USAGE_RECORD = Entity(UsageRecord, UsageRecordResponse, "usagerecord", usage_record_responses)


class UsageTypeResponse(Response):
    """A kind of usage."""

    id: int
    name: str
    description: str
