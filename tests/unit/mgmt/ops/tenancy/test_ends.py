"""Accounts and domains on a simulated cloud: they go with all that they own, and leave nothing."""

from typing import Any

import pytest
from sqlalchemy import select

from mgmt.agents.errors import AgentFailed
from mgmt.alloc.counted import correct_domain
from mgmt.api.access import Caller
from mgmt.doctor.examine import examine
from mgmt.model.errors import CloudError, InUse, ParameterError, PermissionDenied
from mgmt.model.states import AccountType, JobStatus
from mgmt.store.tables import (
    Account,
    Annotation,
    Dedication,
    DiskOffering,
    Domain,
    Event,
    Job,
    LoginSession,
    Network,
    Project,
    PublicAddress,
    ResourceCount,
    ResourceLimit,
    Snapshot,
    SnapshotPolicy,
    SshKeyPair,
    Tag,
    Template,
    User,
    UserData,
    VlanRange,
    Vm,
    Volume,
)
from mgmt.store.tables.base import now
from tests.unit.mgmt.small_cloud import SmallCloud
from tests.unit.mgmt.tenant import Tenant

pytestmark = pytest.mark.unit
OWNED = (Vm, Volume, Network, PublicAddress, Snapshot, Template, SshKeyPair, UserData, Tag, SnapshotPolicy)


def admin(tenant: Tenant) -> Tenant:
    """The root administrator of the same cloud."""
    with tenant.cloud.runtime.database.reading() as session:
        account = session.get_one(Account, tenant.cloud.account_id)
        user = session.get_one(User, tenant.cloud.user_id)
        domain = session.get_one(Domain, tenant.cloud.domain_id)
    return Tenant(tenant.cloud, tenant.context, Caller(user=user, account=account, domain=domain))


@pytest.fixture
def rich(tenant: Tenant) -> Tenant:
    """Bob has a running VM with a disk, a snapshot with its policy, a key, user data, tags, a limit."""
    with tenant.cloud.runtime.database.writing() as session:  # the template came by the back door, uncounted
        correct_domain(session, session.get_one(Domain, tenant.cloud.domain_id))
    network = tenant.network()
    vm = tenant.deploy(network, diskofferingid=tenant.id_of(DiskOffering, "Small"))["id"]
    disk = next(row for row in tenant.mine(Volume) if row.kind == "DATADISK")
    tenant.call("createSnapshot", volumeid=disk.id)
    schedule = {"schedule": "1", "intervaltype": "HOURLY", "maxsnaps": 2, "timezone": "UTC"}
    tenant.call("createSnapshotPolicy", volumeid=disk.id, **schedule)
    tenant.call("createSSHKeyPair", name="key")
    tenant.call("registerUserData", name="init", userdata="I2Nsb3VkLWNvbmZpZwo=")
    tenant.call(
        "createTags", resourceids=vm, resourcetype="UserVm", **{"tags[0].key": "k", "tags[0].value": "v"}
    )
    address = tenant.call("associateIpAddress", networkid=network)["id"]
    tenant.call("createFirewallRule", ipaddressid=address, protocol="tcp", startport=22, endport=22)
    tenant.call("addAnnotation", entitytype="VM", entityid=vm, annotation="mine")
    tenant.cloud.add(ResourceLimit(owner_id=tenant.caller.account.id, type=1, most=3))
    return tenant


def left(tenant: Tenant) -> list[Any]:
    return [row for table in (*OWNED, Annotation) for row in tenant.mine(table)]


def test_an_account_goes_with_all_it_owns(rich: Tenant) -> None:
    cloud, own = rich.cloud, rich.caller.account.id
    assert {type(row) for row in left(rich)} >= {Vm, Volume, Network, Snapshot, SshKeyPair, Annotation}
    admin(rich).call("deleteAccount", id=own)
    assert left(rich) == []
    assert examine(cloud.runtime) == []
    assert cloud.row(Account, own).removed is not None
    with cloud.runtime.database.reading() as session:
        for table in (ResourceLimit, ResourceCount):
            assert session.scalars(select(table).where(table.owner_id == own)).all() == []
        (user,) = session.scalars(select(User).where(User.account_id == own))
        job = session.scalars(select(Job).where(Job.command == "deleteAccount")).one()
    assert (user.removed is not None, user.api_key, user.secret_key) == (True, None, None)
    assert (job.workflow, job.status, job.arguments) == (
        "delete_account",
        JobStatus.succeeded,
        {"account_id": own},
    )
    assert set(rich.counted()[1].values()) == {0}


