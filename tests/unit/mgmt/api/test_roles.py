"""Roles: ordered rules with wildcards, on every server at once, and commands that keep them sane."""

import pytest
from sqlalchemy import select

from mgmt.api.app import create_app
from mgmt.api.call import Context
from mgmt.api.registry import REGISTRY
from mgmt.api.testing import Api, Client
from mgmt.jobs.recorded import RecordedJobs
from mgmt.model.states import AccountType
from mgmt.store.database import Database
from mgmt.store.tables import Account
from tests.unit.mgmt.api.staff import can, hire, ids, make_role, rules_of

pytestmark = pytest.mark.unit

PERSON = {"firstname": "x", "lastname": "x", "email": "x", "password": "long enough"}
NOBODY = "00000000-1111-2222-3333-444444444444"


def test_every_cloud_has_these_roles(admin: Client) -> None:
    roles = admin.get("listRoles")["role"]
    assert {(role["name"], role["type"]) for role in roles} == {
        ("Root Admin", "Admin"),
        ("Domain Admin", "DomainAdmin"),
        ("Resource Admin", "ResourceAdmin"),
        ("User", "User"),
        ("Read-Only Admin - Default", "Admin"),
        ("Read-Only User - Default", "User"),
    }
    assert all(role["isdefault"] and role["ispublic"] and role["state"] == "enabled" for role in roles)
    assert (
        admin.get("listRoles", type="User", keyword="read")["role"][0]["name"] == "Read-Only User - Default"
    )
    assert [role["name"] for role in admin.get("listRoles", page=2, pagesize=5)["role"]] == [roles[5]["name"]]


@pytest.mark.parametrize(
    ("rules", "zones", "users"),
    [
        ([], False, False),
        (["allow listZones"], True, False),
        (["allow *"], True, True),
        (["deny listZones", "allow *"], False, True),
        (["allow *", "deny listZones"], True, True),
        (["allow LISTz*"], True, False),
        (["allow *Users", "deny *"], False, True),
        (["allow list"], False, False),
        (["allow l*Z*s", "allow *i*t*U*"], True, True),
    ],
)
def test_the_first_rule_that_matches_decides(
    api: Api, admin: Client, rules: list[str], zones: bool, users: bool
) -> None:
    client = hire(api, admin, "ann", *rules, kind="User")
    assert (can(client, "listZones"), can(client, "listUsers")) == (zones, users)


def test_a_role_allows_no_more_than_the_kind_of_account(api: Api, admin: Client) -> None:
    user = hire(api, admin, "ann", "allow *", kind="User")
    names = {item["name"] for item in user.get("listApis")["api"]}
    for registered in REGISTRY.all():
        assert (registered.name in names) == (AccountType.user in registered.spec.access), registered.name
    assert not can(user, "createZone")


def test_a_role_of_another_kind_than_the_account_allows_nothing(api: Api, admin: Client) -> None:
    client = hire(api, admin, "ann", "allow *", kind="User")
    with api.context.database.writing() as session:
        session.scalars(select(Account).where(Account.name == "ann")).one().type = 1
    assert not can(client, "listZones")


def test_list_apis_follows_the_role(api: Api, admin: Client) -> None:
    client = hire(api, admin, "ann", "allow listA*", "deny *", kind="User")
    names = {item["name"] for item in client.get("listApis")["api"]}
    assert {"listApis", "listAccounts", "listAsyncJobs"} <= names
    assert all(name.startswith("listA") for name in names)
    assert client("listApis", name="listZones").status == 431


def test_who_only_reads_changes_nothing_and_sees_no_secret_keys(api: Api, admin: Client) -> None:
    reader = api.account("ann", kind=1)
    admin.get("updateAccount", id=ids(api)["account ann"], roleid=ids(api)["role Read-Only Admin - Default"])
    changing = {item.name for item in REGISTRY.all() if item.changes}
    allowed = {item["name"] for item in reader.get("listApis")["api"]}
    assert changing & allowed == {
        "setupUserTwoFactorAuthentication",
        "validateUserTwoFactorAuthenticationCode",
    }
    assert {"listHosts", "getUser", "queryAsyncJobResult"} <= allowed
    assert "getUserKeys" not in allowed


