"""`PUT /v1/state` and `GET /v1/state`: the one document, in whole; back only without its secrets."""

from flask import Blueprint, Response, request
from msgspec import Struct

from systemvm.agent.answers import answer, query
from systemvm.agent.errors import NotFound
from systemvm.engine.apply import Engine
from systemvm.spec import codec
from systemvm.spec.state import State


class PutQuery(Struct, forbid_unknown_fields=True):
    """`force` touches also services that seem unchanged."""

    force: bool = False


class GetQuery(Struct, forbid_unknown_fields=True):
    """`generation` is one of the kept; by default the applied one."""

    generation: int | None = None


def blueprint(engine: Engine) -> Blueprint:
    """Routes of the document."""
    routes = Blueprint("state", __name__)

    @routes.put("/v1/state")
    def put_state() -> Response:
        force = query(PutQuery).force
        return answer(engine.apply(request.get_data(cache=False), force=force))

    @routes.get("/v1/state")
    def get_state() -> Response:
        wanted = query(GetQuery).generation
        kept = engine.generation(wanted)
        if kept is None:
            raise NotFound(
                "no document is applied yet" if wanted is None else f"generation {wanted} is not kept"
            )
        return answer(
            {
                "generation": kept.generation,
                "progress": kept.progress,
                "error": kept.error,
                "at": kept.at,
                "state": codec.redact(codec.decode(kept.document, State)),
            }
        )

    return routes
