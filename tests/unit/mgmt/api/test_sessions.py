"""Sessions against those who have no right to them: foreign pages, guessers, and who was shut out since."""

import dataclasses
import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from mgmt.api import sessions
from mgmt.api import throttle as throttling
from mgmt.api.app import create_app, load_commands
from mgmt.api.call import Context
from mgmt.api.registry import REGISTRY
from mgmt.api.testing import Api, Client, open_api
from mgmt.api.throttle import MOST_FAILURES, check, origin, settle
from mgmt.jobs.recorded import RecordedJobs
from mgmt.model.errors import TooManyRequests
from mgmt.store.database import Database
from mgmt.store.passwords import password_matches
from mgmt.store.tables import FailedLogIn, LoginSession
from mgmt.store.tables.base import now
from tests.unit.mgmt.api.doors import Clock, Session, post, set_password
from tests.unit.mgmt.api.staff import ids

pytestmark = pytest.mark.unit

load_commands()
PASSWORD = "anns own password"
TOKEN_CHARACTERS = 43
"""256 bits in base64; in hexadecimal it takes more."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def api(tmp_path: Path, fresh_store: Path, clock: Clock) -> Iterator[Api]:
    with open_api(tmp_path, clock, like=fresh_store) as opened:
        opened.account("ann")
        set_password(opened, "ann", PASSWORD)
        yield opened


@pytest.fixture
def ann(api: Api) -> Session:
    return Session(api, "ann", PASSWORD)


def app_with(api: Api, **settings: Any) -> Flask:
    """The same cloud, served with other settings."""
    config = msgspec.structs.replace(api.context.config, **settings)
    return create_app(dataclasses.replace(api.context, config=config))


def log_in(browser: FlaskClient, password: str = PASSWORD, **more: Any) -> Any:
    form = {"command": "login", "username": "ann", "password": password, "response": "json"}
    return browser.post("/client/api", data=form, **more)


def cookies_of(answer: Any) -> list[str]:
    return list(answer.headers.getlist("Set-Cookie"))


@pytest.mark.parametrize(
    ("settings", "headers", "secure"),
    [
        ({}, {}, False),
        ({}, {"X-Forwarded-Proto": "https"}, False),
        ({"trusted_proxies": 1}, {"X-Forwarded-Proto": "https"}, True),
        ({"trusted_proxies": 1}, {"X-Forwarded-Proto": "http"}, False),
        ({"public_url": "https://cloud.example.org"}, {}, True),
        ({"public_url": "http://cloud.example.org"}, {}, False),
    ],
)
def test_cookies_are_hidden_from_scripts_and_plain_wires(
    api: Api, settings: dict[str, Any], headers: dict[str, str], secure: bool
) -> None:
    cookies = cookies_of(log_in(app_with(api, **settings).test_client(), headers=headers))
    assert len(cookies) == 2
    for cookie in cookies:
        parts = set(cookie.split("; ")[1:])
        assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= parts
        assert ("Secure" in parts) == secure


def test_csrf_a_foreign_page_has_the_cookies_but_not_the_key(api: Api, admin: Client, clock: Clock) -> None:
    """Whatever a browser sends by itself, cookies, is not enough for any command, by POST or by GET."""
    mine, other = Session(api), Session(api, "ann", PASSWORD)
    for registered in REGISTRY.all():
        form = {"command": registered.name, "response": "json"}
        for key in ({}, {"sessionkey": other.key}):
            assert post(mine.browser, **form, **key).status == 401, registered.name
        got = mine.browser.get("/client/api", query_string=form)
        assert got.status_code == 401, registered.name
    assert mine("listZones").status == 200


def test_csrf_a_browser_changes_nothing_by_get(api: Api) -> None:
    """CVE-2024-45693: a link on a foreign page is a GET with the cookies."""
    session = Session(api)
    seen = {"Sec-Fetch-Site": "same-origin"}
    for registered in REGISTRY.all():
        if registered.changes:
            form = {"command": registered.name, "sessionkey": session.key, "response": "json"}
            answer = session.browser.get("/client/api", query_string=form, headers=seen)
            assert answer.status_code == 405, registered.name


def test_strict_post_binds_clients_that_are_no_browsers(api: Api) -> None:
    browser = app_with(api, strict_post=True).test_client()
    key = log_in(browser).get_json()["loginresponse"]["sessionkey"]
    form = {"command": "createSSHKeyPair", "name": "k", "sessionkey": key, "response": "json"}
    assert browser.get("/client/api", query_string=form).status_code == 405
    assert browser.post("/client/api", data=form).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_csrf_a_foreign_page_logs_nobody_in_or_out(ann: Session, api: Api, site: str) -> None:
    foreign = {"Sec-Fetch-Site": site}
    refused = log_in(api.app.test_client(), headers=foreign)
    assert refused.status_code == 405
    assert not cookies_of(refused)
    out = ann.browser.post("/client/api", data={"command": "logout", "response": "json"}, headers=foreign)
    assert out.status_code == 405
    assert not cookies_of(out)
    assert ann("listZones").status == 200
    own = {"Sec-Fetch-Site": "same-origin"}
    query = {"command": "logout", "response": "json"}
    assert ann.browser.get("/client/api", query_string=query, headers=own).status_code == 405
    assert ann.browser.post("/client/api", data=query, headers=own).status_code == 200
    assert ann("listZones").status == 401
    assert log_in(api.app.test_client(), headers=own).status_code == 200


def test_logout_ends_a_session_on_every_server(api: Api, ann: Session) -> None:
    """CVE-2024-45462: whoever has the cookies of a session that was logged out has nothing."""
    other = Session(api, "ann", PASSWORD)
    database = Database(api.context.config.database_url)
    try:
        there = create_app(Context(database, api.context.seal, RecordedJobs(), api.context.config))
        second = there.test_client()
        cookie = ann.browser.get_cookie("JSESSIONID")
        assert cookie is not None
        second.set_cookie("JSESSIONID", cookie.value)
        assert post(second, command="listZones", sessionkey=ann.key).status == 200
        assert post(ann.browser, command="logout").status == 200
        assert post(second, command="listZones", sessionkey=ann.key).status == 401
    finally:
        database.close()
    assert ann("listZones").status == 401
    assert other("listZones").status == 200
    with api.context.database.reading() as session:
        assert len(session.scalars(select(LoginSession)).all()) == 1


@pytest.mark.parametrize(
    ("command", "form", "undo"),
    [
        ("updateUser", {"id": "user ann", "password": "another good one"}, None),
        ("disableUser", {"id": "user ann"}, ("enableUser", {"id": "user ann"})),
        ("deleteUser", {"id": "user ann"}, None),
        ("disableAccount", {"id": "account ann", "lock": True}, ("enableAccount", {"id": "account ann"})),
        ("disableAccount", {"id": "account ann", "lock": False}, ("enableAccount", {"id": "account ann"})),
        ("deleteAccount", {"id": "account ann"}, None),
    ],
)
def test_who_is_shut_out_has_no_session_left(
    api: Api, admin: Client, ann: Session, command: str, form: dict[str, Any], undo: Any
) -> None:
    """Also not after being let in again: whoever held the session does not get it back."""
    known = ids(api)
    admin.get(command, **{name: known.get(str(value), value) for name, value in form.items()})
    assert ann("listZones").status == 401
    if undo is not None:
        admin.get(undo[0], **{name: known[value] for name, value in undo[1].items()})
        assert ann("listZones").status == 401
        assert log_in(api.app.test_client()).status_code == 200
    with api.context.database.reading() as session:
        assert len(session.scalars(select(LoginSession)).all()) == (undo is not None)


def test_a_new_password_of_ones_own_ends_the_other_sessions_too(api: Api, ann: Session) -> None:
    other = Session(api, "ann", PASSWORD)
    form = {"id": ids(api)["user ann"], "password": "another good one", "currentpassword": PASSWORD}
    assert ann("updateUser", **form).status == 200
    assert other("listZones").status == ann("listZones").status == 401


def test_a_log_in_that_a_new_password_overtakes_fails(
    api: Api, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old password was right when it was checked; before the session is opened, it is changed."""
    user = ids(api)["user ann"]

    def change_meanwhile(*arguments: Any) -> bool:
        matches = password_matches(*arguments)
        admin.get("updateUser", id=user, password="another good one")
        return matches

    monkeypatch.setattr(sessions, "password_matches", change_meanwhile)
    assert log_in(api.app.test_client()).status_code == 531


