"""Domains, accounts, users and keys."""

from typing import Any

import pytest
from sqlalchemy import select

from mgmt.api.testing import Api, Client
from mgmt.store.tables import Account, User

pytestmark = pytest.mark.unit

PERSON = {"firstname": "Ann", "lastname": "Onym", "email": "ann@example.org", "password": "correct horse"}


@pytest.fixture
def domain(admin: Client) -> str:
    return str(admin.get("createDomain", name="a")["domain"]["id"])


@pytest.fixture
def ann(admin: Client, domain: str) -> dict[str, Any]:
    made = admin.get("createAccount", username="ann", accounttype=0, domainid=domain, **PERSON)
    return dict(made["account"])


def test_an_account_with_its_user(admin: Client, ann: dict[str, Any], domain: str) -> None:
    assert (ann["name"], ann["domainpath"], ann["state"]) == ("ann", "ROOT/a", "enabled")
    assert (ann["accounttype"], ann["roletype"], ann["vmlimit"]) == (0, "User", "20")
    (user,) = ann["user"]
    assert user["username"] == "ann"
    assert "apikey" not in user
    assert "password" not in str(ann)
    assert admin.get("listAccounts", name="ann")["account"] == [ann]
    assert admin.get("listUsers", domainid=domain)["user"] == [user]


def test_keys_are_given_once_made_and_sealed(
    api: Api, admin: Client, ann: dict[str, list[dict[str, str]]]
) -> None:
    user_id = ann["user"][0]["id"]
    assert admin.get("getUserKeys", id=user_id)["userkeys"] == {}
    keys = admin.get("registerUserKeys", id=user_id)["userkeys"]
    assert admin.get("getUserKeys", id=user_id)["userkeys"] == keys
    client = Client(api.app, keys["apikey"], keys["secretkey"])
    (found,) = client.get("listUsers")["user"]
    assert found["apikey"] == keys["apikey"]
    assert client.get("getUser", userapikey=keys["apikey"])["user"]["id"] == user_id
    with api.context.database.reading() as session:
        stored = session.get_one(User, user_id).secret_key
    assert stored is not None
    assert keys["secretkey"] not in stored
    renewed = admin.get("registerUserKeys", id=user_id)["userkeys"]
    assert renewed != keys
    assert client("listUsers").status == 401


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"username": "ann"}, "already has a"),
        ({"password": "short"}, "at least 8 characters"),
        ({"accounttype": 7}, "Invalid value 7 for parameter accounttype"),
        ({"accounttype": None}, "missing parameter accounttype"),
        ({"email": ""}, "missing parameter email"),
        ({"domainid": "00000000-1111-2222-3333-444444444444"}, "entity does not exist"),
    ],
)
@pytest.mark.usefixtures("ann")
def test_wrong_accounts(admin: Client, domain: str, change: dict[str, object], words: str) -> None:
    before = admin.get("listAccounts", listall=True)["count"]
    wanted = {"username": "bea", "accounttype": 0, "domainid": domain, **PERSON, **change}
    answer = admin("createAccount", **wanted)
    assert answer.status == 431
    assert words in answer.error
    assert admin.get("listAccounts", listall=True)["count"] == before


def test_disabled_and_enabled(api: Api, admin: Client, ann: dict[str, str], domain: str) -> None:
    client = api.client("ann")
    job = admin.get("disableAccount", account="ann", domainid=domain, lock=False)["jobid"]
    result = admin.get("queryAsyncJobResult", jobid=job)["jobresult"]["account"]
    assert (result["id"], result["state"]) == (ann["id"], "disabled")
    assert client("listZones").status == 401
    assert admin.get("enableAccount", id=ann["id"])["account"]["state"] == "enabled"
    assert client("listZones").status == 200


def test_nobody_shuts_themselves_out(api: Api, admin: Client) -> None:
    with api.context.database.reading() as session:
        own = session.scalars(select(Account).where(Account.name == "admin")).one().id
        user = session.scalars(select(User).where(User.username == "admin")).one().id
    for command, form in (
        ("disableAccount", {"id": own, "lock": False}),
        ("deleteAccount", {"id": own}),
        ("disableUser", {"id": user}),
        ("deleteUser", {"id": user}),
    ):
        answer = admin(command, **form)
        assert answer.status == 431, command
        assert "cannot be" in answer.error


def test_a_new_password_needs_the_old_one(api: Api, admin: Client) -> None:
    with api.context.database.reading() as session:
        user = session.scalars(select(User).where(User.username == "admin")).one().id
    new = {"id": user, "password": "a new long one"}
    for wrong in ({}, {"currentpassword": "wrong"}):
        answer = admin("updateUser", **new, **wrong)
        assert answer.status == 431
        assert "currentpassword" in answer.error
    admin.get("updateUser", currentpassword=api.password, **new)
    form = {"command": "login", "username": "admin", "response": "json"}
    browser = api.app.test_client()
    assert browser.post("/client/api", data={**form, "password": api.password}).status_code == 531
    assert browser.post("/client/api", data={**form, "password": new["password"]}).status_code == 200


def test_the_tree_of_domains(admin: Client, domain: str) -> None:
    inner = admin.get("createDomain", name="b", parentdomainid=domain)["domain"]
    assert (inner["path"], inner["level"], inner["parentdomainname"]) == ("ROOT/a/b", 2, "a")
    paths = [item["path"] for item in admin.get("listDomains")["domain"]]
    assert paths == ["ROOT", "ROOT/a", "ROOT/a/b"]
    assert [item["path"] for item in admin.get("listDomains", level=1)["domain"]] == ["ROOT/a"]
    assert [item["name"] for item in admin.get("listDomainChildren")["domain"]] == ["a"]
    assert [item["name"] for item in admin.get("listDomainChildren", id=domain)["domain"]] == ["b"]
    renamed = admin.get("updateDomain", id=domain, name="z")["domain"]
    assert renamed["path"] == "ROOT/z"
    assert admin.get("listDomains", id=inner["id"])["domain"][0]["path"] == "ROOT/z/b"
    assert admin("deleteDomain", id=domain).status == 536
    admin.get("deleteDomain", id=inner["id"])
    admin.get("deleteDomain", id=domain)
    assert admin.get("listDomains")["count"] == 1


@pytest.mark.parametrize("name", ["a", "a/b", " a", "ROOT", "a\\b"])
@pytest.mark.usefixtures("domain")
def test_wrong_domain_names(admin: Client, name: str) -> None:
    assert admin("createDomain", name=name).status == 431
    assert admin.get("listDomains")["count"] == 2


def test_an_account_that_owns_nothing_goes_with_its_users(admin: Client, ann: dict[str, str]) -> None:
    admin.get("deleteAccount", id=ann["id"])
    assert admin.get("listUsers", username="ann") == {}
    assert admin("listAccounts", id=ann["id"]).status == 431