def test_a_change_is_effective_at_once_on_every_server(api: Api, admin: Client) -> None:
    client = hire(api, admin, "ann", "allow listZones", kind="User")
    database = Database(api.context.config.database_url)
    try:
        context = Context(database, api.context.seal, RecordedJobs(), api.context.config)
        there = Client(create_app(context), client.api_key, client.secret)
        assert can(client, "listZones")
        assert can(there, "listZones")
        (rule,) = rules_of(admin, ids(api)["role role of ann"])
        admin.get("updateRolePermission", roleid=rule["roleid"], ruleid=rule["id"], permission="deny")
        assert not can(there, "listZones")
        assert not can(client, "listZones")
    finally:
        database.close()


def test_roles_cost_no_statement_once_they_are_known(api: Api, admin: Client) -> None:
    admin.get("listZones")
    with api.counted() as statements:
        admin.get("listZones")
    assert not [text for text in statements if "FROM role" in text]
    assert len([text for text in statements if text.startswith("SELECT")]) <= 3, statements


def test_rules_have_an_order_that_can_be_changed(api: Api, admin: Client) -> None:
    client = hire(api, admin, "ann", "allow listZones", "deny list*", "allow *", kind="User")
    role = ids(api)["role role of ann"]
    rules = rules_of(admin, role)
    assert [(rule["rule"], rule["permission"], rule["rolename"]) for rule in rules] == [
        ("listZones", "allow", "role of ann"),
        ("list*", "deny", "role of ann"),
        ("*", "allow", "role of ann"),
    ]
    assert (can(client, "listZones"), can(client, "listUsers")) == (True, False)
    order = [rules[at]["id"] for at in (1, 0, 2)]
    assert admin.get("updateRolePermission", roleid=role, ruleorder=order) == {"success": True}
    assert [rule["id"] for rule in rules_of(admin, role)] == order
    assert (can(client, "listZones"), can(client, "listUsers")) == (False, False)
    admin.get("deleteRolePermission", id=rules[1]["id"])
    assert (can(client, "listZones"), can(client, "listUsers")) == (True, True)
    added = admin.get("createRolePermission", roleid=role, rule="list*", permission="DENY", description="no")
    assert added["rolepermission"]["permission"] == "deny"
    assert rules_of(admin, role)[-1]["description"] == "no"


def test_wrong_orders(api: Api, admin: Client) -> None:
    role, other = make_role(admin, "a", "allow a", "allow b"), make_role(admin, "b", "allow c")
    first, second = (rule["id"] for rule in rules_of(admin, role))
    foreign = rules_of(admin, other)[0]["id"]
    for form in (
        {"ruleorder": [first]},
        {"ruleorder": [first, first]},
        {"ruleorder": [first, second, foreign]},
        {"ruleorder": [first, second], "ruleid": first, "permission": "deny"},
        {"ruleid": foreign, "permission": "deny"},
        {"ruleid": first, "permission": "perhaps"},
        {"ruleid": first},
        {"permission": "deny"},
        {"ruleid": NOBODY, "permission": "deny"},
        {},
    ):
        answer = admin("updateRolePermission", roleid=role, **form)
        assert (answer.status, answer.body["cserrorcode"]) == (431, 4350), form
    assert [rule["id"] for rule in rules_of(admin, role)] == [first, second]


@pytest.mark.parametrize(
    ("command", "form", "words"),
    [
        ("createRole", {"name": "x"}, "either type"),
        ("createRole", {"name": "x", "type": "User", "roleid": "role User"}, "either type"),
        (
            "createRole",
            {"name": "x", "type": "Emperor"},
            "expected Admin, DomainAdmin, ResourceAdmin or User",
        ),
        ("createRole", {"name": "Taken", "type": "User"}, "A role Taken exists already"),
        ("createRole", {"type": "User"}, "missing parameter name"),
        ("createRolePermission", {"rule": "list zones", "permission": "allow"}, "Invalid value list zones"),
        ("createRolePermission", {"rule": "lïst", "permission": "allow"}, "Invalid value lïst"),
        ("createRolePermission", {"rule": "a", "permission": "perhaps"}, "expected allow or deny"),
        ("createRolePermission", {"rule": "LISTZONES", "permission": "deny"}, "has a rule LISTZONES already"),
        ("importRole", {"name": "x", "type": "User"}, "missing parameter rules"),
        ("importRole", {"name": "x", "type": "User", "rules[0].rule": "a"}, "rules[0].permission is missing"),
        (
            "importRole",
            {"name": "Taken", "type": "User", "rules[0].rule": "a", "rules[0].permission": "allow"},
            "A role Taken exists already",
        ),
        ("updateRole", {"id": "role Taken", "name": "User"}, "A role User exists already"),
        (
            "updateRole",
            {"id": "role Taken", "type": "king"},
            "expected Admin, DomainAdmin, ResourceAdmin or User",
        ),
    ],
)
def test_wrong_values(api: Api, admin: Client, command: str, form: dict[str, str], words: str) -> None:
    role = make_role(admin, "Taken", "allow listZones", kind="User")
    known = ids(api)
    sent = {name: known.get(value, value) for name, value in form.items()}
    answer = admin(command, **({"roleid": role} if "Permission" in command else {}), **sent)
    assert answer.status == 431
    assert words in answer.error
    assert admin.get("listRoles")["count"] == 7


