"""Members of projects: let in, limited by roles, invited, gone; and how the count of projects follows."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from mgmt.store.tables import (
    Account,
    ProjectInvitation,
    User,
)
from tests.unit.mgmt.api.shop import Shop

pytestmark = pytest.mark.unit

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr"


def test_a_user_may_be_in_without_the_account(shop: Shop) -> None:
    project = shop.project()
    shop.job("ann", "addUserToProject", projectid=project, username="second")
    shop["second"].get("listSSHKeyPairs", projectid=project)
    assert shop.refused("duo", "listSSHKeyPairs", projectid=project).status == 531
    shop.job("ann", "addAccountToProject", projectid=project, account="duo", roletype="Admin")
    assert shop.refused("second", "suspendProject", id=project).status == 531  # the own membership counts
    (member,) = shop["ann"].get("listProjectAccounts", projectid=project, role="Regular")["projectaccount"]
    assert (member["username"], member["account"], member["role"]) == ("second", "duo", "Regular")
    shop.job("ann", "deleteAccountFromProject", projectid=project, account="duo")
    shop.job("ann", "deleteUserFromProject", projectid=project, userid=member["userid"])
    assert shop.refused("second", "listSSHKeyPairs", projectid=project).status == 531


@pytest.mark.parametrize(
    ("command", "parameters", "words"),
    [
        ("addAccountToProject", {"account": "ann"}, "is a member of project web already"),
        ("addAccountToProject", {"account": "cid"}, "expected the name of an account in the domain of"),
        ("addAccountToProject", {"account": "bob", "roletype": "King"}, "expected Admin or Regular"),
        ("addAccountToProject", {"email": "a@b"}, "sends no mail"),
        ("addUserToProject", {"username": "cid"}, "expected the name of a user in the domain of"),
        ("addUserToProject", {}, "sends no mail"),
        ("deleteAccountFromProject", {"account": "ann"}, "only administrator of project web"),
        ("deleteAccountFromProject", {"account": "bob"}, "expected the name of a member"),
    ],
)
def test_members_must_make_sense(shop: Shop, command: str, parameters: dict[str, str], words: str) -> None:
    answer = shop.refused("ann", command, projectid=shop.project(), **parameters)
    assert (answer.status, words in answer.error) == (431, True), answer.error


def test_ownership_moves_with_its_count(shop: Shop) -> None:
    project = shop.project()
    assert "no member" in shop.refused("ann", "updateProject", id=project, account="bob").error
    shop.job("ann", "addAccountToProject", projectid=project, account="bob")
    changed = shop.job("ann", "updateProject", id=project, account="bob", name="new", displaytext="t")
    assert (changed["project"]["name"], changed["project"]["owner"]) == ("new", [{"account": "bob"}])
    assert [shop.counted("ann"), shop.counted("bob")] == [[0, 0], [1, 1]]
    assert shop.refused("ann", "updateProject", id=project, account="ann").status == 531
    shop.job("bob", "updateProject", id=project, account="ann", swapowner=False, roletype="Admin")
    assert [shop.counted("ann"), shop.counted("bob")] == [[1, 1], [1, 1]]
    shop.job("bob", "updateProject", id=project, account="bob", swapowner=False, roletype="Regular")
    last = shop.refused("ann", "updateProject", id=project, account="ann", swapowner=False)
    assert "no administrator" in last.error
    assert [shop.counted("ann"), shop.counted("bob")] == [[1, 1], [0, 0]]


def test_who_leaves_the_cloud_leaves_its_projects(shop: Shop) -> None:
    project = shop.project()
    shop.job("ann", "addUserToProject", projectid=project, username="second", roletype="Admin")
    ann, second = shop.id_of(Account, Account.name, "ann"), shop.id_of(User, User.username, "second")
    shop["boss"].get("deleteAccount", id=ann)
    assert shop["second"].get("listProjectAccounts", projectid=project)["count"] == 1
    assert "only administrator" in shop.refused("boss", "deleteUser", id=second).error
    shop.job("second", "addAccountToProject", projectid=project, account="bob", roletype="Admin")
    shop["boss"].get("deleteUser", id=second)
    assert [shop.counted("ann"), shop.counted("duo"), shop.counted("bob")] == [[0, 0], [0, 0], [1, 1]]


def test_an_account_has_so_many_projects(shop: Shop) -> None:
    shop.configure("max.account.projects", "1")
    project = shop.project()
    refused = shop.refused("ann", "createProject", name="second")
    assert (refused.status, "may have 1 of resource project" in refused.error) == (532, True)
    shop.project("bob", "other")
    full = shop.refused("ann", "addAccountToProject", projectid=project, account="bob", roletype="Admin")
    assert full.status == 532


def test_project_roles_limit_what_members_may_call(shop: Shop) -> None:
    project = shop.project()
    role = shop["ann"].get("createProjectRole", projectid=project, name="reader")["projectrole"]
    asked = {"projectid": project, "projectroleid": role["id"]}
    for rule, permission in (("list*", "allow"), ("registerSSHKeyPair", "deny"), ("*", "deny")):
        shop["ann"].get("createProjectRolePermission", **asked, rule=rule, permission=permission)
    shop.job("ann", "addAccountToProject", **asked, account="bob")
    register = {"name": "k", "publickey": KEY, "projectid": project}
    assert shop.keys("bob", projectid=project) == set()
    assert shop.refused("bob", "registerSSHKeyPair", **register).status == 531
    rules = shop["bob"].get("listProjectRolePermissions", **asked)["projectrolepermission"]
    assert [rule["rule"] for rule in rules] == ["list*", "registerSSHKeyPair", "*"]
    change = {**asked, "projectrolepermissionid": rules[1]["id"], "permission": "allow"}
    assert shop.refused("bob", "updateProjectRolePermission", **change).status == 531
    shop["ann"].get("updateProjectRolePermission", **change)
    shop["bob"].get("registerSSHKeyPair", **register)
    order = [rules[2]["id"], rules[1]["id"], rules[0]["id"]]
    shop["ann"].get("updateProjectRolePermission", **asked, ruleorder=order)
    assert shop.refused("bob", "listSSHKeyPairs", projectid=project).status == 531
    assert shop.keys("bob", projectid="-1") == set()
    assert shop.keys("ann", projectid=project) == shop.keys("ann", projectid="-1") == {"k"}
    assert shop.refused("ann", "deleteProjectRole", projectid=project, id=role["id"]).status == 536
    shop["ann"].get("deleteProjectRolePermission", projectid=project, id=order[0])
    assert shop.keys("bob", projectid=project) == {"k"}
    shop.job("ann", "deleteAccountFromProject", projectid=project, account="bob")
    shop["ann"].get("deleteProjectRole", projectid=project, id=role["id"])
    assert shop["ann"].get("listProjectRoles", projectid=project) == {}


def test_a_role_of_another_project_is_none(shop: Shop) -> None:
    first, second = shop.project(), shop.project(name="second")
    role = shop["ann"].get("createProjectRole", projectid=first, name="r")["projectrole"]["id"]
    rule = {"projectroleid": role, "rule": "list*", "permission": "allow"}
    made = shop["ann"].get("createProjectRolePermission", projectid=first, **rule)
    for command, parameters in (
        ("addAccountToProject", {"account": "bob", "projectroleid": role}),
        ("updateProjectRole", {"id": role, "name": "x"}),
        ("deleteProjectRole", {"id": role}),
        ("createProjectRolePermission", rule),
        ("updateProjectRolePermission", {"projectroleid": role, "ruleorder": "x"}),
        ("deleteProjectRolePermission", {"id": made["projectrolepermission"]["id"]}),
    ):
        assert shop.refused("ann", command, projectid=second, **parameters).status == 431


def test_an_invitation_is_accepted_in_time_or_not(shop: Shop) -> None:
    shop.configure("project.invite.required", "true")
    project = shop.project()
    for account in ("bob", "duo"):
        shop.job("ann", "addAccountToProject", projectid=project, account=account)
    again = shop.refused("ann", "addAccountToProject", projectid=project, account="bob")
    assert "invited to project web already" in again.error
    assert shop.refused("bob", "listSSHKeyPairs", projectid=project).status == 531
    (mine,) = shop["bob"].get("listProjectInvitations")["projectinvitation"]
    assert (mine["project"], mine["account"], mine["state"]) == ("web", "bob", "Pending")
    assert shop["ann"].get("listProjectInvitations", activeonly=True)["count"] == 2
    assert shop["cid"].get("listProjectInvitations") == {}
    assert shop.refused("cid", "updateProjectInvitation", projectid=project).status == 531
    shop.job("bob", "updateProjectInvitation", projectid=project)
    shop["bob"].get("listSSHKeyPairs", projectid=project)
    shop.clock.skew = timedelta(days=2)
    late = shop["duo"].get("listProjectInvitations")["projectinvitation"][0]
    assert late["state"] == "Expired"
    assert "no pending invitation" in shop.refused("duo", "updateProjectInvitation", projectid=project).error
    assert shop.refused("cid", "deleteProjectInvitation", id=late["id"]).status == 531
    shop.job("ann", "deleteProjectInvitation", id=late["id"])
    assert shop["duo"].get("listProjectInvitations") == {}


def test_an_invitation_is_declined(shop: Shop) -> None:
    shop.configure("project.invite.required", "true")
    project = shop.project()
    shop.job("ann", "addUserToProject", projectid=project, username="second")
    user = shop.id_of(User, User.username, "second")
    shop.job("second", "updateProjectInvitation", projectid=project, userid=user, accept=False)
    state = shop["ann"].get("listProjectInvitations")["projectinvitation"][0]["state"]
    assert state == "Declined"
    assert shop.refused("second", "listSSHKeyPairs", projectid=project).status == 531
    with shop.api.context.database.reading() as session:
        assert session.scalars(select(ProjectInvitation.token_hash)).one() == ""
