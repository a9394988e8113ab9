"""A cloud with something in it, and a job about to run: what the sweep cuts at every step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mgmt.agents.errors import AgentFailed
from mgmt.alloc import addresses
from mgmt.model.states import RuleState
from mgmt.ops import names
from mgmt.ops.images.templates import push_storage_if_running, touch_storage
from mgmt.store.tables import (
    BalancerMember,
    BalancerRule,
    FirewallRule,
    Host,
    Network,
    Nic,
    PortForwardingRule,
    PublicAddress,
    Template,
    Vm,
    Volume,
)
from mgmt.store.tables.base import new_id
from tests.unit.mgmt.small_cloud import SmallCloud

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Scenario:
    """`prepare` makes the cloud ready and returns the job's arguments; `succeeds` says how the job ends.

    One that does not start clean has rows that only its job makes true.
    """

    workflow: str
    prepare: Callable[[SmallCloud], Arguments]
    title: str
    succeeds: bool = True
    starts_clean: bool = True


@dataclass
class Town:
    """A running VM in its network."""

    cloud: SmallCloud
    network: Network
    vm: Vm

    @property
    def owner(self) -> dict[str, str]:
        return {"account_id": self.cloud.account_id, "domain_id": self.cloud.domain_id}

    @property
    def address(self) -> PublicAddress:
        rows = self.cloud.rows(PublicAddress)
        found: PublicAddress = next(row for row in rows if row.network_id == self.network.id)
        return found

    def rule(self, table: type[Any], **columns: Any) -> str:
        place = {"network_id": self.network.id, "address_id": self.address.id, "state": RuleState.add}
        return str(self.cloud.add(table(**self.owner, **place, **columns)).id)

    def forward(self) -> str:
        ports = {"public_start": 80, "public_end": 80, "private_start": 80, "private_end": 80}
        return self.rule(PortForwardingRule, vm_id=self.vm.id, vm_address="10.1.1.2", protocol="tcp", **ports)

    def more_address(self) -> str:
        with self.cloud.runtime.database.writing() as session:
            return str(addresses.claim(session, network=session.get_one(Network, self.network.id)).id)


def town(cloud: SmallCloud) -> Town:
    network = cloud.new_network()
    vm = cloud.new_vm(network)
    cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    return Town(cloud, network, vm)


def deploy(cloud: SmallCloud) -> Arguments:
    return {"vm_id": cloud.new_vm(cloud.new_network()).id}


def refused(call: str, prepare: Callable[[SmallCloud], Arguments]) -> Callable[[SmallCloud], Arguments]:
    """The same, but one call of a kind fails."""

    def prepared(cloud: SmallCloud) -> Arguments:
        arguments = prepare(cloud)
        cloud.simulator.faults.fail(call, AgentFailed("somebody", "no"))
        return arguments

    return prepared


def about_vm(**more: Any) -> Callable[[SmallCloud], Arguments]:
    return lambda cloud: {"vm_id": town(cloud).vm.id, **more}


def stopped_vm(cloud: SmallCloud) -> Arguments:
    vm = town(cloud).vm
    cloud.run(names.STOP_VM, vm_id=vm.id)
    return {"vm_id": vm.id}


def destroyed_vm(cloud: SmallCloud) -> Arguments:
    vm = town(cloud).vm
    cloud.run(names.DESTROY_VM, vm_id=vm.id)
    return {"vm_id": vm.id}


def expunged_with_rules(cloud: SmallCloud) -> Arguments:
    made = town(cloud)
    cloud.run(names.APPLY_RULE, rule="port_forwarding", rule_id=made.forward())
    return {"vm_id": made.vm.id, "expunge": True}


def vm_to_restore(cloud: SmallCloud) -> Arguments:
    return {"vm_id": town(cloud).vm.id, "template_id": cloud.template_id, "size": 0, "volume_id": new_id()}


def nic_to_plug(cloud: SmallCloud) -> Arguments:
    made = town(cloud)
    second = cloud.new_network("second", "10.1.2.0/24")
    address = {"address": "10.1.2.9", "netmask": "255.255.255.0", "gateway": "10.1.2.1"}
    nic = Nic(
        **made.owner, vm_id=made.vm.id, network_id=second.id, position=1, mac="02:00:00:00:99:01", **address
    )
    return {"vm_id": made.vm.id, "nic_id": cloud.add(nic).id}


def nic_to_unplug(cloud: SmallCloud) -> Arguments:
    arguments = nic_to_plug(cloud)
    cloud.run(names.PLUG_NIC, **arguments)
    return arguments


def template(cloud: SmallCloud) -> Arguments:
    return {"template_id": cloud.template_id}


def data_volume(cloud: SmallCloud, name: str = "data") -> Volume:
    row = Volume(
        account_id=cloud.account_id,
        domain_id=cloud.domain_id,
        zone_id=cloud.zone_id,
        name=name,
        size=1 << 30,
    )
    return cloud.add(row)  # type: ignore[no-any-return]


def volume_to_attach(cloud: SmallCloud) -> Arguments:
    return {"vm_id": town(cloud).vm.id, "volume_id": data_volume(cloud).id}


def with_its_volume(cloud: SmallCloud) -> Arguments:
    """A VM that is destroyed with its data volume."""
    arguments = volume_to_attach(cloud)
    cloud.run(names.ATTACH_VOLUME, **arguments)
    return {"vm_id": arguments["vm_id"], "volume_ids": [arguments["volume_id"]]}


def volume_to_detach(cloud: SmallCloud) -> Arguments:
    arguments = volume_to_attach(cloud)
    cloud.run(names.ATTACH_VOLUME, **arguments)
    return {"volume_id": arguments["volume_id"]}


def volume_to_delete(cloud: SmallCloud) -> Arguments:
    arguments = volume_to_detach(cloud)
    cloud.run(names.DETACH_VOLUME, **arguments)
    return arguments


def new_iso(cloud: SmallCloud) -> str:
    return new_image(cloud, "iso", "cd", "ISO")


def new_image(cloud: SmallCloud, kind: str, name: str, file_format: str) -> str:
    """An image that the zone's storage VM has."""
    row = Template(
        account_id=cloud.account_id,
        domain_id=cloud.domain_id,
        zone_id=cloud.zone_id,
        name=name,
        display_text=name,
        url=f"http://172.31.240.1/{name}.{file_format.lower()}",
        format=file_format,
        kind=kind,
        state="Ready",
        sha256="1" * 64,
    )
    image_id = str(cloud.add(row).id)
    with cloud.runtime.database.writing() as session:
        touch_storage(session, cloud.zone_id)
    push_storage_if_running(cloud.runtime, cloud.zone_id)
    return image_id