@pytest.mark.parametrize("name", ["Root Admin", "User", "Read-Only Admin - Default"])
def test_default_roles_stay_as_they_are(api: Api, admin: Client, name: str) -> None:
    role = ids(api)[f"role {name}"]
    before = rules_of(admin, role)
    rule = before[0]["id"]
    for command, form in (
        ("updateRole", {"id": role, "name": "mine"}),
        ("deleteRole", {"id": role}),
        ("createRolePermission", {"roleid": role, "rule": "x", "permission": "deny"}),
        ("updateRolePermission", {"roleid": role, "ruleid": rule, "permission": "deny"}),
        ("updateRolePermission", {"roleid": role, "ruleorder": [rule["id"] for rule in before][::-1]}),
        ("deleteRolePermission", {"id": rule}),
        (
            "importRole",
            {
                "name": name,
                "type": "Admin",
                "forced": True,
                "rules[0].rule": "*",
                "rules[0].permission": "deny",
            },
        ),
    ):
        answer = admin(command, **form)
        assert answer.status == 431, command
        assert "is a default role and stays as it is" in answer.error, command
    assert rules_of(admin, role) == before


def test_a_role_that_accounts_have_stays(api: Api, admin: Client) -> None:
    hire(api, admin, "ann", "allow *", kind="User")
    role = ids(api)["role role of ann"]
    refusal = admin("deleteRole", id=role)
    assert (refusal.status, "give them another one" in refusal.error) == (536, True)
    assert admin("updateRole", id=role, type="Admin").status == 536
    admin.get("updateAccount", id=ids(api)["account ann"], roleid=ids(api)["role User"])
    assert admin.get("deleteRole", id=role) == {"success": True}
    assert admin.get("listRoles", name="role of ann") == {}
    assert admin("updateRole", id=role, name="x").status == 431
    make_role(admin, "role of ann", kind="User")


def test_a_copy_and_an_import(admin: Client) -> None:
    source = make_role(admin, "first", "deny listZones", "allow *", kind="DomainAdmin")
    copy = admin.get("createRole", name="copy", roleid=source, description="d", ispublic=False)["role"]
    assert (copy["type"], copy["description"], copy["ispublic"]) == ("DomainAdmin", "d", False)
    assert [rule["rule"] for rule in rules_of(admin, copy["id"])] == ["listZones", "*"]
    form = {
        "name": "copy",
        "type": "User",
        "rules[0].rule": "list*",
        "rules[0].permission": "Allow",
        "rules[0].description": "why",
        "rules[1].rule": "*",
        "rules[1].permission": "deny",
    }
    assert admin("importRole", **form).status == 431
    again = admin.get("importRole", forced=True, **form)["role"]
    assert (again["id"], again["type"], again["ispublic"]) == (copy["id"], "User", True)
    rules = rules_of(admin, copy["id"])
    assert [(rule["rule"], rule["permission"], rule["description"]) for rule in rules] == [
        ("list*", "allow", "why"),
        ("*", "deny", ""),
    ]
    changed = admin.get("updateRole", id=copy["id"], name="new", description="", type="Admin", ispublic=False)
    assert (changed["role"]["name"], changed["role"]["description"]) == ("new", "")
    assert (changed["role"]["type"], changed["role"]["ispublic"]) == ("Admin", False)


