"""The workflows by name: what `mgmt.jobs` may run. Each is a function of (runtime, saga, **arguments)."""

from collections.abc import Callable, Mapping
from typing import Any

from mgmt.ops import names
from mgmt.ops.compute import isos, migration, nics, restore, vm_snapshots, vm_workflows
from mgmt.ops.images import template_copies, template_making, templates
from mgmt.ops.infrastructure import maintenance
from mgmt.ops.machines import system_vm_moves, system_vm_workflows
from mgmt.ops.network import networks, rules
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.ops.storage import exports, running_moves, snapshots, volume_moves, volume_sizes, volumes
from mgmt.ops.tenancy import accounts, domains, projects

Workflow = Callable[..., None]


def _restart_network(runtime: Runtime, saga: Saga, *, network_id: str, cleanup: bool = False) -> None:
    networks.restart(runtime, saga, network_id, cleanup=cleanup)


def _delete_network(runtime: Runtime, saga: Saga, *, network_id: str) -> None:
    networks.delete(runtime, saga, network_id)


WORKFLOWS: Mapping[str, Workflow] = {
    names.DEPLOY_VM: vm_workflows.deploy_vm,
    names.START_VM: vm_workflows.start_vm,
    names.STOP_VM: vm_workflows.stop_vm,
    names.REBOOT_VM: vm_workflows.reboot_vm,
    names.DESTROY_VM: vm_workflows.destroy_vm,
    names.EXPUNGE_VM: vm_workflows.expunge_vm,
    names.REFRESH_GUEST: vm_workflows.refresh_guest,
    names.RESTORE_VM: restore.restore_vm,
    names.PLUG_NIC: nics.plug_nic,
    names.UNPLUG_NIC: nics.unplug_nic,
    names.CREATE_VM_SNAPSHOT: vm_snapshots.create_vm_snapshot,
    names.REVERT_VM_SNAPSHOT: vm_snapshots.revert_to_vm_snapshot,
    names.DELETE_VM_SNAPSHOT: vm_snapshots.delete_vm_snapshot,
    names.MIGRATE_VM: migration.migrate_vm,
    names.MOVE_VOLUMES: volume_moves.move_volumes,
    names.MOVE_RUNNING_VOLUMES: running_moves.move_running_volumes,
    names.CREATE_VOLUME: volumes.create_volume,
    names.ATTACH_VOLUME: volumes.attach_volume,
    names.DETACH_VOLUME: volumes.detach_volume,
    names.DELETE_VOLUME: volumes.delete_volume,
    names.RESIZE_VOLUME: volume_sizes.resize_volume,
    names.EXTRACT_VOLUME: exports.extract_volume,
    names.ATTACH_ISO: isos.attach_iso,
    names.DETACH_ISO: isos.detach_iso,
    names.APPLY_RULE: rules.apply_rule,
    names.REVOKE_RULE: rules.revoke_rule,
    names.ASSIGN_MEMBERS: rules.assign_members,
    names.CHANGE_BALANCER: rules.change_balancer,
    names.REMOVE_MEMBERS: rules.remove_members,
    names.ASSOCIATE_ADDRESS: rules.associate_address,
    names.RELEASE_ADDRESS: rules.release_address,
    names.ENABLE_STATIC_NAT: rules.enable_static_nat,
    names.DISABLE_STATIC_NAT: rules.disable_static_nat,
    names.RESTART_NETWORK: _restart_network,
    names.DELETE_NETWORK: _delete_network,
    names.START_SYSTEM_VM: system_vm_workflows.start_system_vm,
    names.STOP_SYSTEM_VM: system_vm_workflows.stop_system_vm,
    names.REBOOT_SYSTEM_VM: system_vm_workflows.reboot_system_vm,
    names.DESTROY_SYSTEM_VM: system_vm_workflows.destroy_system_vm,
    names.MIGRATE_SYSTEM_VM: system_vm_moves.migrate_system_vm,
    names.ENSURE_SYSTEM_VMS: system_vm_workflows.ensure_system_vms,
    names.TAKE_SNAPSHOT: snapshots.take_snapshot,
    names.DELETE_SNAPSHOT: snapshots.delete_snapshot,
    names.REVERT_SNAPSHOT: snapshots.revert_snapshot,
    names.MAKE_TEMPLATE: template_making.make_template,
    names.COPY_TEMPLATE: template_copies.copy_template,
    names.DELETE_TEMPLATE: templates.delete_template,
    names.DELETE_PROJECT: projects.delete_project,
    names.DELETE_ACCOUNT: accounts.delete_account,
    names.DELETE_DOMAIN: domains.delete_domain,
    names.PREPARE_HOST: maintenance.prepare_host,
    names.RECONNECT_HOST: maintenance.reconnect_host,
}


def run(runtime: Runtime, saga: Saga, name: str, arguments: Mapping[str, Any]) -> None:
    """Run a workflow; raises StepFailed, with nothing undone yet."""
    WORKFLOWS[name](runtime, saga, **arguments)
