"""Lists: paging, filters, and a number of statements that does not grow."""

import pytest
from sqlalchemy import insert, select

from mgmt.api.registry import REGISTRY
from mgmt.api.testing import Api, Client
from mgmt.store.tables import Account, Event, User
from mgmt.store.tables.base import new_id, now

pytestmark = pytest.mark.unit
MANY = 100_000
NEED_AN_ID = {"listLoadBalancerRuleInstances"}


def add_events(api: Api, count: int) -> None:
    with api.context.database.writing() as session:
        user = session.scalars(select(User).where(User.username == "admin")).one()
        account = session.get_one(Account, user.account_id)
        row = {"account_id": account.id, "domain_id": account.domain_id, "user_id": user.id, "created": now()}
        fixed = {"level": "INFO", "state": "Completed", "type": "VM.START", **row}
        rows = [{"id": new_id(), "description": f"event {number}", **fixed} for number in range(count)]
        session.execute(insert(Event), rows)


def test_a_list_of_many_rows_runs_as_few_statements_as_one_of_few(api: Api, admin: Client) -> None:
    add_events(api, 10)
    admin.get("listZones")  # the first call of all reads the role's rules
    with api.counted() as few:
        assert admin.get("listEvents", page=1, pagesize=5)["count"] == 10
    add_events(api, MANY)
    with api.counted() as many:
        answer = admin.get("listEvents", page=150, pagesize=500)
    assert answer["count"] == MANY + 10
    assert len(answer["event"]) == 500
    assert len(many) == len(few) <= 12, many


def test_an_unpaged_list_stops_at_one_page_and_counts_all(api: Api, admin: Client) -> None:
    add_events(api, 501)
    answer = admin.get("listEvents")
    assert (answer["count"], len(answer["event"])) == (501, 500)
    assert len(admin.get("listEvents", pagesize=-1)["event"]) == 501


def test_pages_do_not_overlap_and_end(api: Api, admin: Client) -> None:
    add_events(api, 23)
    pages = [admin.get("listEvents", page=page, pagesize=10).get("event", []) for page in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [10, 10, 3, 0]
    assert len({item["id"] for page in pages for item in page}) == 23


@pytest.mark.parametrize(
    ("paging", "words"),
    [
        ({"page": 1}, '"pagesize" parameter is required'),
        ({"pagesize": 10}, '"page" parameter is required'),
        ({"page": 0, "pagesize": 10}, "Invalid value 0 for parameter page"),
        ({"page": 1, "pagesize": 501}, "Invalid value 501 for parameter pagesize: expected at most 500"),
        ({"page": "one", "pagesize": 10}, "Invalid value one for parameter page: expected a whole number"),
    ],
)
def test_wrong_paging(admin: Client, paging: dict[str, object], words: str) -> None:
    answer = admin("listEvents", **paging)
    assert answer.status == 431
    assert words in answer.error


def test_keywords_are_text_and_not_patterns(admin: Client) -> None:
    assert admin.get("listServiceOfferings", keyword="small")["count"] == 1
    assert admin.get("listServiceOfferings", keyword="%") == {}
    assert admin.get("listServiceOfferings", keyword="' OR 1=1 --") == {}


def test_unknown_ids_have_the_literal_text(admin: Client) -> None:
    gone = "00000000-1111-2222-3333-444444444444"
    for command, name in (("listZones", "id"), ("listPods", "zoneid"), ("listVirtualMachines", "ids")):
        answer = admin(command, **{name: gone})
        assert (answer.status, answer.body["cserrorcode"]) == (431, 4350)
        reason = "due to incorrect long value format, or entity does not exist"
        assert answer.error == f"Invalid parameter {name} value={gone} {reason}"


#: Called lists by CloudStack, though they tell of one thing.
SINGLE = {"listCapabilities", "listInfrastructure", "listDbMetrics", "listUsageServerMetrics"}


def test_every_list_is_empty_or_well_formed(api: Api, admin: Client) -> None:
    """Empty is `{}`; otherwise `count` and exactly one list."""
    tried = 0
    for registered in REGISTRY.all():
        needs_more = any(item.required for item in registered.parameters) or registered.name in NEED_AN_ID
        if not registered.name.startswith("list") or needs_more:
            continue
        body = admin.get(registered.name)
        tried += 1
        if body and registered.name not in SINGLE:
            assert set(body) == {"count", registered.spec.response_key}, registered.name
    assert tried > 20
