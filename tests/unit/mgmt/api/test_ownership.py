"""Whose things a call may see and touch."""

import pytest
from sqlalchemy import select

from mgmt.api.testing import Api, Client
from mgmt.model.states import AccountType
from mgmt.store.tables import Account, Domain, SshKeyPair, User

pytestmark = pytest.mark.unit


@pytest.fixture
def world(api: Api) -> dict[str, Client]:
    """ROOT > a > b, and c beside a; a user in each, an administrator in a; each with one key pair."""
    with api.context.database.writing() as session:
        root = session.scalars(select(Domain)).one()
        paths = {"/": root}
        for path in ("/a/", "/a/b/", "/c/"):
            parent = paths[path[: path[:-1].rindex("/") + 1]]
            paths[path] = Domain(name=path.split("/")[-2], path=path, parent_id=parent.id)
            session.add(paths[path])
            session.flush()
    clients = {
        "boss": api.account("boss", kind=AccountType.domain_admin, domain="/a/"),
        "ann": api.account("ann", domain="/a/"),
        "bob": api.account("bob", domain="/a/b/"),
        "cid": api.account("cid", domain="/c/"),
        "admin": api.client("admin"),
    }
    with api.context.database.writing() as session:
        for name in clients:
            account = session.scalars(select(Account).where(Account.name == name)).one()
            owner = {"account_id": account.id, "domain_id": account.domain_id}
            session.add(SshKeyPair(name=f"key-{name}", fingerprint="f", public_key="k", **owner))
    return clients


def names(client: Client, **filters: object) -> set[str]:
    found = client.get("listSSHKeyPairs", **filters).get("sshkeypair", [])
    return {item["name"].removeprefix("key-") for item in found}


@pytest.mark.parametrize(
    ("caller", "filters", "seen"),
    [
        ("ann", {}, {"ann"}),
        ("ann", {"listall": "true"}, {"ann"}),
        ("boss", {}, {"boss"}),
        ("boss", {"listall": "true"}, {"boss", "ann", "bob"}),
        ("admin", {}, {"admin"}),
        ("admin", {"listall": "true"}, {"admin", "boss", "ann", "bob", "cid"}),
        ("admin", {"listall": "true", "projectid": "-1"}, {"admin", "boss", "ann", "bob", "cid"}),
    ],
)
def test_lists_show_what_the_caller_covers(
    world: dict[str, Client], caller: str, filters: dict[str, str], seen: set[str]
) -> None:
    assert names(world[caller], **filters) == seen


def test_lists_of_a_domain_and_an_account(api: Api, world: dict[str, Client]) -> None:
    with api.context.database.reading() as session:
        ids = {domain.path: domain.id for domain in session.scalars(select(Domain))}
    admin, boss = world["admin"], world["boss"]
    assert names(admin, domainid=ids["/a/"]) == {"boss", "ann"}
    assert names(admin, domainid=ids["/a/"], isrecursive="true") == {"boss", "ann", "bob"}
    assert names(admin, domainid=ids["/a/b/"], account="bob") == {"bob"}
    assert names(boss, account="ann") == {"ann"}
    assert boss("listSSHKeyPairs", domainid=ids["/c/"]).status == 531
    assert world["ann"]("listSSHKeyPairs", domainid=ids["/a/"], account="boss").status == 531
    refused = boss("listSSHKeyPairs", account="cid")
    assert (refused.status, refused.body["cserrorcode"]) == (431, 4350)


def test_ids_of_others_are_refused_before_the_handler(api: Api, world: dict[str, Client]) -> None:
    with api.context.database.reading() as session:
        ids = {user.username: user.id for user in session.scalars(select(User))}
    for caller, victim in (
        ("ann", "boss"),
        ("ann", "bob"),
        ("boss", "cid"),
        ("boss", "admin"),
        ("bob", "ann"),
    ):
        for command in ("getUserKeys", "registerUserKeys"):
            answer = world[caller](command, id=ids[victim])
            assert (answer.status, answer.body["cserrorcode"]) == (531, 4365), (caller, command, victim)
    assert world["boss"]("getUserKeys", id=ids["bob"]).status == 200
    assert world["ann"]("getUserKeys", id=ids["ann"]).status == 200


def test_a_domain_administrator_makes_no_root_administrators(world: dict[str, Client]) -> None:
    user = {"username": "x", "password": "long enough", "firstname": "x", "lastname": "x", "email": "x"}
    assert world["boss"]("createAccount", accounttype=1, **user).status == 531
    made = world["boss"].get("createAccount", accounttype=0, **user)["account"]
    assert made["domainpath"] == "ROOT/a"


def test_a_root_administrator_inside_a_domain_is_out_of_its_administrators_reach(
    api: Api, world: dict[str, Client]
) -> None:
    api.account("chief", kind=AccountType.root_admin, domain="/a/")
    with api.context.database.reading() as session:
        chief = session.scalars(select(User).where(User.username == "chief")).one()
        account_id = chief.account_id
    assert world["boss"]("updateUser", id=chief.id, password="mine from now on").status == 531
    assert world["boss"]("deleteAccount", id=account_id).status == 531


def test_an_unknown_project_is_unknown(world: dict[str, Client]) -> None:
    answer = world["ann"]("listSSHKeyPairs", projectid="11111111-2222-3333-4444-555555555555")
    assert answer.status == 431
    assert "Invalid parameter projectid value=11111111-2222-3333-4444-555555555555" in answer.error