def test_accounts_are_made_found_and_changed_by_role(api: Api, admin: Client) -> None:
    role = make_role(admin, "operators", "allow list*", kind="DomainAdmin")
    made = admin.get("createAccount", username="ann", roleid=role, **PERSON)["account"]
    expected = {"roleid": role, "rolename": "operators", "roletype": "DomainAdmin", "accounttype": 2}
    assert made.items() >= expected.items()
    assert made["user"][0].items() >= expected.items()
    wrong = admin("createAccount", username="bea", roleid=role, accounttype=0, **PERSON)
    assert wrong.status == 431
    assert "2, the type of role operators" in wrong.error
    user = ids(api)["role User"]
    admin.get("createAccount", username="bea", accounttype=0, **PERSON)
    for filters in ({"roleid": role}, {"rolename": "operators"}, {"roletype": "domainadmin"}):
        found = admin.get("listAccounts", listall=True, **filters)["account"]
        assert [item["name"] for item in found] == ["ann"], filters
    for filters in ({"roleid": user}, {"rolename": "User"}, {"roletype": "User"}):
        found = admin.get("listAccounts", listall=True, **filters)["account"]
        assert [item["name"] for item in found] == ["bea"], filters
    changed = admin.get("updateAccount", id=made["id"], roleid=user)["account"]
    assert (changed["rolename"], changed["roletype"], changed["accounttype"]) == ("User", "User", 0)


def test_a_disabled_role_allows_nothing(api: Api, admin: Client) -> None:
    client = hire(api, admin, "ann", "allow *", kind="User")
    role = ids(api)["role role of ann"]
    assert admin.get("disableRole", id=role) == {"success": True}
    assert not can(client, "listZones")
    assert [item["name"] for item in admin.get("listRoles", state="Disabled")["role"]] == ["role of ann"]
    assert admin.get("enableRole", id=role) == {"success": True}
    assert can(client, "listZones")
    assert admin.get("listRoles", state="disabled") == {}
    assert admin("listRoles", state="tired").status == 431
    assert admin("disableRole", id=ids(api)["role User"]).status == 431
    assert client("disableRole", id=role).status != 200


def test_a_resource_administrator_reaches_only_the_own(api: Api, admin: Client) -> None:
    admin.get("createDomain", name="a")
    rita, _ = api.account("rita", kind=3, domain="/a/"), api.account("ulf", domain="/a/")
    (shown,) = admin.get("listAccounts", listall=True, name="rita")["account"]
    assert (shown["accounttype"], shown["roletype"]) == (3, "ResourceAdmin")
    assert [item["name"] for item in rita.get("listAccounts", listall=True)["account"]] == ["rita"]
    assert [item["username"] for item in rita.get("listUsers", listall=True)["user"]] == ["rita"]
    assert [item["name"] for item in rita.get("listDomains", listall=True)["domain"]] == ["a"]
    assert rita("getUserKeys", id=ids(api)["user ulf"]).status == 531
    assert rita("updateUser", id=ids(api)["user ulf"], firstname="x").status == 531
    for command in ("createAccount", "listRoles", "listHosts", "disableUser"):
        assert not can(rita, command), command


def test_domain_administrators_see_and_give_out_what_is_public_and_not_above_them(
    api: Api, admin: Client
) -> None:
    admin.get("createDomain", name="a")
    make_role(admin, "private", "allow list*", kind="User")
    admin.get("updateRole", id=ids(api)["role private"], ispublic=False)
    boss = api.account("boss", kind=2, domain="/a/")
    known = ids(api)
    assert {role["name"] for role in boss.get("listRoles")["role"]} == {
        "Domain Admin",
        "Resource Admin",
        "User",
        "Read-Only User - Default",
    }
    rules = boss.get("listRolePermissions")["rolepermission"]
    assert {rule["rolename"] for rule in rules} == {
        "Domain Admin",
        "Resource Admin",
        "User",
        "Read-Only User - Default",
    }
    assert boss("listRolePermissions", roleid=known["role Root Admin"]).status == 531
    for name, status in (("private", 531), ("Root Admin", 531), ("Domain Admin", 200), ("User", 200)):
        answer = boss("createAccount", username=f"by {name}", roleid=known[f"role {name}"], **PERSON)
        assert answer.status == status, name
    assert boss("createRole", name="x", type="User").status == 401
