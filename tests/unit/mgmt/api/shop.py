"""A shop of accounts that share projects: their clients, and what tests ask of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from mgmt.alloc.counted import recount
from mgmt.alloc.limits import counts_of
from mgmt.api.testing import Answer, Api, Client, open_api
from mgmt.model.resources import ResourceType
from mgmt.model.states import AccountType, JobStatus
from mgmt.store.tables import Account, Domain, User
from mgmt.store.tables.base import now

PROJECT = ResourceType.project


@dataclass
class Clock:
    """The server's clock, which may be put forward."""

    skew: timedelta = timedelta()

    def __call__(self) -> datetime:
        return now() + self.skew


@dataclass
class Shop:
    """ROOT/a with boss (its administrator), ann, bob, and two users in account duo; cid in ROOT/c."""

    api: Api
    people: dict[str, Client]
    clock: Clock

    def __getitem__(self, name: str) -> Client:
        return self.people[name]

    def job(self, who: str, command: str, /, **parameters: object) -> dict[str, Any]:
        """The result of an asynchronous command that must succeed at once."""
        started = self[who].get(command, **parameters)
        done = self[who].get("queryAsyncJobResult", jobid=started["jobid"])
        assert done["jobstatus"] == JobStatus.succeeded, done
        return dict(done["jobresult"])

    def refused(self, who: str, command: str, /, **parameters: object) -> Answer:
        answer = self[who](command, **parameters)
        assert answer.status != 200, answer.body
        return answer

    def project(self, owner: str = "ann", name: str = "web") -> str:
        made = self.job(owner, "createProject", name=name)["project"]
        return str(made["id"])

    def keys(self, who: str, /, **filters: object) -> set[str]:
        return {item["name"] for item in self[who].get("listSSHKeyPairs", **filters).get("sshkeypair", [])}

    def id_of(self, table: Any, column: Any, value: str) -> str:
        with self.api.context.database.reading() as session:
            return str(session.scalars(select(table.id).where(column == value)).one())

    def counted(self, name: str) -> list[int]:
        """Projects of an account: what is counted, and a recount."""
        account_id = self.id_of(Account, Account.name, name)
        with self.api.context.database.reading() as session:
            found = counts_of(session, [account_id]), recount(session, [account_id])
        return [counts[account_id][PROJECT] for counts in found]

    def configure(self, name: str, value: str) -> None:
        self["admin"].get("updateConfiguration", name=name, value=value)


@contextmanager
def open_shop(folder: Path, like: Path, url: str = "") -> Iterator[Shop]:
    """The shop on a copy of a fresh database."""
    clock = Clock()
    with open_api(folder, clock=clock, like=like, url=url) as api:
        with api.context.database.writing() as session:
            root = session.scalars(select(Domain)).one()
            for name in ("a", "c"):
                session.add(Domain(name=name, path=f"/{name}/", parent_id=root.id))
        people = {
            "admin": api.client("admin"),
            "boss": api.account("boss", kind=AccountType.domain_admin, domain="/a/"),
            "ann": api.account("ann", domain="/a/"),
            "bob": api.account("bob", domain="/a/"),
            "duo": api.account("duo", domain="/a/"),
            "cid": api.account("cid", domain="/c/"),
        }
        with api.context.database.writing() as session:
            duo = session.scalars(select(Account).where(Account.name == "duo")).one()
            session.add(User(account_id=duo.id, username="second", password="!"))
        people["second"] = api.client("second")
        yield Shop(api, people, clock)
