"""Health, probes, metrics, usage and logs: what the machine says of itself."""

from typing import Annotated, Any

from flask import Blueprint, Response
from msgspec import Meta, Struct

from systemvm.agent import exposition, usage
from systemvm.agent.answers import answer, query
from systemvm.agent.errors import NotFound
from systemvm.agent.routes.reads import offered
from systemvm.engine.apply import Engine
from systemvm.engine.registry import Services
from systemvm.engine.service import Doors
from systemvm.spec.bootstrap import Bootstrap

#: The agent's own log, beside those of the daemons of the applied document.
OWN_LOG = "agent"


class LogsQuery(Struct, forbid_unknown_fields=True):
    """The last `lines` of a daemon's log."""

    daemon: str = OWN_LOG
    lines: Annotated[int, Meta(ge=1, le=5000)] = 200


def blueprint(engine: Engine, services: Services, bootstrap: Bootstrap, doors: Doors) -> Blueprint:
    """Routes of telemetry."""
    routes = Blueprint("telemetry", __name__)

    @routes.get("/v1/health")
    def health() -> Response:
        found = engine.health()
        return answer(found, 200 if found.healthy else 503)

    @routes.get("/v1/probes")
    def probes() -> Response:
        return answer({"probes": engine.probe()})

    @routes.get("/v1/metrics")
    def metrics() -> Response:
        text = exposition.render(engine.health(), usage.read_links(doors), bootstrap.role)
        return Response(text, mimetype=exposition.MIME_TYPE)

    @routes.get("/v1/usage")
    def get_usage() -> Response:
        # Per public address, by the firewall; nothing where there is none.
        read = offered(engine, services).get("usage")
        addresses = read(doors) if read else ()
        return answer({"at": doors.now(), "links": usage.read_links(doors), "addresses": addresses})

    @routes.get("/v1/logs")
    def logs() -> Response:
        wanted = query(LogsQuery)
        known = _log_names(engine)
        if wanted.daemon not in known:
            raise NotFound(f"{wanted.daemon} has no log here; there are {', '.join(known)}")
        return answer({"daemon": wanted.daemon, "lines": doors.daemons.logs(wanted.daemon, wanted.lines)})

    return routes


def _log_names(engine: Engine) -> list[str]:
    renderings: Any = engine.applied.renderings.values() if engine.applied else ()
    return [OWN_LOG, *sorted(daemon.name for rendering in renderings for daemon in rendering.daemons)]
