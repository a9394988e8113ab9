"""Limits and counts as commands and as fields of accounts and domains."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select

from mgmt.alloc.limits import count_all, reserve
from mgmt.api.testing import Api, Client, open_api
from mgmt.model.resources import GIB, ResourceType
from mgmt.model.states import AccountType
from mgmt.store.tables import Account, Domain

pytestmark = pytest.mark.unit

KINDS = ResourceType


@dataclass
class Cloud:
    """ROOT/a/b with boss (administrator of a), ann in a, bob in a/b; cid in ROOT."""

    api: Api
    people: dict[str, Client]
    domains: dict[str, str]
    accounts: dict[str, str]

    def __getitem__(self, name: str) -> Client:
        return self.people[name]

    def take(self, name: str, kind: ResourceType, amount: int = 1) -> None:
        with self.api.context.database.writing() as session:
            reserve(session, session.get_one(Account, self.accounts[name]), kind, amount)

    def limits(self, caller: str, **filters: object) -> dict[str, int]:
        found = self[caller].get("listResourceLimits", **filters).get("resourcelimit", [])
        return {item["resourcetypename"]: item["max"] for item in found}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One for all: each test has a resource, or an owner, of its own."""
    with open_api(tmp_path_factory.mktemp("limits")) as api:
        with api.context.database.writing() as session:
            parent = session.scalars(select(Domain)).one()
            for path in ("/a/", "/a/b/"):
                parent = Domain(name=path[-2], path=path, parent_id=parent.id)
                session.add(parent)
                session.flush()
        people = {
            "admin": api.client("admin"),
            "boss": api.account("boss", kind=AccountType.domain_admin, domain="/a/"),
            "ann": api.account("ann", domain="/a/"),
            "bob": api.account("bob", domain="/a/b/"),
            "cid": api.account("cid"),
        }
        with api.context.database.reading() as session:
            domains = {row.path: row.id for row in session.scalars(select(Domain))}
            accounts = {row.name: row.id for row in session.scalars(select(Account))}
        yield Cloud(api, people, domains, accounts)


def test_limits_are_cloudstacks_until_they_are_changed(cloud: Cloud) -> None:
    limits = cloud.limits("cid")
    assert list(limits) == [kind.name for kind in ResourceType]
    assert (limits["user_vm"], limits["cpu"], limits["memory"], limits["primary_storage"]) == (
        20,
        40,
        40960,
        200,
    )
    (one,) = cloud["cid"].get("listResourceLimits", resourcetype=8)["resourcelimit"]
    assert (one["resourcetype"], one["account"], one["domain"], one["domainpath"]) == (
        "8",
        "cid",
        "ROOT",
        "ROOT",
    )
    assert cloud.limits("cid", resourcetypename="volume") == {"volume": 20}
    assert set(cloud.limits("admin").values()) == {-1}
    assert cloud.limits("boss", domainid=cloud.domains["/a/"])["user_vm"] == 40
    assert cloud.limits("ann", account="ann", domainid=cloud.domains["/a/"])["user_vm"] == 20


