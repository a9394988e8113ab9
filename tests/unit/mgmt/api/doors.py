"""Browsers and clocks for tests of log-ins."""

from datetime import datetime

from flask.testing import FlaskClient

from mgmt.api.testing import Answer, Api, read_answer
from mgmt.store.passwords import hash_password
from mgmt.store.tables import User
from mgmt.store.tables.base import now


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.moment = now()

    def __call__(self) -> datetime:
        return self.moment


def post(browser: FlaskClient, headers: dict[str, str] | None = None, **form: str) -> Answer:
    return read_answer(browser.post("/client/api", data={"response": "json", **form}, headers=headers))


def log_in(api: Api, browser: FlaskClient, **other: str) -> Answer:
    form = {"command": "login", "username": "admin", "password": api.password, **other}
    return post(browser, **form)


class Session:
    """A browser that is logged in; calls answer as those of a signing client do."""

    def __init__(self, api: Api, username: str = "admin", password: str | None = None) -> None:
        self.browser = api.app.test_client()
        answer = log_in(api, self.browser, username=username, password=password or api.password)
        assert answer.status == 200, answer.error
        self.login = answer.body
        self.key = str(answer.body["sessionkey"])

    def __call__(self, command: str, **form: str) -> Answer:
        return post(self.browser, command=command, sessionkey=self.key, **form)


def set_password(api: Api, username: str, password: str) -> None:
    """Give a user a password without a call."""
    with api.context.database.writing() as session:
        user = session.query(User).filter(User.username == username).one()
        user.password = hash_password(password)
