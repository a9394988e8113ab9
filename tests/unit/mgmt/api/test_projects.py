"""Projects: who is in, what members may do with what the project owns, and what ends with it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mgmt.alloc.counted import recount
from mgmt.alloc.limits import counts_of
from mgmt.api.access import OWNED
from mgmt.api.app import load_commands
from mgmt.api.registry import REGISTRY
from mgmt.api.testing import Answer, Api, Client, open_api
from mgmt.model.resources import ResourceType
from mgmt.model.states import AccountType, JobStatus
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga, run_directly
from mgmt.ops.workflows import run
from mgmt.pki.authority import Authority
from mgmt.store.tables import (
    Account,
    Domain,
    Job,
    Project,
    ProjectInvitation,
    SshKeyPair,
    Template,
    User,
    Zone,
)
from mgmt.store.tables.base import now

pytestmark = pytest.mark.unit

PROJECT = ResourceType.project
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr"


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


@pytest.fixture
def shop(fresh_store: Path, tmp_path: Path) -> Iterator[Shop]:
    clock = Clock()
    with open_api(tmp_path, clock=clock, like=fresh_store) as api:
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


def test_a_project_is_its_makers(shop: Shop) -> None:
    made = shop.job("ann", "createProject", name="web", displaytext="the shop")["project"]
    assert (made["name"], made["displaytext"], made["state"]) == ("web", "the shop", "Active")
    assert made["owner"] == [{"account": "ann"}]
    assert (made["vmlimit"], made["vmtotal"], made["vmavailable"], made["tags"]) == ("20", 0, "20", [])
    assert "projectlimit" not in made
    assert shop.counted("ann") == [1, 1]
    for name, seen in (("ann", True), ("bob", False), ("cid", False), ("boss", True), ("admin", True)):
        listed = shop[name].get("listProjects", listall=True)
        assert [item["id"] for item in listed.get("project", [])] == ([made["id"]] if seen else []), name
    for name in ("bob", "boss", "admin"):
        assert shop[name].get("listProjects") == {}
    assert "already has a project web" in shop.refused("bob", "createProject", name="web").error
    shop.configure("allow.user.create.projects", "false")
    assert shop.refused("bob", "createProject", name="mine").status == 531
    shop.job("boss", "createProject", name="bosses")


def test_members_share_what_the_project_owns(shop: Shop) -> None:
    project = shop.project()
    assert shop.refused("bob", "registerSSHKeyPair", name="k", publickey=KEY, projectid=project).status == 531
    shop.job("ann", "addAccountToProject", projectid=project, account="bob")
    made = shop["bob"].get("registerSSHKeyPair", name="k", publickey=KEY, projectid=project)["keypair"]
    assert (made["project"], made["projectid"]) == ("web", project)
    assert "account" not in made
    shop["bob"].get("registerSSHKeyPair", name="own", publickey=KEY)
    for name, seen in (("ann", {"k"}), ("bob", {"k"}), ("boss", {"k"}), ("admin", {"k"})):
        assert shop.keys(name, projectid=project) == seen
        assert shop.keys(name, projectid="-1") == seen
    assert shop.refused("cid", "listSSHKeyPairs", projectid=project).status == 531
    assert shop.keys("cid", projectid="-1") == set()
    assert shop.keys("bob") == {"own"}
    assert shop.keys("bob", listall=True) == {"own"}
    assert shop.keys("bob", projectid="-1", listall=True) == {"own", "k"}
    assert shop.keys("admin", listall=True) == {"own"}
    assert shop.keys("admin", projectid="-1", listall=True) == {"own", "k"}
    key = shop.id_of(SshKeyPair, SshKeyPair.name, "k")
    assert shop.keys("ann", id=key) == {"k"}
    shop.job("ann", "deleteAccountFromProject", projectid=project, account="bob")
    assert shop.refused("bob", "listSSHKeyPairs", id=key).status == 531
    shop["ann"].get("deleteSSHKeyPair", name="k", projectid=project)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"projectid": "-1"}, "expected the ID of one project"),
        ({"projectid": "PROJECT", "account": "ann"}, "Send account or projectid"),
        ({"projectid": "00000000-0000-0000-0000-000000000000"}, "entity does not exist"),
        ({"account": "PrjAcct"}, "expected the name of an account"),
    ],
)
def test_a_project_is_named_by_its_id_alone(shop: Shop, parameters: dict[str, str], words: str) -> None:
    project = shop.project()
    with shop.api.context.database.reading() as session:
        own = session.scalars(select(Account.name).where(Account.type == AccountType.project)).one()
    sent = {key: value.replace("PROJECT", project) for key, value in parameters.items()}
    sent = {key: own if value == "PrjAcct" else value for key, value in sent.items()}
    answer = shop.refused("ann", "registerSSHKeyPair", name="k", publickey=KEY, **sent)
    assert (answer.status, words in answer.error) == (431, True), answer.error


def test_the_projects_account_is_no_account_for_anybody(shop: Shop) -> None:
    shop.project()
    with shop.api.context.database.reading() as session:
        own = session.scalars(select(Account).where(Account.type == AccountType.project)).one()
    listed = shop["admin"].get("listAccounts", listall=True)["account"]
    assert own.name not in {item["name"] for item in listed}
    assert shop.refused("admin", "deleteAccount", id=own.id).status == 531
    more = {"username": "in", "password": "x" * 12, "firstname": "i", "lastname": "n", "email": "i@n"}
    made = shop.refused("admin", "createUser", account=own.name, domainid=own.domain_id, **more)
    assert made.status == 431


def test_a_suspended_project_can_be_looked_at_only(shop: Shop) -> None:
    project = shop.project()
    shop.job("ann", "addAccountToProject", projectid=project, account="bob")
    shop["bob"].get("registerSSHKeyPair", name="k", publickey=KEY, projectid=project)
    assert shop.refused("bob", "suspendProject", id=project).status == 531
    assert shop.job("ann", "suspendProject", id=project)["project"]["state"] == "Suspended"
    for name in ("ann", "bob"):
        assert shop.keys(name, projectid=project) == {"k"}
        assert shop.refused(name, "deleteSSHKeyPair", name="k", projectid=project).status == 531
    refused = shop.refused("admin", "registerSSHKeyPair", name="l", publickey=KEY, projectid=project)
    assert "is Suspended" in refused.error
    answer = shop["ann"]("activateProject", id=project)
    assert answer.envelope == "activaterojectresponse"
    shop["bob"].get("deleteSSHKeyPair", name="k", projectid=project)


def test_a_deleted_project_is_nobodys(shop: Shop, tmp_path: Path) -> None:
    project = shop.project()
    shop.job("ann", "addAccountToProject", projectid=project, account="bob", roletype="Admin")
    shop["bob"].get("registerSSHKeyPair", name="k", publickey=KEY, projectid=project)
    assert shop.counted("bob") == [1, 1]
    started = shop["ann"].get("deleteProject", id=project)
    with shop.api.context.database.reading() as session:
        job = session.get_one(Job, started["jobid"])
    assert (job.workflow, job.arguments) == ("delete_project", {"project_id": project, "cleanup": False})
    context = shop.api.context
    runtime = Runtime(context.database, context.seal, Authority(tmp_path / "pki"), drivers={})
    run(runtime, Saga(run_directly), job.workflow, job.arguments)
    assert shop.refused("ann", "listSSHKeyPairs", projectid=project).status == 431
    assert shop.keys("ann", projectid="-1") == set()
    assert [shop.counted("ann"), shop.counted("bob")] == [[0, 0], [0, 0]]
    shop.project()  # the name is free again


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


@pytest.mark.parametrize(
    "command",
    ["updateProject", "deleteProject", "suspendProject", "activateProject"],
)
def test_only_administrators_change_a_project(shop: Shop, command: str) -> None:
    project = shop.project()
    shop.job("ann", "addAccountToProject", projectid=project, account="bob")
    for name in ("bob", "cid"):
        assert shop.refused(name, command, id=project).status == 531
    shop["boss"].get(command, id=project)


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


def test_what_a_member_may_takes_one_statement_more(shop: Shop) -> None:
    project = shop.project()
    shop.job("ann", "addAccountToProject", projectid=project, account="bob")
    shop["bob"].get("registerSSHKeyPair", name="k", publickey=KEY, projectid=project)
    with shop.api.context.database.reading() as session:
        key = session.scalars(select(SshKeyPair.id).where(SshKeyPair.name == "k")).one()
        assert session.get_one(Project, project).name == "web"
    with shop.api.counted() as own:
        shop["bob"].get("listSSHKeyPairs")
    with shop.api.counted() as statements:
        shop["bob"].get("listSSHKeyPairs", id=key)
    about = [text for text in statements if "project_member" in text]
    assert len(about) == 1, "\n".join(statements)
    assert len(statements) <= 8 + len(own)


def test_answers_about_what_projects_own_name_the_project() -> None:
    load_commands()
    entities = [item.spec.entity for item in REGISTRY.all() if item.spec.entity is not None]
    answers = {entity.response for entity in entities if entity.table in OWNED}
    fields = {answer.__name__: set(answer.__struct_fields__) for answer in answers}
    lacking = {
        name for name, own in fields.items() if "account" in own and not {"project", "projectid"} <= own
    }
    assert lacking == {"JobResponse"}  # a job is its caller's
    assert len(fields) > 8


def test_templates_of_a_project_are_its_members(shop: Shop) -> None:
    project = shop.project()
    with shop.api.context.database.writing() as session:
        row = session.get_one(Project, project)
        zone = Zone(name="z", dns1="9.9.9.9", internal_dns1="9.9.9.9", allocation="Enabled")
        session.add(zone)
        session.flush()
        template = Template(
            account_id=row.account_id,
            domain_id=row.domain_id,
            zone_id=zone.id,
            name="t",
            display_text="t",
            url="http://x/t",
        )
        session.add(template)
    for filters in ({"projectid": project}, {"projectid": "-1"}, {"id": template.id}):
        (listed,) = shop["ann"].get("listTemplates", templatefilter="self", **filters)["template"]
        assert (listed["project"], listed["projectid"]) == ("web", project)
        assert shop["bob"]("listTemplates", templatefilter="self", **filters).body.get("template") is None


@pytest.mark.parametrize("command", ["listProjects", "listAccounts", "listDomains"])
def test_lists_with_limits_take_eight_statements(shop: Shop, command: str) -> None:
    for name in ("one", "two"):
        shop.project(name=name)
    shop["admin"].get(command, listall=True)  # what is known of roles is read once
    with shop.api.counted() as caller:
        shop["admin"].get("listHypervisors")
    with shop.api.counted() as statements:
        assert shop["admin"].get(command, listall=True)["count"] > 1
    read = [text for text in statements if text != "BEGIN"]
    assert len(read) - len([text for text in caller if text != "BEGIN"]) <= 8, "\n".join(read)
