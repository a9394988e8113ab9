"""Names of the workflows: what `mgmt.jobs.submit(session, workflow=NAME, arguments={…})` may start.

The comment behind each name lists its arguments. All of them are ids or plain settings, never secrets.
"""

from typing import Final

DEPLOY_VM: Final = "deploy_vm"  # vm_id, start=True, host_id=None, within="" (pod or cluster)
START_VM: Final = "start_vm"  # vm_id, host_id=None, within=""
STOP_VM: Final = "stop_vm"  # vm_id, forced=False
REBOOT_VM: Final = "reboot_vm"  # vm_id
DESTROY_VM: Final = "destroy_vm"  # vm_id, expunge=False, volume_ids=[] (data volumes that go with it)
EXPUNGE_VM: Final = "expunge_vm"  # vm_id
REFRESH_GUEST: Final = "refresh_guest"  # vm_id (routers are told of its new password, keys, addresses)
RESTORE_VM: Final = "restore_vm"  # vm_id, template_id, size (bytes; 0: as before), volume_id
PLUG_NIC: Final = "plug_nic"  # vm_id, nic_id (of a row that the caller inserted)
UNPLUG_NIC: Final = "unplug_nic"  # vm_id, nic_id

CREATE_VM_SNAPSHOT: Final = "create_vm_snapshot"  # snapshot_id, vm_id (a row in state Creating)
REVERT_VM_SNAPSHOT: Final = "revert_to_vm_snapshot"  # snapshot_id, vm_id (in state Reverting)
DELETE_VM_SNAPSHOT: Final = "delete_vm_snapshot"  # snapshot_id, vm_id (in state Expunging)

MIGRATE_VM: Final = "migrate_vm"  # vm_id, host_id=None (the best), pools={} (volume id to pool id there)
MOVE_VOLUMES: Final = "move_volumes"  # pools (volume id to pool id), vm_id=None (stopped, all its volumes)
MOVE_RUNNING_VOLUMES: Final = "move_running_volumes"  # vm_id, pools (volume id to pool id)

CREATE_VOLUME: Final = "create_volume"  # volume_id, vm_id=None (attach to it)
ATTACH_VOLUME: Final = "attach_volume"  # volume_id, vm_id, device=None
DETACH_VOLUME: Final = "detach_volume"  # volume_id
DELETE_VOLUME: Final = "delete_volume"  # volume_id
RESIZE_VOLUME: Final = "resize_volume"  # volume_id, size (bytes), offering_id=None (as before)
EXTRACT_VOLUME: Final = "extract_volume"  # volume_id, export_id (of a row that the caller inserted)
ATTACH_ISO: Final = "attach_iso"  # vm_id, iso_id
DETACH_ISO: Final = "detach_iso"  # vm_id

APPLY_RULE: Final = "apply_rule"  # rule ("firewall", "egress", "port_forwarding", "balancer"), rule_id
REVOKE_RULE: Final = "revoke_rule"  # rule, rule_id, opened
ASSIGN_MEMBERS: Final = "assign_members"  # rule_id, member_ids (rows that the caller inserted)
CHANGE_BALANCER: Final = "change_balancer"  # rule_id, algorithm (its rule has the former)
REMOVE_MEMBERS: Final = "remove_members"  # rule_id, vm_ids

ASSOCIATE_ADDRESS: Final = "associate_address"  # address_id (claimed with mgmt.alloc.addresses.claim)
RELEASE_ADDRESS: Final = "release_address"  # address_id
ENABLE_STATIC_NAT: Final = "enable_static_nat"  # address_id, vm_id, vm_address
DISABLE_STATIC_NAT: Final = "disable_static_nat"  # address_id

RESTART_NETWORK: Final = "restart_network"  # network_id, cleanup=False
DELETE_NETWORK: Final = "delete_network"  # network_id

START_SYSTEM_VM: Final = "start_system_vm"  # vm_id (router, console proxy or storage VM)
STOP_SYSTEM_VM: Final = "stop_system_vm"  # vm_id, forced=False
REBOOT_SYSTEM_VM: Final = "reboot_system_vm"  # vm_id
DESTROY_SYSTEM_VM: Final = "destroy_system_vm"  # vm_id
MIGRATE_SYSTEM_VM: Final = (
    "migrate_system_vm"  # vm_id, host_id=None (the best), pool_id=None (its data's there)
)
ENSURE_SYSTEM_VMS: Final = "ensure_system_vms"  # zone_id

TAKE_SNAPSHOT: Final = "take_snapshot"  # snapshot_id (of a row that the caller inserted)
DELETE_SNAPSHOT: Final = "delete_snapshot"  # snapshot_id
REVERT_SNAPSHOT: Final = "revert_snapshot"  # snapshot_id (its volume gets the content)

MAKE_TEMPLATE: Final = "make_template"  # template_id (of a row with source_id), volume_id=None (if of one)
COPY_TEMPLATE: Final = "copy_template"  # copy_ids (of rows that the caller inserted)
DELETE_TEMPLATE: Final = "delete_template"  # template_id, zone_id=None (all zones)

DELETE_PROJECT: Final = "delete_project"  # project_id, cleanup=False
DELETE_ACCOUNT: Final = "delete_account"  # account_id (already disabled)
DELETE_DOMAIN: Final = "delete_domain"  # domain_id (already Inactive, its accounts disabled)
PREPARE_HOST: Final = "prepare_host"  # host_id (already closed to new VMs)
RECONNECT_HOST: Final = "reconnect_host"  # host_id
