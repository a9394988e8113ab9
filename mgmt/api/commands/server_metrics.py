"""How the parts behind the API are, for dashboards: its database, and what sums up usage."""

from mgmt.api.access import ROOT
from mgmt.api.call import Call
from mgmt.api.registry import Response, Spec, SyncCommand
from mgmt.api.responses.discovery import DatabaseMetricsResponse, UsageServerMetricsResponse
from mgmt.api.responses.lookup import wire_time
from mgmt.model.configuration import USAGE_ENABLED
from mgmt.ops.usage import last_day
from mgmt.store.configured import configured
from mgmt.store.vitals import vitals


class ListDbMetrics(SyncCommand, kw_only=True, frozen=True):
    """Tells which database the management servers use, and how it is."""

    spec = Spec(answer=DatabaseMetricsResponse, key="dbMetrics", access=ROOT)

    def run(self, call: Call) -> Response:
        """Ask the database itself."""
        found = vitals(call.session)
        return DatabaseMetricsResponse(
            hostname=call.session.get_bind().engine.url.host or "localhost",
            version=found.version,
            versioncomment=found.name,
            connections=found.connections,
            uptime=found.uptime,
            collectiontime=wire_time(call.now()) or "",
        )


class ListUsageServerMetrics(SyncCommand, kw_only=True, frozen=True):
    """Tells whether usage is summed up, and until when it is."""

    spec = Spec(answer=UsageServerMetricsResponse, key="usageMetrics", access=ROOT)

    def run(self, call: Call) -> Response:
        """The reconcile loop does it, on whichever server it runs."""
        day = last_day(call.session)
        return UsageServerMetricsResponse(
            state="Up" if configured(call.session, USAGE_ENABLED) else "Disabled",
            lastsuccessfuljob=f"{day:%Y-%m-%d}" if day else None,
            collectiontime=wire_time(call.now()) or "",
        )
