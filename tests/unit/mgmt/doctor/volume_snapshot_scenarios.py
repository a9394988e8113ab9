"""Scenarios of snapshots, and of templates and volumes that are made of them."""

from datetime import timedelta

from mgmt.ops import names
from mgmt.store.tables import Snapshot, SnapshotPolicy, Template, Vm, Volume
from mgmt.store.tables.base import now
from tests.unit.mgmt.doctor.scenarios import Arguments, Scenario, data_volume, refused, stopped_vm, town
from tests.unit.mgmt.small_cloud import SmallCloud


def snapshot_to_take(cloud: SmallCloud) -> Arguments:
    made = town(cloud)
    root = next(row for row in cloud.rows(Volume) if row.vm_id == made.vm.id)
    place = {"zone_id": cloud.zone_id, "volume_id": root.id}
    return {"snapshot_id": cloud.add(Snapshot(**made.owner, **place, name="s", size=root.size)).id}


def snapshot_with_a_policy(cloud: SmallCloud) -> Arguments:
    """The second of a policy that keeps one."""
    arguments = snapshot_taken(cloud)
    with cloud.runtime.database.writing() as session:
        first = session.get_one(Snapshot, arguments["snapshot_id"])
        mine = {"account_id": first.account_id, "domain_id": first.domain_id, "volume_id": first.volume_id}
        policy = SnapshotPolicy(**mine, interval=0, schedule="1", most=1, next_run=now())
        session.add(policy)
        session.flush()
        first.policy_id, first.created = policy.id, now() - timedelta(hours=1)
        second = Snapshot(**mine, zone_id=cloud.zone_id, policy_id=policy.id, name="s2", size=first.size)
        session.add(second)
        session.flush()
        return {"snapshot_id": second.id}


def snapshot_taken(cloud: SmallCloud) -> Arguments:
    arguments = snapshot_to_take(cloud)
    cloud.run(names.TAKE_SNAPSHOT, **arguments)
    return arguments


def snapshot_to_revert(cloud: SmallCloud) -> Arguments:
    arguments = snapshot_taken(cloud)
    vm = next(row for row in cloud.rows(Vm) if row.kind == "user")
    cloud.run(names.STOP_VM, vm_id=vm.id)
    return arguments


def volume_of_a_snapshot(cloud: SmallCloud) -> Arguments:
    snapshot_id = snapshot_taken(cloud)["snapshot_id"]
    vm, volume = next(row for row in cloud.rows(Vm) if row.kind == "user"), data_volume(cloud)
    with cloud.runtime.database.writing() as session:
        session.get_one(Volume, volume.id).snapshot_id = snapshot_id
    return {"vm_id": vm.id, "volume_id": volume.id}


def template_of(cloud: SmallCloud, source_id: str) -> str:
    mine = {"account_id": cloud.account_id, "domain_id": cloud.domain_id, "zone_id": cloud.zone_id}
    row = Template(**mine, name="made", display_text="made", url="", source_id=source_id)
    return str(cloud.add(row).id)


def template_of_a_snapshot(cloud: SmallCloud) -> Arguments:
    return {"template_id": template_of(cloud, snapshot_taken(cloud)["snapshot_id"])}


def template_of_a_volume(cloud: SmallCloud) -> Arguments:
    vm_id = stopped_vm(cloud)["vm_id"]
    root = next(row for row in cloud.rows(Volume) if row.vm_id == vm_id)
    return {"template_id": template_of(cloud, root.id), "volume_id": root.id}


VOLUME_SNAPSHOTS = (
    Scenario(names.TAKE_SNAPSHOT, snapshot_to_take, "take a snapshot", starts_clean=False),
    Scenario(
        names.TAKE_SNAPSHOT, refused("put_copy", snapshot_to_take), "take a snapshot, refused", False, False
    ),
    Scenario(
        names.TAKE_SNAPSHOT, snapshot_with_a_policy, "take a policy's next snapshot", starts_clean=False
    ),
    Scenario(names.DELETE_SNAPSHOT, snapshot_taken, "delete a snapshot"),
    Scenario(names.REVERT_SNAPSHOT, snapshot_to_revert, "revert to a snapshot"),
    Scenario(names.ATTACH_VOLUME, volume_of_a_snapshot, "attach a volume of a snapshot"),
    Scenario(names.MAKE_TEMPLATE, template_of_a_snapshot, "make a template of a snapshot"),
    Scenario(names.MAKE_TEMPLATE, template_of_a_volume, "make a template of a volume"),
    Scenario(
        names.MAKE_TEMPLATE,
        refused("put_copy", template_of_a_volume),
        "make a template of a volume, refused",
        succeeds=False,
    ),
)