def iso_to_attach(cloud: SmallCloud) -> Arguments:
    return {"vm_id": town(cloud).vm.id, "iso_id": new_iso(cloud)}


def iso_to_detach(cloud: SmallCloud) -> Arguments:
    arguments = iso_to_attach(cloud)
    cloud.run(names.ATTACH_ISO, **arguments)
    return {"vm_id": arguments["vm_id"]}


def attached_volume_to_grow(cloud: SmallCloud) -> Arguments:
    return {**volume_to_detach(cloud), "size": 2 << 30}


def detached_volume_to_grow(cloud: SmallCloud) -> Arguments:
    return {**volume_to_delete(cloud), "size": 2 << 30}


def root_to_grow(cloud: SmallCloud) -> Arguments:
    vm_id = stopped_vm(cloud)["vm_id"]
    root = next(row for row in cloud.rows(Volume) if row.vm_id == vm_id)
    return {"volume_id": root.id, "size": 2 << 30}


def rule_to_apply(cloud: SmallCloud) -> Arguments:
    ports = {"protocol": "tcp", "cidrs": ["0.0.0.0/0"], "start_port": 80, "end_port": 80}
    return {"rule": "firewall", "rule_id": town(cloud).rule(FirewallRule, **ports)}


def rule_to_revoke(cloud: SmallCloud) -> Arguments:
    arguments = {"rule": "port_forwarding", "rule_id": town(cloud).forward()}
    cloud.run(names.APPLY_RULE, **arguments)
    with cloud.runtime.database.writing() as session:
        session.get_one(PortForwardingRule, arguments["rule_id"]).state = RuleState.revoke
    return arguments