@pytest.mark.parametrize(
    ("caller", "owner", "most", "status", "words"),
    [
        ("admin", {"account": "ann", "domainid": "/a/"}, 7, 200, ""),
        ("admin", {"domainid": "/a/"}, 30, 200, ""),
        ("boss", {"account": "bob", "domainid": "/a/b/"}, 3, 200, ""),
        ("boss", {"domainid": "/a/b/"}, 9, 200, ""),
        ("boss", {"domainid": "/a/b/"}, 1000, 431, "at most 30, the limit of domain a above it"),
        ("boss", {"domainid": "/a/b/"}, -1, 431, "at most 30"),
        ("boss", {"domainid": "/a/"}, 50, 531, "set by an administrator above you"),
        ("boss", {"account": "boss"}, 50, 531, "set by an administrator above you"),
        ("boss", {"account": "cid", "domainid": "/"}, 50, 531, "does not have permission"),
        ("boss", {"domainid": "/"}, 50, 531, "does not have permission"),
        ("admin", {"domainid": "/"}, 50, 431, "have no limits"),
        ("admin", {"account": "admin"}, 50, 431, "have no limits"),
        ("admin", {}, 50, 431, "whose limit it is"),
        ("admin", {"account": "ann", "domainid": "/a/"}, -2, 431, "max"),
        ("ann", {"account": "ann"}, 50, 401, "not available"),
    ],
)
def test_who_sets_which_limits(
    cloud: Cloud, caller: str, owner: dict[str, str], most: int, status: int, words: str
) -> None:
    sent = {key: cloud.domains.get(value, value) for key, value in owner.items()}
    answer = cloud[caller]("updateResourceLimit", resourcetype=0, max=most, **sent)
    assert (answer.status, words in answer.error) == (status, True), answer.error
    if status == 200:
        limit = answer.body["resourcelimit"]
        assert (limit["max"], limit["resourcetypename"]) == (most, "user_vm")
        assert cloud.limits("admin", **sent)["user_vm"] == most


def test_a_wrong_resource_is_refused(cloud: Cloud) -> None:
    for command, more in (("listResourceLimits", {}), ("updateResourceCount", {"account": "cid"})):
        answer = cloud["admin"](command, resourcetype=12, **more)
        assert (answer.status, "expected 0 to 11" in answer.error) == (431, True)
    assert cloud["ann"]("listResourceLimits", domainid=cloud.domains["/a/"]).status == 531
    assert cloud["ann"]("updateResourceCount", domainid=cloud.domains["/a/"]).status == 401


def test_accounts_and_domains_say_limit_total_and_rest(cloud: Cloud) -> None:
    cloud["admin"].get(
        "updateResourceLimit", resourcetype=10, max=5, account="bob", domainid=cloud.domains["/a/b/"]
    )
    cloud.take("bob", KINDS.primary_storage, GIB + 1)
    cloud.take("bob", KINDS.network, 3)
    with cloud.api.context.database.writing() as session:
        half = {KINDS.secondary_storage: GIB // 2}
        count_all(session, session.get_one(Account, cloud.accounts["bob"]), half)
    (account,) = cloud["bob"].get("listAccounts")["account"]
    found = {
        prefix: tuple(account[f"{prefix}{word}"] for word in ("limit", "total", "available"))
        for prefix in ("primarystorage", "network", "secondarystorage", "vm", "project")
    }
    assert found["primarystorage"] == ("5", 1, "3")
    assert found["network"] == ("20", 3, "17")
    assert found["secondarystorage"] == ("400", 0.5, "399")
    assert found["project"] == ("10", 0, "10")
    domains = cloud["admin"].get("listDomains")["domain"]
    shown = {item["path"]: (item["networklimit"], item["networktotal"]) for item in domains}
    assert shown == {"ROOT": ("Unlimited", 3), "ROOT/a": ("40", 3), "ROOT/a/b": ("40", 3)}
    assert cloud["admin"].get("listAccounts")["account"][0]["vmavailable"] == "Unlimited"


def test_counts_are_corrected_from_what_is_there(cloud: Cloud) -> None:
    cloud.take("ann", KINDS.snapshot, 4)
    asked: dict[str, Any] = {"domainid": cloud.domains["/a/"], "resourcetype": int(KINDS.snapshot)}
    (count,) = cloud["boss"].get("updateResourceCount", account="ann", **asked)["resourcecount"]
    assert (count["account"], count["resourcetypename"], count["resourcecount"]) == ("ann", "snapshot", 0)
    (above,) = cloud["admin"].get("listDomains", name="a")["domain"]
    assert above["snapshottotal"] == 4
    (count,) = cloud["boss"].get("updateResourceCount", **asked)["resourcecount"]
    assert (count["domain"], "account" in count, count["resourcecount"]) == ("a", False, 0)
    (above,) = cloud["admin"].get("listDomains", name="a")["domain"]
    assert above["snapshottotal"] == 0
    assert cloud["admin"]("updateResourceCount").status == 431