def test_progress_names_the_object_that_goes(rich: Tenant) -> None:
    steps = rich.cloud.run("delete_account", account_id=rich.caller.account.id)
    begun = {step.partition(":")[0] for step in steps}
    assert {"volume DATA-1 (1 of 1)", "network net0 (1 of 1)"} & begun
    assert any(step.endswith("(1 of 1): stop the VM on its host") for step in steps)


def test_a_template_that_another_was_promised_a_disk_of_is_the_systems(rich: Tenant) -> None:
    cloud, own = rich.cloud, rich.caller.account
    network = cloud.new_network("other", "10.1.9.0/24")
    with cloud.runtime.database.writing() as session:
        template = session.get_one(Template, cloud.template_id)
        template.account_id, template.domain_id, template.size = own.id, own.domain_id, 5
        correct_domain(session, session.get_one(Domain, cloud.domain_id))
    vm = cloud.new_vm(network, "late")
    (disk,) = [row for row in cloud.rows(Volume) if row.vm_id == vm.id]
    admin(rich).call("deleteAccount", id=own.id)
    assert left(rich) == []
    kept = cloud.row(Template, cloud.template_id)
    assert (kept.removed, kept.is_public, kept.state) == (None, False, "Ready")
    assert cloud.row(Account, kept.account_id).name == "system"
    assert examine(cloud.runtime) == []
    with cloud.runtime.database.reading() as session:
        told = session.scalars(select(Event).where(Event.resource_id == kept.id, Event.level == "WARN")).one()
    assert told.description == (
        f"template tiny of account bob is the system's now, because volume {disk.name} is"
        " still to be made of it; delete it when nobody needs it"
    )
    cloud.run("deploy_vm", vm_id=vm.id)
    assert cloud.row(Vm, vm.id).state == "Running"
    cloud.run("delete_template", template_id=kept.id)
    assert cloud.row(Template, kept.id).removed is not None


def test_an_end_that_is_refused_is_tried_again(rich: Tenant) -> None:
    boss, own = admin(rich), rich.caller.account.id
    session_of = {"id_hash": "a", "key_hash": "b", "user_id": rich.caller.user.id, "expires": now()}
    rich.cloud.add(LoginSession(**session_of))
    rich.cloud.simulator.faults.fail("delete_volume", AgentFailed("host1", "disk is stuck"))
    boss.call("deleteAccount", id=own)
    (account,) = boss.call("listAccounts", id=own)["account"]
    assert account["state"] == "disabled"
    with rich.cloud.runtime.database.reading() as session:
        assert session.scalars(select(LoginSession)).all() == []
    assert {type(row) for row in left(rich)} >= {Volume, Network}
    boss.call("deleteAccount", id=own)
    assert (left(rich), examine(rich.cloud.runtime)) == ([], [])


def test_jobs_that_run_are_waited_for(rich: Tenant) -> None:
    vm = next(row for row in rich.mine(Vm) if row.kind == "user")
    cloud, who = rich.cloud, rich.caller
    mine = {"account_id": who.account.id, "domain_id": who.domain.id, "user_id": who.user.id}
    job = cloud.add(Job(**mine, command="rebootVirtualMachine", workflow="reboot_vm", instance_id=vm.id))
    before = cloud.clock.slept
    with pytest.raises(Exception, match=r"1 job\(s\) about what it owns still run, as rebootVirtualMachine"):
        cloud.run("delete_account", account_id=who.account.id)
    assert cloud.clock.slept - before >= 60
    assert cloud.row(Vm, vm.id).removed is None
    with cloud.runtime.database.writing() as session:
        session.get_one(Job, job.id).status = JobStatus.succeeded
    cloud.run("delete_account", account_id=who.account.id)
    assert left(rich) == []


def test_what_was_given_to_an_account_alone_is_everybodys_again(tenant: Tenant) -> None:
    boss, who = admin(tenant), tenant.caller
    (range_,) = tenant.cloud.rows(VlanRange)
    with tenant.cloud.runtime.database.writing() as session:
        own = session.get_one(VlanRange, range_.id)
        own.account_id, own.domain_id = who.account.id, who.domain.id
    boss.call("dedicateHost", hostid=tenant.cloud.host_id, domainid=who.domain.id, account="bob")
    boss.call("deleteAccount", id=who.account.id)
    assert tenant.cloud.row(VlanRange, range_.id).account_id is None
    assert tenant.cloud.rows(Dedication) == []