def member_to_assign(cloud: SmallCloud) -> Arguments:
    made = town(cloud)
    rule_id = made.rule(BalancerRule, name="lb", public_port=80, private_port=80)
    cloud.run(names.APPLY_RULE, rule="balancer", rule_id=rule_id)
    member = cloud.add(BalancerMember(rule_id=rule_id, vm_id=made.vm.id, address="10.1.1.2"))
    return {"rule_id": rule_id, "member_ids": [member.id]}


def balancer_to_change(cloud: SmallCloud) -> Arguments:
    arguments = member_to_assign(cloud)
    cloud.run(names.ASSIGN_MEMBERS, **arguments)
    return {"rule_id": arguments["rule_id"], "algorithm": "leastconn"}


def member_to_remove(cloud: SmallCloud) -> Arguments:
    arguments = member_to_assign(cloud)
    cloud.run(names.ASSIGN_MEMBERS, **arguments)
    vm = next(row for row in cloud.rows(Vm) if row.kind == "user")
    return {"rule_id": arguments["rule_id"], "vm_ids": [vm.id]}


def address_to_associate(cloud: SmallCloud) -> Arguments:
    return {"address_id": town(cloud).more_address()}


def address_to_release(cloud: SmallCloud) -> Arguments:
    arguments = address_to_associate(cloud)
    cloud.run(names.ASSOCIATE_ADDRESS, **arguments)
    return arguments


def nat_to_enable(cloud: SmallCloud) -> Arguments:
    arguments = address_to_release(cloud)
    vm = next(row for row in cloud.rows(Vm) if row.kind == "user")
    return {**arguments, "vm_id": vm.id, "vm_address": "10.1.1.2"}


def nat_to_disable(cloud: SmallCloud) -> Arguments:
    arguments = nat_to_enable(cloud)
    cloud.run(names.ENABLE_STATIC_NAT, **arguments)
    return {"address_id": arguments["address_id"]}


def network_to_restart(cloud: SmallCloud) -> Arguments:
    return {"network_id": town(cloud).network.id}


def network_to_renew(cloud: SmallCloud) -> Arguments:
    return {**network_to_restart(cloud), "cleanup": True}


def network_to_delete(cloud: SmallCloud) -> Arguments:
    made = town(cloud)
    cloud.run(names.DESTROY_VM, vm_id=made.vm.id, expunge=True)
    return {"network_id": made.network.id}


def router(cloud: SmallCloud) -> Arguments:
    return {"vm_id": cloud.router(town(cloud).network).id}


def stopped_router(cloud: SmallCloud) -> Arguments:
    arguments = router(cloud)
    cloud.run(names.STOP_SYSTEM_VM, **arguments)
    return arguments


def console_proxy(cloud: SmallCloud) -> Arguments:
    return {"vm_id": next(row for row in cloud.rows(Vm) if row.kind == "console").id}


def closed_host(cloud: SmallCloud) -> Arguments:
    """A host that takes nothing new and still has the zone's system VMs."""
    with cloud.runtime.database.writing() as session:
        session.get_one(Host, cloud.host_id).resource_state = "PrepareForMaintenance"
    return {"host_id": cloud.host_id}


def whole_zone(cloud: SmallCloud) -> Arguments:
    for row in cloud.rows(Vm):
        cloud.run(names.DESTROY_SYSTEM_VM, vm_id=row.id)
    return {"zone_id": cloud.zone_id}


