"""`GET /v1/<role>/<path>`: what the services of the applied document have to tell.

A service offers reads in an optional module `reads.py`: `READS` maps the path after `/v1/<role>/` to a
function of the doors.
"""

from flask import Blueprint, Response

from systemvm.agent.answers import answer
from systemvm.agent.errors import NotFound
from systemvm.engine.apply import Engine
from systemvm.engine.registry import Read, Services, sections_of
from systemvm.engine.service import Doors
from systemvm.spec.bootstrap import Bootstrap


def blueprint(engine: Engine, services: Services, bootstrap: Bootstrap, doors: Doors) -> Blueprint:
    """Routes of the role."""
    routes = Blueprint("reads", __name__)

    @routes.get("/v1/<role>/<path:path>")
    def read(role: str, path: str) -> Response:
        if role != bootstrap.role:
            raise NotFound(f"this machine is a {bootstrap.role}, it has no /v1/{role}")
        reads = offered(engine, services)
        if path not in reads:
            there = ", ".join(sorted(reads)) or "nothing"
            raise NotFound(f"no service of the applied document tells {path}; there is {there}")
        return answer(reads[path](doors))

    return routes


def offered(engine: Engine, services: Services) -> dict[str, Read]:
    """All reads of the services of the applied document."""
    found: dict[str, Read] = {}
    for name in sections_of(engine.applied.state) if engine.applied else ():
        found.update(services.reads(name))
    return found
