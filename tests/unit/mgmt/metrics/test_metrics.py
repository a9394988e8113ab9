"""`/metrics`: who gets it, what it says, what it costs, and that alert rules ask for what is there."""

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from flask.testing import FlaskClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from mgmt.api.app import create_app
from mgmt.api.testing import counted_statements
from mgmt.jobs import rows
from mgmt.metrics import state as state_module
from mgmt.metrics.page import create_metrics, load_token
from mgmt.metrics.state import CloudState
from mgmt.ops import names
from mgmt.reconcile.loop import Reconciler
from mgmt.store.tables import Job, Vm
from tests.unit.mgmt.small_cloud import SmallCloud
from tests.unit.mgmt.tenant import Tenant

pytestmark = pytest.mark.unit
TOKEN = "t" * 43
RULES = Path(__file__).parents[4] / "docs/prometheus/rules.yml"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass
class Scraped:
    """The page of a small cloud."""

    cloud: SmallCloud
    tenant: Tenant
    browser: FlaskClient

    def text(self) -> str:
        answer = self.browser.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200
        return answer.text

    def samples(self) -> Samples:
        found: Samples = {}
        for family in text_string_to_metric_families(self.text()):
            assert family.documentation, family.name
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in found, key
                found[key] = sample.value
        return found

    def value(self, name: str, **labels: str) -> float:
        return self.samples()[name, frozenset(labels.items())]


