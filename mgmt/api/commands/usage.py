"""Usage records: what accounts used, day by day."""

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Annotated, Any

from msgspec import Meta, structs
from sqlalchemy import ColumnElement, Select

from mgmt.api.access import EVERYONE, ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.lists import Equals, OwnedListCommand, PlainListCommand
from mgmt.api.params import NoEffect, wrong_value
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.usage import USAGE_RECORD, UsageTypeResponse
from mgmt.model.errors import ParameterError
from mgmt.model.usage import USAGE_WORDS, UsageType
from mgmt.ops.usage import aggregate, forget_spans
from mgmt.store.tables import Account, UsageRecord


class ListUsageRecords(OwnedListCommand, kw_only=True, frozen=True):
    """Lists usage records of finished days (UTC), the oldest first."""

    spec = Spec(answer=USAGE_RECORD, access=EVERYONE)
    searched = (UsageRecord.description, UsageRecord.name)

    startdate: Annotated[datetime, "the first day, as 2026-01-31"]
    enddate: Annotated[datetime, "the last day, as 2026-01-31"]
    accountid: Annotated[str | None, Ref(Account), Equals(UsageRecord.account_id)] = None
    type: Annotated[int | None, "list only this kind, as 1 for VMs that run", Equals(UsageRecord.type)] = None
    usageid: Annotated[str | None, "list only usage of this resource", Equals(UsageRecord.resource_id)] = None
    includetags: Annotated[bool, NoEffect("records carry no tags")] = False

    def ownership(self, call: Call) -> ColumnElement[bool] | None:
        """Without an owner, everybody whom the caller covers: bills are written for all."""
        return OwnedListCommand.ownership(structs.replace(self, listall=True), call)

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Records of the days asked for; a last day without a time is meant whole."""
        if self.enddate < self.startdate:
            raise ParameterError(
                f"enddate {self.enddate:%Y-%m-%d} is before startdate {self.startdate:%Y-%m-%d}"
            )
        if self.type is not None and self.type not in set(UsageType):
            numbers = ", ".join(str(int(kind)) for kind in UsageType)
            raise wrong_value("type", self.type, f"one of {numbers}")
        whole = self.enddate.timetz().replace(tzinfo=None) == time()
        end = self.enddate + timedelta(days=1) if whole else self.enddate
        return query.where(UsageRecord.start >= self.startdate, UsageRecord.end <= end)

    def order(self) -> tuple[Any, ...]:
        """Day by day."""
        return (UsageRecord.start, UsageRecord.id)


class ListUsageTypes(PlainListCommand, kw_only=True, frozen=True):
    """Lists the kinds of usage."""

    spec = Spec(answer=UsageTypeResponse, key="usagetype", access=EVERYONE)

    def items(self, call: Call) -> Sequence[Response]:
        """Those that are recorded."""
        return [
            UsageTypeResponse(id=int(kind), name=name, description=description)
            for kind, (name, description) in USAGE_WORDS.items()
        ]


class GenerateUsageRecords(SyncCommand, kw_only=True, frozen=True):
    """Makes the usage records of finished days that have none yet, without waiting for the daily run."""

    spec = Spec(access=ROOT, writes=False)

    startdate: Annotated[datetime | None, NoEffect("every finished day without records is done")] = None
    enddate: Annotated[datetime | None, NoEffect("every finished day without records is done")] = None
    domainid: Annotated[str | None, NoEffect("records are made for all")] = None

    def run(self, call: Call) -> Response:
        """Each day is a transaction of its own."""
        aggregate(call.context.database, call.now())
        return DONE


class RemoveRawUsageRecords(SyncCommand, kw_only=True, frozen=True):
    """Deletes what usage records were made from, if it ended long ago; the records stay."""

    spec = Spec(access=ROOT)

    interval: Annotated[int, "days since its end", Meta(ge=1, le=36500)]

    def run(self, call: Call) -> Response:
        """Only what is in records already."""
        forget_spans(call.session, call.now() - timedelta(days=self.interval))
        return DONE
