"""A whole API on a temporary database, for tests of commands: signed calls, no network, no workflows."""

import base64
import hmac
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from flask import Flask
from sqlalchemy import event, select

from mgmt.api.app import create_app
from mgmt.api.auth import SECRET_KEY_CONTEXT
from mgmt.api.call import Context
from mgmt.bootstrap import PASSWORD_FILE, write_password
from mgmt.config import default_config
from mgmt.jobs.recorded import RecordedJobs
from mgmt.store import servers
from mgmt.store.database import Database
from mgmt.store.defaults import add_defaults
from mgmt.store.migrate import upgrade
from mgmt.store.sealing import load_seal
from mgmt.store.tables import Account, Domain, User
from mgmt.store.tables.base import now


@dataclass
class Answer:
    """An answer: HTTP status, the envelope's name and what is in it."""

    status: int
    envelope: str
    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def error(self) -> str:
        """The text of the error; empty if it is none."""
        return str(self.body.get("errortext", ""))


def sign(parameters: dict[str, str], secret: str) -> str:
    """The signature of parameters, by the published rules."""
    items = sorted((name, value) for name, value in parameters.items() if name != "signature")
    text = "&".join(f"{name}={quote(value, safe='*-_.').replace('~', '%7E')}" for name, value in items)
    return base64.b64encode(hmac.digest(secret.encode(), text.lower().encode(), "sha1")).decode()


@dataclass
class Client:
    """A client that signs its calls with one user's keys."""

    app: Flask
    api_key: str
    secret: str

    def __call__(self, command: str, **parameters: object) -> Answer:
        """Call a command. A parameter with a value of None is left out; `{"tags[0].key": …}` by `**`."""
        sent = {name: text_of(value) for name, value in parameters.items() if value is not None}
        sent |= {"command": command, "response": "json", "apiKey": self.api_key}
        sent["signature"] = sign(sent, self.secret)
        return read_answer(self.app.test_client().post("/client/api", data=sent))

    def get(self, command: str, **parameters: object) -> dict[str, Any]:
        """The body of a call that must succeed."""
        answer = self(command, **parameters)
        assert answer.status == 200, f"{command}: {answer.status} {answer.error}"  # noqa: S101
        return answer.body


def text_of(value: object) -> str:
    """A value as clients write it."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def read_answer(response: Any) -> Answer:
    """A Flask test response as an `Answer`."""
    ((envelope, body),) = response.get_json().items()
    return Answer(response.status_code, envelope, body, dict(response.headers))


@dataclass
class Api:
    """The API with an administrator's client."""

    context: Context
    app: Flask
    jobs: RecordedJobs
    password: str

    def client(self, username: str) -> Client:
        """A client with fresh keys of a user."""
        with self.context.database.writing() as session:
            user = session.scalars(select(User).where(User.username == username)).one()
            user.api_key = f"key-of-{username}"
            secret = f"secret-of-{username}"
            user.secret_key = self.context.seal.close(secret, SECRET_KEY_CONTEXT)
            return Client(self.app, user.api_key, secret)

    def account(self, name: str, *, kind: int = 0, domain: str = "/") -> Client:
        """A new account with one user of its name, and that user's client. `domain` is a path."""
        with self.context.database.writing() as session:
            parent = session.scalars(select(Domain).where(Domain.path == domain)).one()
            account = Account(name=name, domain_id=parent.id, type=kind)
            session.add(account)
            session.flush()
            session.add(User(account_id=account.id, username=name, password="!"))  # noqa: S106
        return self.client(name)

    def counted(self) -> AbstractContextManager[list[str]]:
        """The SQL statements that run within the context."""
        return counted_statements(self.context.database)


@contextmanager
def counted_statements(database: Database) -> Iterator[list[str]]:
    """The SQL statements that run on a database within the context."""
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    for engine in database.engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        for engine in database.engines:
            event.remove(engine, "before_cursor_execute", note)


@contextmanager
def open_api(
    folder: Path, clock: Callable[[], datetime] = now, like: Path | None = None, url: str = ""
) -> Iterator[Api]:
    """An API on a fresh database in `folder`, with the defaults of a new cloud.

    `like` is a folder where such an API was opened and closed before: its database is copied, which is
    faster than making one. `url` is another database's, a copy of that one if `like` is given.
    """
    config = msgspec.structs.replace(default_config(folder), simulated_hosts=True)
    if url:
        config = msgspec.structs.replace(config, database_url=url)
    if like is not None:
        shutil.copytree(like / "mgmt", folder / "mgmt")
    config.key_file.parent.mkdir(parents=True, exist_ok=True)
    database = Database(config.database_url)
    if like is None:
        upgrade(database)
    with database.writing() as session:
        password = add_defaults(session)
    servers.join(database, config)
    password_file = folder / "mgmt" / PASSWORD_FILE
    if password is not None:
        write_password(password_file, password)
    jobs = RecordedJobs()
    context = Context(database, load_seal(config.key_file), jobs, config, clock)
    try:
        known = password_file.read_text().strip()
        yield Api(context=context, app=create_app(context), jobs=jobs, password=known)
    finally:
        database.close()
