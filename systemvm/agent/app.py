"""The Flask application: who may ask, the routes, and every error as JSON in one place."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from systemvm.agent.answers import answer_error
from systemvm.agent.errors import Forbidden
from systemvm.agent.routes import certificate, diagnostics, info, reads, state, telemetry
from systemvm.agent.tls import is_mgmt, names_of, own_certificate
from systemvm.engine.apply import Engine
from systemvm.engine.errors import EngineError
from systemvm.engine.registry import Services
from systemvm.engine.service import Doors
from systemvm.spec.bootstrap import MGMT_NAME, Bootstrap

log = logging.getLogger(__name__)

#: Largest document, in bytes: 10,000 rules are about 3 MB.
MAX_BODY = 32 * 1024**2


def create_app(
    engine: Engine,
    services: Services,
    bootstrap: Bootstrap,
    doors: Doors,
    client_names: Callable[[Mapping[str, Any]], set[str]] = names_of,
) -> Flask:
    """The agent's application; `client_names` tells the names in a request's client certificate."""
    app = Flask("systemvm.agent", static_folder=None, template_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY

    @app.before_request
    def only_mgmt() -> None:
        names = client_names(request.environ)
        if not is_mgmt(names):
            shown = ", ".join(sorted(names)) or "no DNS name"
            raise Forbidden(f"the client certificate has {shown}; this agent obeys {MGMT_NAME} only")

    app.register_blueprint(info.blueprint(engine, bootstrap, doors))
    app.register_blueprint(state.blueprint(engine))
    app.register_blueprint(telemetry.blueprint(engine, services, bootstrap, doors))
    app.register_blueprint(diagnostics.blueprint(engine, doors))
    app.register_blueprint(certificate.blueprint(own_certificate(doors)))
    app.register_blueprint(reads.blueprint(engine, services, bootstrap, doors))
    _answer_errors(app)
    return app


def _answer_errors(app: Flask) -> None:
    @app.errorhandler(EngineError)
    def engine_error(error: EngineError) -> Response:
        log.info("%s %s is refused: %s: %s", request.method, request.path, error.code, error)
        return answer_error(error.code, str(error), error.status, error.problems)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        code = error.name.lower().replace(" ", "_")
        return answer_error(code, error.description or error.name, error.code or 500)

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        log.exception("%s %s broke", request.method, request.path, exc_info=error)
        return answer_error("internal", "the agent broke on this request; its log says where", 500)
