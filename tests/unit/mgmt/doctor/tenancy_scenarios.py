"""Ends of accounts, projects and domains that own something, for the sweep."""

from mgmt.agents.errors import AgentFailed
from mgmt.model.states import AccountType
from mgmt.ops import names
from mgmt.store.tables import Account, Domain, Project, Snapshot, SshKeyPair, User, Volume
from tests.unit.mgmt.doctor.scenarios import Arguments, Scenario, Town, data_volume, new_image, new_iso, town
from tests.unit.mgmt.small_cloud import SmallCloud


def owner(cloud: SmallCloud, kind: AccountType, domain_id: str = "") -> Account:
    """Somebody who owns what the cloud makes from now on."""
    if domain_id:
        cloud.domain_id = domain_id
    account: Account = cloud.add(Account(name="owner", domain_id=cloud.domain_id, type=kind))
    cloud.account_id = account.id
    return account


def things(cloud: SmallCloud) -> Town:
    """A VM in a network with a rule, a volume with its snapshot, an ISO, a key: one of each kind of end."""
    made = town(cloud)
    cloud.run(names.APPLY_RULE, rule="port_forwarding", rule_id=made.forward())
    volume = data_volume(cloud)
    cloud.run(names.ATTACH_VOLUME, volume_id=volume.id, vm_id=made.vm.id)
    kept = {"zone_id": cloud.zone_id, "volume_id": volume.id, "size": volume.size}
    cloud.run(names.TAKE_SNAPSHOT, snapshot_id=cloud.add(Snapshot(**made.owner, **kept, name="s")).id)
    new_iso(cloud)
    cloud.add(SshKeyPair(**made.owner, name="key", fingerprint="a", public_key="ssh-ed25519 A"))
    return made


def account_with_things(cloud: SmallCloud) -> Arguments:
    back = (cloud.account_id, cloud.domain_id)
    account = owner(cloud, AccountType.user)
    cloud.add(User(account_id=account.id, username="owner", password="x"))
    things(cloud)
    promised = new_image(cloud, "template", "promised", "QCOW2")
    cloud.account_id, cloud.domain_id = back
    waiting = data_volume(cloud, "waiting")
    with cloud.runtime.database.writing() as session:
        session.get_one(Volume, waiting.id).template_id = promised
    return {"account_id": account.id}


def project_with_a_vm(cloud: SmallCloud) -> Arguments:
    back = cloud.account_id
    account = owner(cloud, AccountType.project)
    town(cloud)
    cloud.account_id = back
    project = Project(name="project", domain_id=cloud.domain_id, account_id=account.id)
    return {"project_id": cloud.add(project).id, "cleanup": True}


def domain_with_all(cloud: SmallCloud) -> Arguments:
    """A domain with a project; in the domain below it an account that has a volume."""
    back = (cloud.account_id, cloud.domain_id)
    domain = cloud.add(Domain(name="a", path="/a/", parent_id=cloud.domain_id))
    below = cloud.add(Domain(name="b", path="/a/b/", parent_id=domain.id))
    project = owner(cloud, AccountType.project, domain.id)
    cloud.add(Project(name="project", domain_id=domain.id, account_id=project.id))
    data_volume(cloud)
    owner(cloud, AccountType.user, below.id)
    data_volume(cloud)
    cloud.account_id, cloud.domain_id = back
    return {"domain_id": domain.id}


def stuck_volume(cloud: SmallCloud) -> Arguments:
    """Its host refuses to delete a file: the account stays, and can be deleted again."""
    arguments = account_with_things(cloud)
    cloud.run(names.DETACH_VOLUME, volume_id=next(row.id for row in cloud.rows(Volume) if row.name == "data"))
    cloud.simulator.faults.fail("delete_volume", AgentFailed("somebody", "no"))
    return arguments


TENANCY = (
    Scenario(names.DELETE_PROJECT, project_with_a_vm, "delete project"),
    Scenario(names.DELETE_ACCOUNT, account_with_things, "delete account"),
    Scenario(names.DELETE_ACCOUNT, stuck_volume, "delete account, refused by a host", succeeds=False),
    Scenario(names.DELETE_DOMAIN, domain_with_all, "delete domain"),
)