def test_the_only_administrator_of_a_project_stays(tenant: Tenant) -> None:
    boss = admin(tenant)
    project = tenant.call("createProject", name="shop")["id"]
    with pytest.raises(ParameterError, match="bob is the only administrator of project shop"):
        boss.call("deleteAccount", id=tenant.caller.account.id)
    assert tenant.cloud.row(Account, tenant.caller.account.id).state == "enabled"
    tenant.call("deleteProject", id=project)
    boss.call("deleteAccount", id=tenant.caller.account.id)


def test_a_domain_goes_with_all_that_is_in_it(rich: Tenant) -> None:
    boss, domain = admin(rich), rich.caller.domain
    below = boss.call("createDomain", name="inner", parentdomainid=domain.id)["domain"]["id"]
    person = {"firstname": "e", "lastname": "e", "email": "e", "password": "long enough", "accounttype": 0}
    boss.call("createAccount", username="eve", domainid=below, **person)
    rich.call("createProject", name="stall")
    for name, places in (("theirs", (below,)), ("both", (below, rich.cloud.domain_id))):
        boss.call("createDiskOffering", name=name, disksize=1, domainid=",".join(places))
    with pytest.raises(
        InUse, match=r"1 domain\(s\) \(shop/inner\), 1 project\(s\) \(stall\), 2 account\(s\)"
    ):
        boss.call("deleteDomain", id=domain.id)
    assert rich.cloud.row(Domain, domain.id).state == "Active"
    boss.call("deleteDomain", id=domain.id, cleanup=True)
    assert [row.path for row in rich.cloud.rows(Domain)] == ["/"]
    kept = {row.name for row in rich.cloud.rows(DiskOffering)}
    assert ("theirs" in kept, "both" in kept) == (False, True)
    assert (rich.cloud.rows(Project), left(rich), examine(rich.cloud.runtime)) == ([], [], [])
    assert {row.domain_id for row in rich.cloud.rows(Account)} == {rich.cloud.domain_id}


def test_a_domain_that_could_not_be_emptied_is_open_again(rich: Tenant) -> None:
    boss, domain = admin(rich), rich.caller.domain
    rich.cloud.simulator.faults.fail("delete_volume", AgentFailed("host1", "disk is stuck"))
    boss.call("deleteDomain", id=domain.id, cleanup=True)
    assert rich.cloud.row(Domain, domain.id).state == "Active"
    boss.call("deleteDomain", id=domain.id, cleanup=True)
    assert rich.cloud.row(Domain, domain.id).removed is not None


def test_nothing_new_comes_into_a_domain_that_is_being_deleted(tenant: Tenant) -> None:
    boss, domain = admin(tenant), tenant.caller.domain
    with tenant.cloud.runtime.database.writing() as session:
        session.get_one(Domain, domain.id).state = "Inactive"
    person = {"firstname": "e", "lastname": "e", "email": "e", "password": "long enough", "accounttype": 0}
    for command, asked in (
        ("createAccount", {"username": "eve", "domainid": domain.id, **person}),
        ("createDomain", {"name": "x", "parentdomainid": domain.id}),
    ):
        with pytest.raises(ParameterError, match="Domain shop is being deleted"):
            boss.call(command, **asked)


def chief_of(cloud: SmallCloud, tenant: Tenant, kind: AccountType, domain: Domain) -> Tenant:
    account = cloud.add(Account(name=f"chief{int(kind)}", domain_id=domain.id, type=kind))
    return Tenant(cloud, tenant.context, Caller(tenant.add_user(account), account, domain))


@pytest.mark.parametrize("command", ["deleteAccount", "deleteDomain"])
def test_who_may_end_what(tenant: Tenant, command: str) -> None:
    """A tenant ends nobody; an administrator of a domain neither the own one nor root administrators."""
    cloud, shop = tenant.cloud, tenant.caller.domain
    inner = cloud.add(Domain(name="inner", path="/shop/inner/", parent_id=shop.id))
    boss = chief_of(cloud, tenant, AccountType.domain_admin, shop)
    root = chief_of(cloud, tenant, AccountType.root_admin, inner)
    target = root.caller.account.id if command == "deleteAccount" else inner.id
    with pytest.raises(CloudError, match="does not exist or is not available"):
        tenant.call(command, id=target, cleanup=True)
    with pytest.raises(PermissionDenied):
        boss.call(command, id=target, cleanup=True)
    with pytest.raises(ParameterError, match=r"is your own|is yours"):
        root.call(command, id=root.caller.account.id if command == "deleteAccount" else shop.id, cleanup=True)
    with pytest.raises(ParameterError, match="entity does not exist"):
        admin(tenant).call(command, id="11111111-2222-3333-4444-555555555555")
    assert cloud.row(Account, root.caller.account.id).state == "enabled"
    assert cloud.row(Domain, inner.id).state == "Active"
