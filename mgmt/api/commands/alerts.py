"""Alerts: what an operator should know. The reconcile loop raises and resolves them, see `mgmt.reconcile`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import Select, select

from mgmt.api.access import ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.lists import Equals, ListCommand, PlainListCommand
from mgmt.api.params import NoEffect
from mgmt.api.registry import DONE, AsyncCommand, Response, Spec, SyncCommand
from mgmt.api.responses.alerts import ALERT, AlertTypeResponse
from mgmt.model.errors import ParameterError
from mgmt.model.notices import ALERT_NAMES
from mgmt.store.tables import Alert, Job, Pod, Zone

MOST_TEXT = 999
"""Longest description of an alert that clients may send, as in CloudStack."""


class ListAlerts(ListCommand, kw_only=True, frozen=True):
    """Lists alerts that are not archived, the newest first."""

    spec = Spec(answer=ALERT, access=ROOT)
    searched = (Alert.description, Alert.name)

    type: Annotated[int | None, "list only alerts of this kind", Equals(Alert.type)] = None
    name: Annotated[str | None, "list only alerts of this name, as ALERT.MEMORY", Equals(Alert.name)] = None

    def order(self) -> tuple[Any, ...]:
        """The newest first."""
        return (Alert.last_sent.desc(), Alert.id)


class ListAlertTypes(PlainListCommand, kw_only=True, frozen=True):
    """Lists the kinds of alerts."""

    spec = Spec(answer=AlertTypeResponse, key="alerttype", access=ROOT)

    def items(self, call: Call) -> Sequence[Response]:
        """Those that are raised here."""
        return [
            AlertTypeResponse(id=str(int(kind)), name=name, type=int(kind))
            for kind, name in ALERT_NAMES.items()
        ]


class _Chosen(SyncCommand, kw_only=True, frozen=True):
    """Alerts chosen by ids, kind or dates; at least one of them."""

    ids: Annotated[list[str] | None, Ref(Alert), "the IDs of the alerts"] = None
    type: Annotated[int | None, "only alerts of this kind"] = None
    startdate: Annotated[datetime | None, "only alerts since"] = None
    enddate: Annotated[datetime | None, "only alerts until"] = None

    def chosen(self) -> Select[Any]:
        """The alerts. Raises `ParameterError` if nothing says which."""
        if self.ids is None and self.type is None and self.enddate is None:
            raise ParameterError("Nothing says which alerts: send ids, type or enddate")
        query = select(Alert)
        if self.ids is not None:
            query = query.where(Alert.id.in_(self.ids))
        if self.type is not None:
            query = query.where(Alert.type == self.type)
        if self.startdate is not None:
            query = query.where(Alert.last_sent >= self.startdate)
        if self.enddate is not None:
            query = query.where(Alert.last_sent <= self.enddate)
        return query


class ArchiveAlerts(_Chosen, kw_only=True, frozen=True):
    """Archives alerts: they are listed no more."""

    spec = Spec(access=ROOT)

    def run(self, call: Call) -> Response:
        """Mark them; what is still wrong stays archived until it was over."""
        for alert in call.session.scalars(self.chosen().where(Alert.removed.is_(None))):
            alert.removed = call.now()
        return DONE


class DeleteAlerts(_Chosen, kw_only=True, frozen=True):
    """Deletes alerts, archived ones too."""

    spec = Spec(access=ROOT)

    def run(self, call: Call) -> Response:
        """Delete their rows."""
        for alert in call.session.scalars(self.chosen()):
            call.session.delete(alert)
        return DONE


class GenerateAlert(AsyncCommand, kw_only=True, frozen=True):
    """Generates an alert."""

    spec = Spec(access=ROOT, event="ALERT.GENERATE")

    name: Annotated[str, "the name of the alert"]
    description: Annotated[str, "what it says", Meta(max_length=MOST_TEXT)]
    type: Annotated[int, "the number of its kind", Meta(ge=0, le=2**15 - 1)]
    zoneid: Annotated[str | None, Ref(Zone)] = None
    podid: Annotated[str | None, Ref(Pod), NoEffect("alerts name their zone")] = None

    def run(self, call: Call) -> Job:
        """Insert it; nothing resolves it but a person."""
        alert = Alert(
            type=self.type,
            name=self.name[:64],
            description=self.description,
            zone_id=self.zoneid,
            last_sent=call.now(),
        )
        call.session.add(alert)
        return call.finish(kind="Alert", about=alert)