def guess(app: Flask, address: str, **headers: str) -> int:
    browser = app.test_client()
    answer = log_in(browser, "wrong", headers=headers, environ_base={"REMOTE_ADDR": address})
    return int(answer.status_code)


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "limited"),
    [
        (0, lambda at: "192.0.2.1", lambda at: f"198.51.100.{at}", True),
        (1, lambda at: "192.0.2.1", lambda at: f"198.51.100.{at}, 203.0.113.5", True),
        (1, lambda at: "192.0.2.1", lambda at: f"203.0.113.{at}", False),
        (0, lambda at: f"192.0.2.{at}", lambda at: "203.0.113.5", False),
        (0, lambda at: f"2001:db8:1:2::{at}", lambda at: "", True),
        (0, lambda at: f"2001:db8:1:{at}::1", lambda at: "", False),
        (0, lambda at: "::ffff:192.0.2.1" if at % 2 else "192.0.2.1", lambda at: "", True),
    ],
)
def test_the_limit_of_failed_log_ins_goes_by_who_really_sends_them(
    api: Api, proxies: int, peer: Callable[[int], str], forwarded: Callable[[int], str], limited: bool
) -> None:
    """Trusted X-Forwarded-For: only what our own proxies added counts, and a /64 of IPv6 is one sender."""
    app = app_with(api, trusted_proxies=proxies)
    codes = [guess(app, peer(at), **{"X-Forwarded-For": forwarded(at)}) for at in range(1, 12)]
    assert codes == [531] * MOST_FAILURES + [429 if limited else 531]