@pytest.fixture
def page(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> Scraped:
    monkeypatch.setattr(state_module, "KEPT_SECONDS", 0.0)
    app = create_app(tenant.context)
    app.register_blueprint(create_metrics(tenant.cloud.runtime.database, TOKEN, "4.22.0.0"))
    return Scraped(tenant.cloud, tenant, app.test_client())


def statements_of(cloud: SmallCloud, action: Any) -> list[str]:
    with counted_statements(cloud.runtime.database) as seen:
        action()
    return seen


def test_only_the_token_opens_it(page: Scraped) -> None:
    for sent in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"):
        answer = page.browser.get("/metrics", headers={"Authorization": sent} if sent else {})
        assert answer.status_code == 401, sent
        assert "pileus_" not in answer.text


def test_the_token_is_made_once_and_private(tmp_path: Path) -> None:
    file = tmp_path / "metrics-token"
    token = load_token(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert load_token(file) == token
    assert len(token) > 40
    file.write_text("short\n")
    with pytest.raises(ValueError, match="remove it"):
        load_token(file)


def test_it_says_how_the_cloud_is(page: Scraped) -> None:
    page.tenant.deploy(page.tenant.network())
    assert page.value("pileus_hosts", zone="zone1", state="Up", resource_state="Enabled") == 1
    assert page.value("pileus_vms", zone="zone1", state="Running") == 1
    routers = {"zone": "zone1", "kind": "router", "state": "Running", "health": "good"}
    assert page.value("pileus_system_vms", **routers) == 1
    assert page.value("pileus_capacity_total", zone="zone1", type="virtual_network_public_ip") == 10
    assert page.value("pileus_capacity_used", zone="zone1", type="virtual_network_public_ip") >= 2
    assert page.value("pileus_jobs_oldest_pending_seconds") == 0
    assert page.value("pileus_build_info", version="4.22.0.0") == 1
    assert page.value("pileus_database_connections", state="used") >= 0
    assert page.value("process_resident_memory_bytes") > 1e6


def test_prometheus_itself_asks_for_another_format(page: Scraped) -> None:
    """OpenMetrics, whose parser is stricter."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/openmetrics-text;version=1.0.0"}
    answer = page.browser.get("/metrics", headers=headers)
    assert answer.content_type.startswith("application/openmetrics-text")
    found = {family.name for family in openmetrics(answer.text)}
    assert {"pileus_hosts", "pileus_api_calls", "pileus_build", "process_cpu_seconds"} <= found


def test_a_clock_that_goes_back_makes_no_sum_fall(page: Scraped) -> None:
    page.cloud.add(
        Job(
            account_id=page.cloud.account_id,
            domain_id=page.cloud.domain_id,
            user_id=page.cloud.user_id,
            command="stopVirtualMachine",
            workflow="clock",
            created=page.cloud.runtime.now() + timedelta(days=1),
        )
    )
    rows.finish(
        page.cloud.runtime, next(row.id for row in page.cloud.rows(Job) if row.workflow == "clock"), None, []
    )
    assert page.value("pileus_job_seconds_sum", workflow="clock") == 0


def test_jobs_that_wait_have_an_age(page: Scraped) -> None:
    row = Job(
        account_id=page.cloud.account_id,
        domain_id=page.cloud.domain_id,
        user_id=page.cloud.user_id,
        command="startVirtualMachine",
        workflow=names.START_VM,
    )
    page.cloud.add(row)
    assert page.value("pileus_jobs_pending", workflow=names.START_VM, state="queued") == 1
    assert page.value("pileus_jobs_oldest_pending_seconds") >= 0


def test_calls_are_counted_by_commands_of_the_registry_only(page: Scraped) -> None:
    before = page.samples()
    for name in ("listZones", "makeCoffee", 'x"} 1\nevil{a="'):
        page.browser.get("/client/api", query_string={"command": name, "response": "json"})
    after = page.samples()
    grown = {key: after[key] - before.get(key, 0) for key in after if key[0] == "pileus_api_calls_total"}
    counted = {dict(key[1])["command"]: number for key, number in grown.items() if number}
    assert counted == {"listZones": 1, "unknown": 2}
    assert page.value("pileus_api_call_seconds_count", command="unknown") >= 2


def test_rounds_of_the_loop_are_timed_and_failures_counted(
    page: Scraped, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = page.samples()
    loop = Reconciler(page.cloud.runtime)
    rounds: list[str] = []

    def tick() -> list[Any]:
        rounds.append("")
        page.cloud.runtime.wake.set()
        if len(rounds) == 2:
            loop._stopping.set()
            raise RuntimeError("told to fail")
        return []

    monkeypatch.setattr(loop, "tick", tick)
    loop._run()
    for name, more in (
        ("pileus_reconcile_round_seconds_count", 2),
        ("pileus_reconcile_failed_rounds_total", 1),
    ):
        assert page.value(name) - before[name, frozenset()] == more
    assert page.value("pileus_reconcile_last_round_timestamp_seconds") > 1.7e9


def test_a_larger_cloud_costs_no_more_statements(page: Scraped) -> None:
    network = page.tenant.network()
    page.tenant.deploy(network)
    few = statements_of(page.cloud, page.text)
    for number in range(4):
        page.tenant.deploy(network, name=f"more{number}")
    page.tenant.deploy(page.tenant.network())
    many = statements_of(page.cloud, page.text)
    assert len(many) == len(few) <= 20


def test_what_was_read_is_kept_for_some_seconds(cloud: SmallCloud) -> None:
    clock = [0.0]
    state = CloudState(cloud.runtime.database, monotonic=lambda: clock[0])
    assert statements_of(cloud, lambda: list(state.collect()))
    clock[0] = state_module.KEPT_SECONDS - 1
    assert not statements_of(cloud, lambda: list(state.collect()))
    clock[0] = state_module.KEPT_SECONDS
    assert statements_of(cloud, lambda: list(state.collect()))


def test_nothing_of_tenants_is_in_it(page: Scraped) -> None:
    made = page.tenant.deploy(page.tenant.network(), name="secretname")
    text = page.text()
    vm = next(row for row in page.cloud.rows(Vm) if row.kind == "user")
    for word in ("secretname", made["id"], vm.instance_name, "bob", "shop", "10.1.1.", "172.31."):
        assert word not in text, word


def test_the_alert_rules_ask_for_what_there_is(page: Scraped) -> None:
    page.browser.get("/client/api", query_string={"command": "listZones"})
    known = {name for name, _ in page.samples()} | {"pileus_jobs_finished_total"}
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert len(rules) > 5
    for rule in rules:
        promql_parser.parse(rule["expr"])
        assert rule["annotations"]["summary"]
        asked = set(re.findall(r"\bpileus_\w+", rule["expr"]))
        assert asked <= known, rule["alert"]
        assert asked or "up{" in rule["expr"]
