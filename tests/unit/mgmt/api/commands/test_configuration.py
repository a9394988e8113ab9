"""The configuration through the API: scopes, validation, and that what is set is what is used."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mgmt.api.testing import Api, Client, open_api, read_answer
from mgmt.model.configuration import EXPUNGE_DELAY, ITEMS, SESSION_MINUTES, STORAGE_OVERPROVISIONING
from mgmt.store.configured import configured
from mgmt.store.passwords import hash_password
from mgmt.store.tables import Account, Cluster, Domain, Pod, StoragePool, User, Zone

pytestmark = pytest.mark.unit
MGMT = Path(__file__).parents[5] / "mgmt"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, fresh_store: Path) -> Iterator[Api]:
    with open_api(tmp_path_factory.mktemp("configuration"), like=fresh_store) as opened:
        yield opened


@pytest.fixture(scope="module")
def admin(api: Api) -> Client:
    return api.client("admin")


@pytest.fixture(scope="module")
def places(api: Api) -> dict[str, str]:
    """A zone with a cluster and a pool, and a domain below ROOT with an account."""
    with api.context.database.writing() as session:
        zone = Zone(name="z", dns1="9.9.9.9", internal_dns1="9.9.9.9")
        domain = Domain(name="d", path="/d/")
        session.add_all([zone, domain])
        session.flush()
        net = {"gateway": "172.20.0.1", "netmask": "255.255.255.0", "start_ip": "1", "end_ip": "2"}
        pod = Pod(zone_id=zone.id, name="p", **net)
        account = Account(name="a", domain_id=domain.id)
        session.add_all([pod, account])
        session.flush()
        cluster = Cluster(zone_id=zone.id, pod_id=pod.id, name="c")
        pool = StoragePool(zone_id=zone.id, name="s", path="s")
        session.add_all([cluster, pool])
        session.flush()
        return {
            "zoneid": zone.id,
            "clusterid": cluster.id,
            "storageid": pool.id,
            "domainid": domain.id,
            "accountid": account.id,
        }


def value(admin: Client, name: str, **place: str) -> str:
    (item,) = admin.get("listConfigurations", name=name, **place)["configuration"]
    return str(item["value"])


def test_every_item_is_listed_with_its_default(admin: Client) -> None:
    listed = admin.get("listConfigurations", pagesize=-1)["configuration"]
    assert [item["name"] for item in listed] == sorted(ITEMS)
    for item in listed:
        assert "id" not in item
        assert item["defaultvalue"] == ITEMS[item["name"]].write(ITEMS[item["name"]].default)
    page = admin.get("listConfigurations", page=2, pagesize=10)
    assert (page["count"], page["configuration"]) == (len(ITEMS), listed[10:20])
    groups = {item["name"] for item in admin.get("listConfigurationGroups")["configurationgroup"]}
    assert groups == {item["group"] for item in listed}
    assert admin.get("listConfigurations", keyword="no such words") == {}
    assert admin.get("listConfigurations", category="Alert")["count"] == 5


def test_events_say_what_was_set_where(admin: Client, places: dict[str, str]) -> None:
    at = places["clusterid"]
    admin.get("updateConfiguration", name="mem.overprovisioning.factor", value="1.5", clusterid=at)
    admin.get("resetConfiguration", name="mem.overprovisioning.factor", clusterid=at)
    events = admin.get("listEvents", type="CONFIGURATION.VALUE.EDIT", keyword=at)["event"]
    assert {event["description"] for event in events} == {
        f"updateConfiguration: mem.overprovisioning.factor is 1.5, cluster {at}",
        f"resetConfiguration: mem.overprovisioning.factor is 1.0, cluster {at}",
    }


@pytest.mark.parametrize(
    ("capability", "name", "value"),
    [
        ("allowusercreateprojects", "allow.user.create.projects", "false"),
        ("projectinviterequired", "project.invite.required", "true"),
        ("userpublictemplateenabled", "allow.public.user.templates", "false"),
    ],
)
def test_capabilities_are_those_that_are_configured(
    admin: Client, capability: str, name: str, value: str
) -> None:
    before = admin.get("listCapabilities")["capability"]
    assert before["dynamicrolesenabled"] is True
    admin.get("updateConfiguration", name=name, value=value)
    assert admin.get("listCapabilities")["capability"] == before | {capability: value == "true"}
    admin.get("resetConfiguration", name=name)


def test_no_item_is_there_that_nothing_reads() -> None:
    """Every constant of the registry is used by code outside it."""
    source = "\n".join(
        path.read_text() for path in MGMT.rglob("*.py") if "configuration" not in path.parent.name
    )
    constants = re.findall(
        r"^([A-Z_]+) = (?:Item|_threshold)\(",
        (MGMT / "model" / "configuration" / "items.py").read_text(),
        re.M,
    )
    assert len(constants) > 15
    unread = [name for name in (*constants, "default_limits") if not re.search(rf"\b{name}\b", source)]
    assert unread == []


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("storage.overprovisioning.factor", ("zoneid", "storageid")),
        ("cpu.overprovisioning.factor", ("zoneid", "clusterid")),
        ("session.timeout", ("domainid", "accountid")),
    ],
)
def test_the_closest_value_holds(
    admin: Client, places: dict[str, str], name: str, steps: tuple[str, str]
) -> None:
    outer, inner = ({step: places[step]} for step in steps)
    default = value(admin, name)
    admin.get("updateConfiguration", name=name, value=3)
    assert float(value(admin, name, **inner)) == 3
    admin.get("updateConfiguration", name=name, value=4, **outer)
    assert [float(value(admin, name, **at)) for at in ({}, outer, inner)] == [3, 4, 4]
    answer = admin.get("updateConfiguration", name=name, value=5, **inner)["configuration"]
    assert float(answer["value"]) == 5
    assert [float(value(admin, name, **at)) for at in ({}, outer, inner)] == [3, 4, 5]
    reset = admin.get("resetConfiguration", name=name, **inner)["configuration"]
    assert float(reset["value"]) == 4
    admin.get("resetConfiguration", name=name, **outer)
    admin.get("resetConfiguration", name=name)
    assert [value(admin, name, **at) for at in ({}, outer, inner)] == [default] * 3


@pytest.mark.parametrize(
    ("name", "wrong", "expected"),
    [
        ("expunge.delay", "soon", "expected a whole number of 0 or more"),
        ("expunge.delay", "-1", "expected a whole number of 0 or more"),
        ("expunge.delay", "", "expected a whole number of 0 or more"),
        ("max.account.user.vms", "-2", "expected a whole number of -1 or more"),
        ("cpu.overprovisioning.factor", "nan", "expected a number from 1 to 100"),
        ("cpu.overprovisioning.factor", "0.5", "expected a number from 1 to 100"),
        ("pool.storage.capacity.disablethreshold", "1.5", "expected a number from 0 to 1"),
        ("vm.allocation.algorithm", "best", "expected one of firstfit, firstfitleastconsumed"),
    ],
)
def test_a_wrong_value_names_item_value_and_what_is_allowed(
    admin: Client, name: str, wrong: str, expected: str
) -> None:
    before = value(admin, name)
    answer = admin("updateConfiguration", name=name, value=wrong)
    assert answer.status == 431
    assert f"Configuration item {name} cannot be {wrong}: {expected}" in answer.error
    assert value(admin, name) == before


def test_wrong_places_and_names(admin: Client, places: dict[str, str]) -> None:
    for command in ("updateConfiguration", "resetConfiguration"):
        unknown = admin(command, name="no.such.item", value=1)
        assert (unknown.status, "no.such.item" in unknown.error) == (431, True)
        elsewhere = admin(command, name="expunge.delay", value=1, zoneid=places["zoneid"])
        assert "cannot be set for a zone; its scopes are global" in elsewhere.error
        two = {"zoneid": places["zoneid"], "clusterid": places["clusterid"]}
        assert "send one of them" in admin(command, name="expunge.delay", value=1, **two).error
    assert "name several" in admin("listConfigurations", **two).error


@pytest.mark.parametrize("command", ["listConfigurations", "updateConfiguration", "resetConfiguration"])
def test_tenants_have_no_configuration(api: Api, command: str) -> None:
    for kind in (0, 2):
        tenant = api.account(f"tenant-{command}-{kind}", kind=kind)
        assert tenant(command, name="expunge.delay", value=0).status in (401, 432)


def test_a_cluster_shows_its_factors(admin: Client, places: dict[str, str]) -> None:
    at = {"name": "mem.overprovisioning.factor", "clusterid": places["clusterid"]}
    admin.get("updateConfiguration", value=1.5, **at)
    (cluster,) = admin.get("listClusters", id=places["clusterid"])["cluster"]
    assert (cluster["memoryovercommitratio"], cluster["cpuovercommitratio"]) == ("1.5", "8.0")
    admin.get("resetConfiguration", **at)


def test_code_reads_typed_values(api: Api, places: dict[str, str]) -> None:
    with api.context.database.reading() as session:
        assert configured(session, EXPUNGE_DELAY) == 86400
        factor = configured(session, STORAGE_OVERPROVISIONING, pool_id=places["storageid"])
        assert (type(factor), factor) == (float, 2.0)


def test_a_session_lasts_as_long_as_its_account_may(api: Api, admin: Client) -> None:
    with api.context.database.writing() as session:
        account = session.query(Account).filter_by(name="admin").one()
        session.add(User(account_id=account.id, username="clerk", password=hash_password("sesame, sesame")))
    admin.get("updateConfiguration", name=SESSION_MINUTES.name, value=7, accountid=account.id)
    form: dict[str, Any] = {"username": "clerk", "password": "sesame, sesame", "response": "json"}
    answer = read_answer(api.app.test_client().post("/client/api", data={"command": "login", **form}))
    assert answer.body["timeout"] == 7 * 60
    admin.get("resetConfiguration", name=SESSION_MINUTES.name, accountid=account.id)