@pytest.mark.parametrize("name", ["ann", "Ann", "ANN"])
def test_the_limit_does_not_depend_on_the_spelling(api: Api, name: str) -> None:
    for _ in range(MOST_FAILURES):
        assert log_in(api.app.test_client(), "wrong").status_code == 531
    form = {"command": "login", "username": name, "password": PASSWORD, "domain": "ROOT"}
    assert post(api.app.test_client(), **form).status == 429


KEY = ("192.0.2.1", "ann")


def test_guesses_at_the_same_time_do_not_get_around_the_limit(api: Api) -> None:
    """Twenty that all pass the check before the first is counted: the right one among the late ones fails."""
    database, moment = api.context.database, now()
    for _ in range(20):
        with database.reading() as session:
            check(session, KEY, moment)
    for _ in range(MOST_FAILURES):
        with database.writing() as session:
            settle(session, KEY, moment, right=False)
    for right in (False, True):
        with pytest.raises(TooManyRequests), database.writing() as session:
            settle(session, KEY, moment, right=right)


def test_a_flood_of_names_lifts_no_ban(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "MOST_KEYS", 100)
    moment = now()
    with api.context.database.writing() as session:
        for _ in range(MOST_FAILURES):
            settle(session, KEY, moment, right=False)
        for at in range(1000):
            settle(session, ("192.0.2.1", f"name {at}"), moment, right=False)
    with api.context.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(FailedLogIn)) <= 100
        with pytest.raises(TooManyRequests):
            check(session, KEY, moment)
        check(session, KEY, moment + timedelta(minutes=6))


def test_another_server_knows_of_the_failures(api: Api) -> None:
    """Failures are counted in the database: it does not help to ask each server a few times."""
    other = Database(api.context.config.database_url)
    apps = [api.app, create_app(dataclasses.replace(api.context, database=other))]
    codes = [log_in(apps[at % 2].test_client(), "wrong").status_code for at in range(MOST_FAILURES + 2)]
    other.close()
    assert codes == [531] * MOST_FAILURES + [429] * 2


def test_what_was_sent_as_a_name_is_not_kept(api: Api) -> None:
    form = {"command": "login", "username": "my secret", "password": "wrong"}
    assert post(api.app.test_client(), **form).status == 531
    with api.context.database.reading() as session:
        (row,) = session.scalars(select(FailedLogIn)).all()
    assert "secret" not in repr(row)
    assert row.failures == 1


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix:", "unix:"),
    ],
)
def test_origins(address: str, expected: str) -> None:
    assert origin(address) == expected


def tokens_of(api: Api, admin: Client, seed: int) -> list[str]:
    random.seed(seed)
    session = Session(api, "ann", PASSWORD)
    cookie = session.browser.get_cookie("JSESSIONID")
    assert cookie is not None
    keys = admin.get("registerUserKeys", id=ids(api)["user ann"])["userkeys"]
    return [cookie.value, session.key, keys["apikey"], keys["secretkey"]]


def test_tokens_are_long_and_not_predictable(api: Api, admin: Client) -> None:
    """Not from the seeded generator, not from the clock (it stands), none twice, none part of another."""
    found = tokens_of(api, admin, 1) + tokens_of(api, admin, 1)
    assert len(set(found)) == len(found)
    assert all(len(token) >= TOKEN_CHARACTERS for token in found)
    assert not any(one in other for one in found for other in found if one != other)


def test_answers_are_not_stored_on_the_way(ann: Session) -> None:
    answer = ann("listUsers")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
