"""The host agent's REST face: JSON, versioned; every error is `{"code", "message"}` with a true status."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from appliance.hostagent.errors import Conflict, NotFound, Refused
from appliance.hostagent.host import API_VERSIONS, Host
from appliance.hostagent.metrics import render_metrics
from appliance.hostagent.tls import own_certificate, request_names
from systemvm.engine.errors import EngineError, InvalidDocument
from systemvm.engine.renewal import Renewal
from systemvm.spec import codec
from systemvm.spec.bootstrap import MGMT_NAME
from systemvm.spec.certificate import SignedCertificate
from systemvm.spec.host import (
    CopyState,
    Departure,
    Domain,
    DomainSnapshot,
    DomainStatus,
    HostState,
    SharedPool,
    Volume,
    VolumeCopy,
    VolumeFetch,
)
from systemvm.spec.types import Problem, Uuid

_log = logging.getLogger("pileus.host")
#: Largest document, in bytes.
MAX_BODY = 8 << 20
#: Seconds that a PUT or DELETE of a VM waits for its end, unless `?wait=` says otherwise, and at most.
WAIT, LONGEST_WAIT = 20.0, 120.0
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def create_app(host: Host, names_of: Callable[[Mapping[str, Any]], set[str]] = request_names) -> Flask:
    """The application; `names_of` tells the DNS names in a request's client certificate."""
    app = Flask("appliance.hostagent", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY

    @app.before_request
    def only_mgmt() -> Response | None:
        names = names_of(request.environ)
        if MGMT_NAME in names:
            return None
        shown = ", ".join(sorted(names)) or "no name"
        return _error("forbidden", f"the client certificate has {shown}; only {MGMT_NAME} may ask", 403)

    _add_host_routes(app, host)
    _add_certificate_routes(app, own_certificate(host.config))
    _add_domain_routes(app, host)
    _add_snapshot_routes(app, host)
    _add_migration_routes(app, host)
    _add_pool_routes(app, host)
    _add_volume_routes(app, host)
    _add_copy_routes(app, host)
    _answer_errors(app)
    return app


def _add_host_routes(app: Flask, host: Host) -> None:
    @app.get("/")
    def versions() -> Response:
        return _answer({"name": "pileus host agent", "versions": API_VERSIONS})

    @app.get("/v1/info")
    def info() -> Response:
        return _answer(host.info())

    @app.get("/v1/state")
    def get_state() -> Response:
        state = host.networks.state
        if state is None:
            raise NotFound("no state was applied to this host yet")
        return _answer(state)

    @app.put("/v1/state")
    def put_state() -> Response:
        changed = host.networks.apply(_document(HostState))
        return _answer({"changed": changed})

    @app.get("/v1/health")
    def health() -> Response:
        probes = host.health()
        return _answer(probes, 200 if all(probe.healthy for probe in probes) else 503)

    @app.get("/v1/metrics")
    def metrics() -> Response:
        text = render_metrics(host.domains.list(), host.hypervisor.statistics())
        return Response(text, mimetype="text/plain; version=0.0.4")


def _add_certificate_routes(app: Flask, renewal: Renewal) -> None:
    @app.post("/v1/certificate/request")
    def request_certificate() -> Response:
        return _answer(renewal.request())

    @app.put("/v1/certificate")
    def put_certificate() -> Response:
        return _answer(renewal.take(_document(SignedCertificate)))


def _add_domain_routes(app: Flask, host: Host) -> None:
    @app.get("/v1/domains")
    def domains() -> Response:
        return _answer(host.domains.list())

    @app.get("/v1/changes")
    def changes() -> Response:
        return _answer({"mark": host.hypervisor.changes.wait(request.args.get("seen", ""), _wait())})

    @app.get("/v1/domains/<uuid>")
    def get_domain(uuid: str) -> Response:
        return _answer(host.domains.get(_uuid(uuid)))

    @app.put("/v1/domains/<uuid>")
    def put_domain(uuid: str) -> Response:
        document = _document(Domain)
        _require_same(_uuid(uuid), document.id)
        status = host.domains.put(document, force=_flag("force"), wait=_wait())
        return _status(status)

    @app.delete("/v1/domains/<uuid>")
    def delete_domain(uuid: str) -> Response:
        host.domains.delete(_uuid(uuid), keep_volumes=_flag("keep_volumes"), wait=_wait())
        return Response(status=204)


def _add_snapshot_routes(app: Flask, host: Host) -> None:
    @app.put("/v1/domains/<uuid>/snapshots/<snapshot>")
    def take_snapshot(uuid: str, snapshot: str) -> Response:
        document = _document(DomainSnapshot)
        _require_same(_uuid(snapshot), document.id)
        return _status(host.snapshots.take(_uuid(uuid), document, wait=_wait()))

    @app.delete("/v1/domains/<uuid>/snapshots/<snapshot>")
    def drop_snapshot(uuid: str, snapshot: str) -> Response:
        return _status(host.snapshots.drop(_uuid(uuid), _uuid(snapshot), wait=_wait()))

    @app.post("/v1/domains/<uuid>/snapshots/<snapshot>/revert")
    def revert_snapshot(uuid: str, snapshot: str) -> Response:
        document = _document(DomainSnapshot)
        _require_same(_uuid(snapshot), document.id)
        return _status(host.snapshots.revert(_uuid(uuid), document, wait=_wait()))


def _add_migration_routes(app: Flask, host: Host) -> None:
    @app.put("/v1/landings/<uuid>")
    def put_landing(uuid: str) -> Response:
        document = _document(Domain)
        _require_same(_uuid(uuid), document.id)
        landing = host.migrations.land(document, wait=_wait())
        return _answer(landing, 202 if landing is None else 200)

    @app.delete("/v1/landings/<uuid>")
    def close_landing(uuid: str) -> Response:
        host.migrations.close(_uuid(uuid))
        return Response(status=204)

    @app.put("/v1/departures/<uuid>")
    def put_departure(uuid: str) -> Response:
        return _status(host.migrations.depart(_uuid(uuid), _document(Departure), wait=_wait()))

    @app.put("/v1/domains/<uuid>/volumes/<volume>")
    def move_disk(uuid: str, volume: str) -> Response:
        copy = _document(VolumeFetch)
        _require_same(_uuid(volume), copy.volume.id)
        return _status(host.disk_moves.put(_uuid(uuid), copy, wait=_wait()))

    @app.put("/v1/volumes/<uuid>/fetch")
    def fetch_volume(uuid: str) -> Response:
        copy = _document(VolumeFetch)
        _require_same(_uuid(uuid), copy.volume.id)
        done = host.fetches.put(copy, wait=_wait())
        return _answer({"done": done}, 200 if done else 202)

    @app.put("/v1/volumes/<uuid>/base")
    def fetch_base(uuid: str) -> Response:
        copy = _document(VolumeFetch)
        _require_same(_uuid(uuid), copy.volume.id)
        done = host.fetches.put_base(copy, wait=_wait())
        return _answer({"done": done}, 200 if done else 202)


def _add_pool_routes(app: Flask, host: Host) -> None:
    @app.put("/v1/pools/<uuid>")
    def put_pool(uuid: str) -> Response:
        document = _document(SharedPool)
        _require_same(_uuid(uuid), document.id)
        return _answer(host.shared_pools.connect(document))

    @app.delete("/v1/pools/<uuid>")
    def delete_pool(uuid: str) -> Response:
        host.shared_pools.drop(_uuid(uuid))
        return Response(status=204)


def _add_volume_routes(app: Flask, host: Host) -> None:
    @app.get("/v1/volumes")
    def volumes() -> Response:
        return _answer(host.volumes.list(host.domains.attachments()))

    @app.get("/v1/volumes/<uuid>")
    def get_volume(uuid: str) -> Response:
        return _answer(host.volumes.get(_uuid(uuid), host.domains.attachments()))

    @app.put("/v1/volumes/<uuid>")
    def put_volume(uuid: str) -> Response:
        volume = _document(Volume)
        _require_same(_uuid(uuid), volume.id)
        made = host.put_volume(volume, replace=_flag("replace"), wait=_wait())
        return _answer(made, 202 if made.preparing else 200)

    @app.delete("/v1/volumes/<uuid>")
    def delete_volume(uuid: str) -> Response:
        pool = request.args.get("pool", "")
        host.fetches.stop(_uuid(uuid))
        host.disk_moves.stop(_uuid(uuid), pool)
        host.volumes.delete(_uuid(uuid), host.domains.attachments(), pool)
        return Response(status=204)

    @app.get("/v1/templates")
    def templates() -> Response:
        return _answer(host.templates.list())


def _add_copy_routes(app: Flask, host: Host) -> None:
    @app.get("/v1/copies")
    def copies() -> Response:
        return _answer(host.copies.list())

    @app.get("/v1/copies/<uuid>")
    def get_copy(uuid: str) -> Response:
        return _answer(host.copies.get(_uuid(uuid)))

    @app.put("/v1/copies/<uuid>")
    def put_copy(uuid: str) -> Response:
        document = _document(VolumeCopy)
        _require_same(_uuid(uuid), document.id)
        status = host.copies.put(document, wait=_wait())
        return _answer(status, 202 if status.state in (CopyState.copying, CopyState.sending) else 200)

    @app.delete("/v1/copies/<uuid>")
    def delete_copy(uuid: str) -> Response:
        if not host.copies.delete(_uuid(uuid), wait=_wait()):
            raise Conflict(f"copy {uuid} is still being ended: ask again")
        return Response(status=204)


def _answer_errors(app: Flask) -> None:
    @app.errorhandler(InvalidDocument)
    def invalid(error: InvalidDocument) -> Response:
        return _error(error.code, str(error), error.status, error.problems)

    @app.errorhandler(EngineError)
    def engine(error: EngineError) -> Response:
        return _error(error.code, str(error), error.status)

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        return _error("http", error.description or error.name, error.code or 500)

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        _log.exception("%s %s failed", request.method, request.path)
        return _error("internal", f"{type(error).__name__}: {error}", 500)


def _document(kind: type[Any]) -> Any:
    raw = request.get_data()
    if problems := codec.problems(raw, kind):
        raise InvalidDocument(problems)
    return codec.decode(raw, kind)


def _uuid(text: str) -> Uuid:
    if not _UUID.fullmatch(text):
        raise NotFound(f"{text!r} is no lower-case UUID")
    return text


def _require_same(in_path: str, in_document: str) -> None:
    if in_path != in_document:
        raise InvalidDocument([Problem(path="id", message=f"is {in_document}, but the path says {in_path}")])


def _flag(name: str) -> bool:
    return request.args.get(name, "") in ("1", "true")


def _wait() -> float:
    text = request.args.get("wait", str(WAIT))
    try:
        return min(max(float(text), 0.0), LONGEST_WAIT)
    except ValueError:
        raise Refused(f"wait={text}: not a number of seconds") from None


def _answer(data: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(data), status, mimetype="application/json")


def _status(status: DomainStatus) -> Response:
    return _answer(status, 202 if status.state == "preparing" else 200)


def _error(code: str, message: str, status: int, problems: Iterable[Problem] = ()) -> Response:
    body: dict[str, Any] = {"code": code, "message": message}
    if listed := list(problems):
        body["problems"] = listed
    return _answer(body, status)
