"""Projects: who is in, what members may do with what the project owns, and what ends with it."""

from pathlib import Path

import pytest
from sqlalchemy import select

from mgmt.api.access import OWNED
from mgmt.api.app import load_commands
from mgmt.api.registry import REGISTRY
from mgmt.model.states import AccountType
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga, run_directly
from mgmt.ops.workflows import run
from mgmt.pki.authority import Authority
from mgmt.store.tables import (
    Account,
    Job,
    Project,
    SshKeyPair,
    Template,
    Zone,
)
from tests.unit.mgmt.api.shop import Shop

pytestmark = pytest.mark.unit

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr"


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
