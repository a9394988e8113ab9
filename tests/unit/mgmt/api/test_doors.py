"""Who gets in, and with which code everybody else stays out."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mgmt.api.testing import Api, Client, open_api, read_answer, sign
from mgmt.store.passwords import hash_password
from mgmt.store.tables import Account, LoginSession, User
from tests.unit.mgmt.api.doors import Clock, log_in, post

pytestmark = pytest.mark.unit


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def api(tmp_path: Path, fresh_store: Path, clock: Clock) -> Iterator[Api]:
    with open_api(tmp_path, clock, like=fresh_store) as opened:
        yield opened


@pytest.mark.parametrize("domain", ["", "/", "ROOT", "root/"])
def test_log_in_gives_cookies_and_a_session_key(api: Api, domain: str) -> None:
    browser = api.app.test_client()
    answer = browser.post(
        "/client/api?response=json",
        data={"command": "login", "username": "admin", "password": api.password, "domain": domain},
    )
    body = answer.get_json()["loginresponse"]
    assert {"username", "userid", "domainid", "account", "timeout", "type", "registered"} <= set(body)
    cookies = answer.headers.getlist("Set-Cookie")
    assert {cookie.split("=")[0] for cookie in cookies} == {"JSESSIONID", "sessionkey"}
    assert all("HttpOnly" in cookie and "SameSite=Lax" in cookie for cookie in cookies)
    listed = post(browser, command="listZones", sessionkey=body["sessionkey"])
    assert (listed.status, listed.envelope, listed.body) == (200, "listzonesresponse", {})


def test_cookies_are_secure_over_https(api: Api) -> None:
    form = {"command": "login", "username": "admin", "password": api.password}
    answer = api.app.test_client().post("/client/api", data=form, base_url="https://localhost")
    assert all("Secure" in cookie for cookie in answer.headers.getlist("Set-Cookie"))


def test_log_in_with_the_parameters_in_the_query_of_a_post(api: Api) -> None:
    query = {"command": "login", "username": "admin", "password": api.password, "response": "json"}
    assert api.app.test_client().post("/client/api", query_string=query).status_code == 200


def test_no_secret_of_a_session_is_stored(api: Api) -> None:
    browser = api.app.test_client()
    key = log_in(api, browser).body["sessionkey"]
    cookie = browser.get_cookie("JSESSIONID")
    assert cookie is not None
    with api.context.database.reading() as session:
        row = session.scalars(select(LoginSession)).one()
    assert key not in (row.id_hash, row.key_hash)
    assert cookie.value not in (row.id_hash, row.key_hash)


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"password": "wrong"}, 531),
        ({"username": "nobody"}, 531),
        ({"username": "system", "password": "!"}, 531),
        ({"domain": "/elsewhere"}, 531),
        ({"password": ""}, 431),
    ],
)
def test_bad_log_ins(api: Api, wrong: dict[str, str], status: int) -> None:
    answer = log_in(api, api.app.test_client(), **wrong)
    assert answer.status == answer.body["errorcode"] == status
    assert answer.headers["X-Description"] == answer.error
    assert "Set-Cookie" not in answer.headers


def test_log_in_by_get_is_refused(api: Api) -> None:
    query = {"command": "login", "username": "admin", "password": api.password, "response": "json"}
    assert api.app.test_client().get("/client/api", query_string=query).status_code == 405


def test_after_ten_failures_even_the_right_password_waits(api: Api, clock: Clock) -> None:
    browser = api.app.test_client()
    for _ in range(10):
        assert log_in(api, browser, password="wrong").status == 531
    refused = log_in(api, browser)
    assert refused.status == 429
    assert "try again in 300 seconds" in refused.error or "try again in 301 seconds" in refused.error
    clock.moment += timedelta(minutes=6)
    assert log_in(api, browser).status == 200


@pytest.mark.parametrize("table", [User, Account])
def test_disabled_users_and_accounts_stay_out(api: Api, table: Any) -> None:
    browser = api.app.test_client()
    key = log_in(api, browser).body["sessionkey"]
    signed = api.client("admin")
    column = table.username if table is User else table.name
    with api.context.database.writing() as session:
        session.scalars(select(table).where(column == "admin")).one().state = "disabled"
    assert log_in(api, api.app.test_client()).status == 531
    assert post(browser, command="listZones", sessionkey=key).status == 401
    assert signed("listZones").status == 401


def test_a_session_ends_after_its_time_and_by_logout(api: Api, clock: Clock) -> None:
    browser = api.app.test_client()
    key = log_in(api, browser).body["sessionkey"]
    clock.moment += timedelta(minutes=20)
    assert post(browser, command="listZones", sessionkey=key).status == 200
    clock.moment += timedelta(minutes=20)
    assert post(browser, command="listZones", sessionkey=key).status == 200, "a call prolongs the session"
    clock.moment += timedelta(minutes=31)
    assert post(browser, command="listZones", sessionkey=key).status == 401
    key = log_in(api, browser).body["sessionkey"]
    assert post(browser, command="logout").status == 200
    assert post(browser, command="listZones", sessionkey=key).status == 401


@pytest.mark.parametrize("key", [None, "", "wrong", "é"])
def test_a_session_without_its_key_is_nobody(api: Api, key: str | None) -> None:
    browser = api.app.test_client()
    log_in(api, browser)
    form = {"command": "listZones"} if key is None else {"command": "listZones", "sessionkey": key}
    assert post(browser, **form).status == 401


def test_a_browser_changes_things_by_post_only(api: Api) -> None:
    browser = api.app.test_client()
    key = log_in(api, browser).body["sessionkey"]
    form = {"command": "createDomain", "name": "a", "sessionkey": key, "response": "json"}
    seen = {"Sec-Fetch-Site": "cross-site"}
    assert browser.get("/client/api", query_string=form, headers=seen).status_code == 405
    assert (
        browser.get("/client/api", query_string={**form, "command": "listDomains"}, headers=seen).status_code
        == 200
    )
    assert post(browser, seen, **form).status == 200


def test_unknown_commands(api: Api, admin: Client) -> None:
    browser = api.app.test_client()
    key = log_in(api, browser).body["sessionkey"]
    by_session = post(browser, command="makeCoffee", sessionkey=key)
    assert (by_session.status, by_session.envelope) == (432, "errorresponse")
    assert admin("makeCoffee").status == 401
    assert post(browser, sessionkey=key).status == 432
    assert post(api.app.test_client()).status == 401


def test_commands_of_administrators_are_unknown_to_users(api: Api) -> None:
    bob = api.account("bob")
    assert bob("createZone", name="z").status == 401
    names = {item["name"] for item in bob.get("listApis")["api"]}
    assert "listZones" in names
    assert "createZone" not in names
    with api.context.database.writing() as session:
        user = session.scalars(select(User).where(User.username == "bob")).one()
        user.password = hash_password("bobs own pw")
    browser = api.app.test_client()
    key = log_in(api, browser, username="bob", password="bobs own pw").body["sessionkey"]
    answer = post(browser, command="createZone", sessionkey=key)
    assert (answer.status, answer.envelope) == (432, "errorresponse")


@pytest.mark.parametrize(
    "change",
    [
        {"signature": "AAAA"},
        {"signature": None},
        {"apiKey": "nobody"},
        {"command": "listUsers"},
        {"extra": "1"},
        {"signatureVersion": "3"},
    ],
)
def test_wrong_signatures(api: Api, admin: Client, change: dict[str, str | None]) -> None:
    form: dict[str, str | None] = {"command": "listZones", "response": "json", "apiKey": admin.api_key}
    form["signature"] = sign({name: str(value) for name, value in form.items()}, admin.secret)
    form |= change
    sent = {name: value for name, value in form.items() if value is not None}
    answer = read_answer(api.app.test_client().get("/client/api", query_string=sent))
    assert (answer.status, answer.body["errorcode"], answer.body["uuidList"]) == (401, 401, [])


@pytest.mark.parametrize(("minutes", "status"), [(10, 200), (-1, 401)])
def test_version_three_expires(api: Api, admin: Client, clock: Clock, minutes: int, status: int) -> None:
    expires = (clock.moment + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S%z")
    assert admin("listZones", signatureVersion="3", expires=expires).status == status


def test_answers_are_xml_unless_json_is_asked_for(api: Api) -> None:
    answer = api.app.test_client().get("/client/api?command=listZones")
    assert answer.status_code == 401
    assert answer.content_type.startswith("text/xml")
    assert b"<errorcode>401</errorcode>" in answer.data


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ({"data": "[1]", "content_type": "application/json"}, 400),
        ({"query_string": "command=a&command=b"}, 400),
        ({"query_string": {f"p{n}": "1" for n in range(1001)}}, 400),
        ({"data": {"command": "x" * (3 * 1024 * 1024)}}, 400),
    ],
)
def test_what_is_no_call_is_refused(api: Api, arguments: dict[str, Any], status: int) -> None:
    assert api.app.test_client().post("/client/api", **arguments).status_code == status