SCENARIOS = (
    Scenario(names.DEPLOY_VM, deploy, "deploy"),
    Scenario(
        names.DEPLOY_VM, refused("machine.put_state", deploy), "deploy, refused by the router", succeeds=False
    ),
    Scenario(names.DEPLOY_VM, refused("put_domain", deploy), "deploy, refused by the host", succeeds=False),
    Scenario(names.START_VM, stopped_vm, "start"),
    Scenario(names.STOP_VM, about_vm(), "stop"),
    Scenario(names.REBOOT_VM, about_vm(), "reboot"),
    Scenario(names.DESTROY_VM, with_its_volume, "destroy with a volume"),
    Scenario(names.DESTROY_VM, expunged_with_rules, "destroy and expunge"),
    Scenario(names.EXPUNGE_VM, destroyed_vm, "expunge"),
    Scenario(names.REFRESH_GUEST, stopped_vm, "tell of a new password"),
    Scenario(names.RESTORE_VM, vm_to_restore, "reinstall"),
    Scenario(names.RESTORE_VM, refused("put_domain", vm_to_restore), "reinstall, refused", succeeds=False),
    Scenario(names.PLUG_NIC, nic_to_plug, "plug a NIC", starts_clean=False),
    Scenario(names.PLUG_NIC, refused("put_domain", nic_to_plug), "plug a NIC, refused", False, False),
    Scenario(names.UNPLUG_NIC, nic_to_unplug, "unplug a NIC"),
    Scenario(names.DELETE_TEMPLATE, template, "delete template"),
    Scenario(names.CREATE_VOLUME, lambda cloud: {"volume_id": data_volume(cloud).id}, "create volume"),
    Scenario(names.ATTACH_VOLUME, volume_to_attach, "attach volume"),
    Scenario(names.DETACH_VOLUME, volume_to_detach, "detach volume"),
    Scenario(names.DELETE_VOLUME, volume_to_delete, "delete volume"),
    Scenario(names.RESIZE_VOLUME, attached_volume_to_grow, "grow attached volume"),
    Scenario(names.RESIZE_VOLUME, detached_volume_to_grow, "grow detached volume"),
    Scenario(names.RESIZE_VOLUME, root_to_grow, "grow root volume of a stopped VM"),
    Scenario(
        names.RESIZE_VOLUME,
        refused("put_domain", attached_volume_to_grow),
        "grow attached volume, refused",
        succeeds=False,
    ),
    Scenario(names.ATTACH_ISO, iso_to_attach, "attach ISO"),
    Scenario(names.ATTACH_ISO, refused("put_domain", iso_to_attach), "attach ISO, refused", succeeds=False),
    Scenario(names.DETACH_ISO, iso_to_detach, "detach ISO"),
    Scenario(names.APPLY_RULE, rule_to_apply, "apply rule"),
    Scenario(
        names.APPLY_RULE, refused("machine.put_state", rule_to_apply), "apply rule, refused", succeeds=False
    ),
    Scenario(names.REVOKE_RULE, rule_to_revoke, "revoke rule"),
    Scenario(names.ASSIGN_MEMBERS, member_to_assign, "assign members"),
    Scenario(names.CHANGE_BALANCER, balancer_to_change, "change a balancer"),
    Scenario(
        names.CHANGE_BALANCER,
        refused("machine.put_state", balancer_to_change),
        "change a balancer, refused by the router",
        succeeds=False,
    ),
    Scenario(names.REMOVE_MEMBERS, member_to_remove, "remove members"),
    Scenario(names.ASSOCIATE_ADDRESS, address_to_associate, "associate address"),
    Scenario(names.RELEASE_ADDRESS, address_to_release, "release address"),
    Scenario(names.ENABLE_STATIC_NAT, nat_to_enable, "enable static NAT"),
    Scenario(names.DISABLE_STATIC_NAT, nat_to_disable, "disable static NAT"),
    Scenario(names.RESTART_NETWORK, network_to_restart, "restart network"),
    Scenario(names.RESTART_NETWORK, network_to_renew, "restart network with cleanup"),
    Scenario(names.DELETE_NETWORK, network_to_delete, "delete network"),
    Scenario(names.START_SYSTEM_VM, stopped_router, "start router"),
    Scenario(names.STOP_SYSTEM_VM, router, "stop router"),
    Scenario(names.REBOOT_SYSTEM_VM, router, "reboot router"),
    Scenario(names.DESTROY_SYSTEM_VM, console_proxy, "destroy console proxy"),
    Scenario(names.ENSURE_SYSTEM_VMS, whole_zone, "make system VMs"),
    Scenario(names.PREPARE_HOST, closed_host, "prepare host for maintenance"),
    Scenario(names.RECONNECT_HOST, closed_host, "reconnect host"),
)
