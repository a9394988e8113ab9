"""A job that meets a fault: how it ends, what the loop makes of it, and the same thing tried again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mgmt.agents.errors import AgentError, AgentFailed, AgentUnreachable
from mgmt.alloc.counted import correct_domain
from mgmt.drivers.faults import Fault
from mgmt.model.states import RuleState, SnapshotState
from mgmt.ops import names
from mgmt.ops.images.template_copies import insert_copy
from mgmt.ops.network.rules import TABLES
from mgmt.ops.saga import Saga, StepFailed, run_directly
from mgmt.ops.workflows import run
from mgmt.reconcile.loop import LONGEST_PAUSE, Reconciler
from mgmt.store.tables import (
    BalancerMember,
    Domain,
    Host,
    Network,
    Nic,
    Snapshot,
    StoragePool,
    Template,
    Vm,
    Volume,
    VolumeExport,
)
from mgmt.store.tables.base import new_id
from tests.unit.mgmt.doctor.scenarios import Arguments, Town
from tests.unit.mgmt.doctor.volume_snapshot_scenarios import template_of
from tests.unit.mgmt.small_cloud import SmallCloud

WORDS = "told so by a test"
FAILED: AgentError = AgentFailed("somebody", WORDS)
SILENT: AgentError = AgentUnreachable("somebody", f"no answer: {WORDS}")
#: Longer than anybody waits, in seconds.
FOR_EVER = 4000.0
ROUNDS = 4

KINDS: dict[str, Callable[[str], Fault]] = {
    "fails once": lambda call: Fault(call=call, error=FAILED),
    "fails always": lambda call: Fault(call=call, error=FAILED, left=None),
    "hangs": lambda call: Fault(call=call, error=SILENT, delay=FOR_EVER),
    "answer lost": lambda call: Fault(call=call, error=SILENT, is_done=True),
    "silent": lambda call: Fault(call=call, error=SILENT, left=None),
}


@dataclass(frozen=True)
class Outcome:
    """How a job ended: what failed, and what could not be undone."""

    failure: StepFailed | None
    leftovers: list[str]


def attempt(cloud: SmallCloud, workflow: str, arguments: Arguments) -> Outcome:
    """Run a job to its end, undone if it failed, as `mgmt.jobs.durable` does."""
    saga = Saga(run_directly)
    try:
        run(cloud.runtime, saga, workflow, arguments)
    except StepFailed as failure:
        return Outcome(failure, saga.roll_back())
    return Outcome(None, [])


def let_pass(cloud: SmallCloud, loop: Reconciler, rounds: int = ROUNDS) -> None:
    """Some rounds of the loop, each after the longest pause that it makes."""
    for _ in range(rounds):
        cloud.clock.sleep(LONGEST_PAUSE)
        loop.tick()
        loop.wait_idle()


def again(cloud: SmallCloud, workflow: str, arguments: Arguments) -> Arguments:
    """What somebody sends who tries the same again: what was undone has to be made anew."""
    return AGAIN.get(workflow, _same)(cloud, arguments)


def _same(cloud: SmallCloud, arguments: Arguments) -> Arguments:
    return arguments


def _another_vm(cloud: SmallCloud, arguments: Arguments) -> Arguments:
    network = cloud.rows(Network)[0]
    return {"vm_id": cloud.new_vm(network, "again").id}


def _another_rule(cloud: SmallCloud, arguments: Arguments) -> Arguments:
    table: Any = TABLES[arguments["rule"]]
    return {**arguments, "rule_id": _copied(cloud, table, arguments["rule_id"], state=RuleState.add)}


def _revoked(cloud: SmallCloud, arguments: Arguments) -> Arguments:
    with cloud.runtime.database.writing() as session:
        session.get_one(TABLES[arguments["rule"]], arguments["rule_id"]).state = RuleState.revoke
    return arguments


def _another_member(cloud: SmallCloud, arguments: Arguments) -> Arguments:
    made = [_copied(cloud, BalancerMember, member_id) for member_id in arguments["member_ids"]]
    return {**arguments, "member_ids": made}


def _another_address(cloud: SmallCloud, arguments: Arguments) -> Arguments:
    vm = cloud.row(Vm, next(row.id for row in cloud.rows(Vm) if row.kind == "user"))
    return {"address_id": Town(cloud, cloud.rows(Network)[0], vm).more_address()}


def _another_nic(cloud: SmallCloud, arguments: Arguments) -> Arguments:
    return {**arguments, "nic_id": _copied(cloud, Nic, arguments["nic_id"], mac="02:00:00:00:99:02")}


def _another_snapshot(cloud: SmallCloud, arguments: Arguments) -> Arguments:
    made = _copied(cloud, Snapshot, arguments["snapshot_id"], state=SnapshotState.allocated)
    return _counted(cloud, {"snapshot_id": made})


def _another_export(cloud: SmallCloud, arguments: Arguments) -> Arguments:
    return {**arguments, "export_id": _copied(cloud, VolumeExport, arguments["export_id"], state="Creating")}


def _another_template(cloud: SmallCloud, arguments: Arguments) -> Arguments:
    source_id = cloud.row(Template, arguments["template_id"]).source_id
    return _counted(cloud, {**arguments, "template_id": template_of(cloud, source_id)})


def _another_copy(cloud: SmallCloud, arguments: Arguments) -> Arguments:
    (copy_id,) = arguments["copy_ids"]
    with cloud.runtime.database.writing() as session:
        copy, template = (session.get_one(Template, row_id) for row_id in (copy_id, cloud.template_id))
        made = insert_copy(session, template, copy.zone_id).id
    return _counted(cloud, {"copy_ids": [made]})


def _counted(cloud: SmallCloud, arguments: Arguments) -> Arguments:
    """Commands count what they insert; these rows came by the back door."""
    with cloud.runtime.database.writing() as session:
        correct_domain(session, session.get_one(Domain, cloud.domain_id))
    return arguments


def _copied(cloud: SmallCloud, table: Any, row_id: str, **changes: Any) -> str:
    row = cloud.row(table, row_id)
    values = {column.key: getattr(row, column.key) for column in table.__table__.columns}
    for own in ("id", "created", "removed"):
        values.pop(own, None)
    return str(cloud.add(table(**(values | changes))).id)


def _moved_vm(cloud: SmallCloud, arguments: Arguments) -> Arguments:
    """To the other host: a move that failed late has moved the VM."""
    here = cloud.row(Vm, arguments["vm_id"]).host_id
    other = next(row.id for row in cloud.rows(Host) if row.id != here)
    return {**arguments, "host_id": other}


def _moved_volumes(cloud: SmallCloud, arguments: Arguments) -> Arguments:
    """To the pools of the other host."""
    pools = {}
    for volume_id in arguments["pools"]:
        here = cloud.row(Volume, volume_id).pool_id
        pools[volume_id] = next(row.id for row in cloud.rows(StoragePool) if row.id != here)
    return {**arguments, "pools": pools}


def _moved_disks(cloud: SmallCloud, arguments: Arguments) -> Arguments:
    """To the other pools that the VM's host reaches: a move that failed late has moved some."""
    here = cloud.row(Vm, arguments["vm_id"]).host_id
    pools = {}
    for volume_id in arguments["pools"]:
        old = cloud.row(Volume, volume_id).pool_id
        reached = (row for row in cloud.rows(StoragePool) if row.host_id in (None, here))
        pools[volume_id] = next(row.id for row in reached if row.id != old)
    return {**arguments, "pools": pools}


AGAIN: dict[str, Callable[[SmallCloud, Arguments], Arguments]] = {
    names.DEPLOY_VM: _another_vm,
    names.APPLY_RULE: _another_rule,
    names.REVOKE_RULE: _revoked,
    names.ASSIGN_MEMBERS: _another_member,
    names.ASSOCIATE_ADDRESS: _another_address,
    names.PLUG_NIC: _another_nic,
    names.TAKE_SNAPSHOT: _another_snapshot,
    names.EXTRACT_VOLUME: _another_export,
    names.MAKE_TEMPLATE: _another_template,
    names.COPY_TEMPLATE: _another_copy,
    names.MIGRATE_VM: _moved_vm,
    names.MIGRATE_SYSTEM_VM: _moved_vm,
    names.MOVE_VOLUMES: _moved_volumes,
    names.MOVE_RUNNING_VOLUMES: _moved_disks,
    names.RESTORE_VM: lambda _cloud, arguments: {**arguments, "volume_id": new_id()},
}
