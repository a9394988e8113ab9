"""The application without a network: who is let in, which routes there are, how errors look."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from systemvm.agent.app import create_app
from systemvm.engine.apply import Engine
from systemvm.engine.service import Doors
from systemvm.engine.testing import RecordedDaemons, recorded_doors
from systemvm.spec.bootstrap import MGMT_NAME
from tests.unit.systemvm.agent.test_config_disk import BOOTSTRAP
from tests.unit.systemvm.engine.tiny import Tiny, TinyServices, document

pytestmark = pytest.mark.unit

ROUTES = {
    "GET /",
    "GET /v1/info",
    "GET /v1/state",
    "PUT /v1/state",
    "GET /v1/health",
    "GET /v1/probes",
    "GET /v1/metrics",
    "GET /v1/usage",
    "GET /v1/logs",
    "POST /v1/diagnostics",
    "POST /v1/certificate/request",
    "PUT /v1/certificate",
    "GET /v1/<role>/<path:path>",
}
METADATA = {
    "interfaces": ["eth2"],
    "guests": [{"address": "10.1.1.5", "user_data": base64.b64encode(b"hush").decode()}],
}


@pytest.fixture
def services() -> TinyServices:
    return TinyServices(Tiny("interfaces"), Tiny("dnsmasq", after=("interfaces",)), Tiny("metadata"))


@pytest.fixture
def doors(tmp_path: Path) -> Doors:
    link = tmp_path / "sys/class/net/eth1"
    (link / "statistics").mkdir(parents=True)
    (link / "address").write_text("02:00:00:00:00:01\n")
    for name, value in {"rx_bytes": 7, "tx_bytes": 8, "rx_packets": 1, "tx_packets": 2}.items():
        (link / "statistics" / name).write_text(f"{value}\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/uptime").write_text("12.50 20.00\n")
    (tmp_path / "proc/meminfo").write_text("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 500 kB\n")
    return recorded_doors(tmp_path)


@pytest.fixture
def names() -> set[str]:
    return {MGMT_NAME}


@pytest.fixture
def client(services: TinyServices, doors: Doors, names: set[str]) -> Iterator[FlaskClient]:
    engine = Engine(services, doors, BOOTSTRAP)
    app = create_app(engine, services, BOOTSTRAP, doors, client_names=lambda environ: names)
    yield app.test_client()
    engine.close()


@pytest.fixture
def ready(client: FlaskClient, services: TinyServices, doors: Doors) -> Iterator[FlaskClient]:
    engine = Engine(services, doors, BOOTSTRAP)
    engine.recover()
    app = create_app(engine, services, BOOTSTRAP, doors, client_names=lambda environ: {MGMT_NAME})
    yield app.test_client()
    engine.close()


def test_routes_are_these(client: FlaskClient) -> None:
    rules = client.application.url_map.iter_rules()
    found = {f"{method} {rule.rule}" for rule in rules for method in rule.methods or ()}
    assert {route for route in found if not route.startswith(("HEAD", "OPTIONS"))} == ROUTES


@pytest.mark.parametrize("route", sorted(ROUTES))
def test_every_route_is_closed_to_others(client: FlaskClient, names: set[str], route: str) -> None:
    names.clear()
    names.add("*.pileus.internal")
    method, _, path = route.partition(" ")
    refused = client.open(path, method=method)
    assert refused.status_code == 403
    assert refused.get_json()["code"] == "forbidden"


def test_no_tls_no_entry(services: TinyServices, doors: Doors) -> None:
    """Without gunicorn's TLS socket in the request there is no name, and nobody is mgmt."""
    app = create_app(Engine(services, doors, BOOTSTRAP), services, BOOTSTRAP, doors)
    assert app.test_client().get("/v1/info").status_code == 403


def test_while_recovering(client: FlaskClient) -> None:
    health = client.get("/v1/health")
    assert (health.status_code, health.get_json()["activity"]) == (503, "recovering")
    busy = client.put("/v1/state", data=document(1))
    assert (busy.status_code, busy.get_json()["code"]) == (409, "busy")
    assert client.get("/v1/state").status_code == 404


def test_put_then_get_without_secrets(ready: FlaskClient) -> None:
    put = ready.put("/v1/state", data=document(1, metadata=METADATA))
    assert (put.status_code, put.get_json()["services"]) == (200, ["interfaces", "metadata"])
    got = ready.get("/v1/state")
    assert got.get_json()["state"]["metadata"]["guests"][0]["user_data"] == "[secret]"
    assert base64.b64encode(b"hush") not in got.data
    assert ready.get("/v1/health").get_json()["applied"] == 1


def test_a_refused_document(ready: FlaskClient, services: TinyServices) -> None:
    services.tiny["dnsmasq"].refuse_apply = "8.8.8.8"
    failed = ready.put("/v1/state", data=document(1, dnsmasq={"upstream": ["8.8.8.8"]}))
    error = failed.get_json()
    assert (failed.status_code, error["code"]) == (500, "apply_failed")
    assert error["problems"] == [
        {"path": "dnsmasq", "message": "dnsmasq: exit code 1: cannot read 8.8.8.8"},
    ]


def test_a_bug_says_nothing_of_itself(ready: FlaskClient, services: TinyServices) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the password is pa55")

    object.__setattr__(services.tiny["dnsmasq"].service, "check", broken)
    failed = ready.put("/v1/state", data=document(1, dnsmasq={}))
    assert (failed.status_code, failed.get_json()["code"]) == (500, "internal")
    assert b"pa55" not in failed.data


def test_info(ready: FlaskClient) -> None:
    ready.put("/v1/state", data=document(1))
    info = ready.get("/v1/info").get_json()
    assert (info["name"], info["uptime_seconds"], info["applied"]) == ("r-1-vm", 12.5, 1)
    assert info["memory"] == {"total": 1024000, "available": 512000}
    assert [kept["progress"] for kept in info["generations"]] == ["applied"]


def test_usage_and_metrics(
    ready: FlaskClient, services: TinyServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = ready.get("/v1/usage").get_json()
    assert usage["links"][0]["received_bytes"] == 7
    assert usage["addresses"] == []
    per_address = [{"address": "192.0.2.1", "received_bytes": 180}]
    monkeypatch.setattr(services, "reads", lambda name: {"usage": lambda doors: per_address})
    ready.put("/v1/state", data=document(1))
    assert ready.get("/v1/usage").get_json()["addresses"] == per_address
    metrics = ready.get("/v1/metrics")
    assert metrics.mimetype == "text/plain"
    assert "# TYPE pileus_link_sent_bytes_total counter\n" in metrics.text
    assert 'pileus_link_sent_bytes_total{link="eth1"} 8.0\n' in metrics.text


def test_logs_of_the_documents_daemons_only(ready: FlaskClient, doors: Doors) -> None:
    assert isinstance(doors.daemons, RecordedDaemons)
    doors.daemons.printed["dnsmasq"] = ["one", "two", "three"]
    assert ready.get("/v1/logs?daemon=dnsmasq").status_code == 404
    ready.put("/v1/state", data=document(1, dnsmasq={}))
    got = ready.get("/v1/logs?daemon=dnsmasq&lines=2")
    assert got.get_json() == {"daemon": "dnsmasq", "lines": ["two", "three"]}


def test_reads_of_the_role(ready: FlaskClient) -> None:
    assert ready.get("/v1/router/dnsmasq").status_code == 404
    ready.put("/v1/state", data=document(1, dnsmasq={}))
    assert ready.get("/v1/router/dnsmasq").get_json()["service"] == "dnsmasq"
    assert ready.get("/v1/storage/dnsmasq").status_code == 404
