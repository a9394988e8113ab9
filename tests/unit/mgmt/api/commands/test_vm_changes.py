"""VMs that exist, changed: names, protection, size, keys, root disk, NICs and addresses."""

from typing import Any

import pytest
from sqlalchemy import select

from mgmt.api.testing import counted_statements
from mgmt.model.errors import CloudError, InUse, LimitReached, ParameterError
from mgmt.store import tables
from tests.unit.mgmt.api.commands.test_vm_groups import deploy, vm_of
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit


def offering(world: World, name: str, **more: object) -> str:
    made = world.call("createServiceOffering", "admin", name=name, **more)
    return str(made["serviceoffering"]["id"])


def custom(world: World) -> str:
    return offering(world, "custom", customized=True, mincpunumber=2, maxcpunumber=4, minmemory=256)


CHOICE = {"details[0].cpuNumber": "3", "details[0].memory": "512"}


def test_a_custom_offering_takes_its_size_from_the_details(world: World) -> None:
    vm = deploy(world, serviceofferingid=custom(world), **CHOICE, **{"details[0].colour": "red"})
    shown = vm_of(world, vm)
    assert (shown["cpunumber"], shown["memory"], shown["cpuspeed"]) == (3, 512, 500)
    assert shown["details"] == {"colour": "red"}
    (listed,) = world.call("listServiceOfferings", name="custom")["serviceoffering"]
    assert listed["iscustomized"] is True
    assert listed["serviceofferingdetails"] == {"mincpunumber": "2", "maxcpunumber": "4", "minmemory": "256"}


@pytest.mark.parametrize(
    ("details", "words"),
    [
        ({"details[0].memory": "512"}, "is custom: send .*cpunumber"),
        ({**CHOICE, "details[0].cpuNumber": "5"}, "Invalid value 5 for details.cpunumber: expected 2 to 4"),
        ({**CHOICE, "details[0].memory": "-1"}, "expected 256 to"),
        ({**CHOICE, "details[0].memory": "٣٣٣"}, "expected 256 to"),
        ({**CHOICE, "details[0].cpuSpeed": "1e3"}, "details.cpuspeed"),
    ],
)
def test_wrong_sizes(world: World, details: dict[str, str], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        deploy(world, serviceofferingid=custom(world), **details)


def test_a_fixed_offering_leaves_nothing_to_choose(world: World) -> None:
    with pytest.raises(ParameterError, match="has a fixed size: leave cpunumber, memory away"):
        deploy(world, **CHOICE)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"cpunumber": 1}, "Send memory"),
        ({"cpunumber": 1, "memory": 128, "maxmemory": 256}, "are for custom offerings"),
        ({"customized": True, "minmemory": 256, "maxmemory": 128}, "expected at least 256"),
        ({"customized": True, "issystem": True, "systemvmtype": "domainrouter"}, "fixed size"),
        ({"cpunumber": 1, "memory": 128, "hosttags": "a b"}, "letters, digits"),
    ],
)
def test_wrong_offerings(world: World, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        offering(world, "x", **parameters)


def test_offerings_have_host_tags_and_retire(world: World) -> None:
    made = offering(world, "tagged", cpunumber=1, memory=128, hosttags="ssd,gpu")
    (listed,) = world.call("listServiceOfferings", id=made)["serviceoffering"]
    assert listed["hosttags"] == "ssd,gpu"
    world.call("updateServiceOffering", "admin", id=made, state="inactive", hosttags="ssd")
    (listed,) = world.call("listServiceOfferings", state="Inactive")["serviceoffering"]
    assert (listed["id"], listed["hosttags"]) == (made, "ssd")
    shown = [world.call("listServiceOfferings", **asked)["count"] for asked in ({}, {"state": "all"})]
    assert shown[1] == shown[0] + 1
    assert world.call("listServiceOfferings", id=made)["count"] == 1
    with pytest.raises(ParameterError, match="an active offering"):
        deploy(world, serviceofferingid=made)
    with pytest.raises(ParameterError, match="Active or Inactive"):
        world.call("updateDiskOffering", "admin", id=world.ids["disk_offering"], state="gone")


@pytest.mark.parametrize("command", ["changeServiceForVirtualMachine", "scaleVirtualMachine"])
def test_a_stopped_vm_changes_its_size_and_its_count(world: World, command: str) -> None:
    vm = deploy(world)
    alice = world.callers["alice"].account.id
    world.call(command, id=vm, serviceofferingid=custom(world), **CHOICE)
    assert (vm_of(world, vm)["cpunumber"], vm_of(world, vm)["serviceofferingname"]) == (3, "custom")
    counts = {row.type: row.used for row in counted(world, alice)}
    assert (counts[8], counts[9]) == (3, 512)
    world.call(command, id=vm, serviceofferingid=world.ids["service_offering"])
    counts = {row.type: row.used for row in counted(world, alice)}
    assert (counts[8], counts[9]) == (1, 128)
    assert world.get(tables.Vm, vm).cpus is None


def counted(world: World, owner: str) -> list[tables.ResourceCount]:
    with world.context.database.reading() as session:
        query = select(tables.ResourceCount).where(tables.ResourceCount.owner_id == owner)
        return list(session.scalars(query))


def test_a_size_above_the_limit_is_refused_and_changes_nothing(world: World) -> None:
    vm = deploy(world)
    alice = world.callers["alice"].account
    world.add(tables.ResourceLimit(owner_id=alice.id, type=8, most=2))
    with pytest.raises(LimitReached):
        world.call("scaleVirtualMachine", id=vm, serviceofferingid=custom(world), **CHOICE)
    assert vm_of(world, vm)["cpunumber"] == 1


def test_a_running_vm_says_why_it_cannot(world: World) -> None:
    vm = world.vm(world.network())
    small = world.ids["service_offering"]
    with pytest.raises(ParameterError, match="cannot change its size while it runs: stop it first"):
        world.call("scaleVirtualMachine", id=vm.id, serviceofferingid=small)
    with pytest.raises(ParameterError, match="only a Stopped one can be given another size"):
        world.call("changeServiceForVirtualMachine", id=vm.id, serviceofferingid=small)
    with pytest.raises(ParameterError, match="only a Stopped one can be given other SSH keys"):
        world.call("resetSSHKeyForVirtualMachine", id=vm.id, keypair="x")
    with pytest.raises(ParameterError, match="only a Stopped one can be given other user data"):
        world.call("resetUserDataForVirtualMachine", id=vm.id)
    nic = world.call("listNics", virtualmachineid=vm.id)["nic"][0]["id"]
    with pytest.raises(ParameterError, match="only a Stopped one can be given another address"):
        world.call("updateVmNicIp", nicid=nic)


def test_update_changes_what_was_sent(world: World) -> None:
    vm, other = deploy(world, name="one"), deploy(world, name="two")
    (kind,) = world.call("listOsTypes", description="Rocky Linux 9")["ostype"]
    world.call(
        "updateVirtualMachine", id=vm, name="uno", displayname="One", ostypeid=kind["id"],
        **{"details[0].a": "b"},
    )  # fmt: skip
    shown = vm_of(world, vm)
    assert (shown["name"], shown["displayname"], shown["osdisplayname"]) == ("uno", "One", "Rocky Linux 9")
    assert shown["details"] == {"a": "b"}
    world.call("updateVirtualMachine", id=vm, cleanupdetails=True)
    assert "details" not in vm_of(world, vm)
    for parameters, words in (
        ({"name": "TWO"}, "already in one of these networks"),
        ({"name": "-"}, "letters, digits and hyphens"),
        ({"ostypeid": "x"}, "an id of listOsTypes"),
        ({"details[0].cpuNumber": "64"}, "change it with scaleVirtualMachine"),
        ({"userdatadetails[0].a": "b"}, "send that too"),
    ):
        with pytest.raises(ParameterError, match=words):
            world.call("updateVirtualMachine", id=vm, **parameters)
    assert vm_of(world, other)["name"] == "two"


def test_a_protected_vm_is_not_destroyed(world: World) -> None:
    vm = deploy(world)
    world.call("updateVirtualMachine", id=vm, deleteprotection=True)
    assert vm_of(world, vm)["deleteprotection"] is True
    with pytest.raises(ParameterError, match="is protected"):
        world.call("destroyVirtualMachine", id=vm)
    world.call("updateVirtualMachine", id=vm, deleteprotection=False)
    world.call("destroyVirtualMachine", id=vm)
    assert world.last_job().workflow == "destroy_vm"


def test_keys_are_those_of_the_vms_owner(world: World) -> None:
    vm = deploy(world)
    world.call("createSSHKeyPair", name="mine")
    world.call("createSSHKeyPair", "admin", name="admins")
    with pytest.raises(ParameterError, match="'admins' does not exist for account alice"):
        world.call("resetSSHKeyForVirtualMachine", "admin", id=vm, keypairs="admins")
    with pytest.raises(ParameterError, match="Send keypair"):
        world.call("resetSSHKeyForVirtualMachine", id=vm)
    world.call("resetSSHKeyForVirtualMachine", "admin", id=vm, keypairs="mine")
    assert vm_of(world, vm)["keypairs"] == "mine"
    assert world.last_job().workflow == "refresh_guest"


def test_restore_asks_for_a_template_that_is_there(world: World) -> None:
    vm = deploy(world)
    world.call("restoreVirtualMachine", virtualmachineid=vm)
    assert world.last_job().workflow == "restore_vm"
    with world.context.database.writing() as session:
        session.get_one(tables.Template, world.ids["template"]).state = "Deleted"
    with pytest.raises(ParameterError, match="is not there any more: send templateid"):
        world.call("restoreVirtualMachine", virtualmachineid=vm)
    alice = world.callers["alice"].account
    world.add(tables.ResourceLimit(owner_id=alice.id, type=10, most=3))
    with world.context.database.writing() as session:
        session.get_one(tables.Template, world.ids["template"]).state = "Ready"
    with pytest.raises(LimitReached, match="primary_storage"):
        world.call("restoreVirtualMachine", virtualmachineid=vm, rootdisksize=9)


def nics_of(world: World, vm: str) -> list[dict[str, Any]]:
    return list(world.call("listNics", virtualmachineid=vm)["nic"])


def test_nics_come_and_go(world: World) -> None:
    first, second = world.network(), world.network(name="second")
    vm = deploy(world, networkids=first.id, name="web")
    world.call(
        "addNicToVirtualMachine", virtualmachineid=vm, networkid=second.id, ipaddress="10.1.1.40",
        macaddress="02-AA-00-00-00-01",
    )  # fmt: skip
    assert world.last_job().workflow == "plug_nic"
    one, two = nics_of(world, vm)
    assert (two["ipaddress"], two["macaddress"], two["isdefault"]) == (
        "10.1.1.40",
        "02:aa:00:00:00:01",
        False,
    )
    with pytest.raises(ParameterError, match="is the default one"):
        world.call("removeNicFromVirtualMachine", virtualmachineid=vm, nicid=one["id"])
    world.call("updateDefaultNicForVirtualMachine", virtualmachineid=vm, nicid=two["id"])
    assert [nic["isdefault"] for nic in nics_of(world, vm)] == [False, True]
    assert vm_of(world, vm)["ipaddress"] == "10.1.1.40"
    world.call("removeNicFromVirtualMachine", virtualmachineid=vm, nicid=one["id"])
    assert world.last_job().workflow == "unplug_nic"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"networkid": "FIRST"}, "has a NIC in network net already"),
        ({"networkid": "BOBS"}, "does not have permission"),
        ({"networkid": "SECOND", "ipaddress": "10.9.9.9"}, "not one that a VM can have"),
        ({"networkid": "SECOND", "ipaddress": "x"}, "an IPv4 address"),
        ({"networkid": "SECOND", "macaddress": "01:00:5e:00:00:01"}, "a unicast MAC address"),
        ({"networkid": "SECOND", "macaddress": "$(reboot)"}, "a unicast MAC address"),
        ({"networkid": "THIRD"}, "named web is already"),
    ],
)
def test_wrong_nics(world: World, parameters: dict[str, str], words: str) -> None:
    ids = {name.upper(): world.network(name=name).id for name in ("second", "third")}
    ids |= {"FIRST": world.network().id, "BOBS": world.network("bob", name="bobs").id}
    vm = deploy(world, networkids=ids["FIRST"], name="web")
    deploy(world, networkids=ids["THIRD"], name="WEB")
    sent = {name: ids.get(value, value) for name, value in parameters.items()}
    with pytest.raises(CloudError, match=words):
        world.call("addNicToVirtualMachine", virtualmachineid=vm, **sent)
    assert len(nics_of(world, vm)) == 1


def test_a_macs_owner_is_the_only_one(world: World) -> None:
    vm, network = deploy(world, name="web"), world.network(name="second")
    taken = nics_of(world, vm)[0]["macaddress"]
    with pytest.raises(ParameterError, match="is taken: choose another"):
        world.call("addNicToVirtualMachine", virtualmachineid=vm, networkid=network.id, macaddress=taken)


def test_secondary_addresses_are_reserved_and_rules_may_lead_to_them(world: World) -> None:
    network = world.network()
    vm = deploy(world, networkids=network.id)
    (nic,) = nics_of(world, vm)
    world.call("addIpToNic", nicid=nic["id"], ipaddress="10.1.1.77")
    made = world.call("addIpToNic", nicid=nic["id"])["id"]
    (nic,) = nics_of(world, vm)
    secondary = {item["ipaddress"]: item["id"] for item in nic["secondaryip"]}
    assert secondary == {"10.1.1.77": secondary["10.1.1.77"], "10.1.1.3": made}
    assert vm_of(world, vm)["nic"][0]["secondaryip"] == nic["secondaryip"]
    with pytest.raises(ParameterError, match="already taken"):
        world.call("addIpToNic", nicid=nic["id"], ipaddress="10.1.1.77")
    with pytest.raises(ParameterError, match="already taken"):
        world.call("updateVmNicIp", nicid=nic["id"], ipaddress="10.1.1.77")
    forward = {"virtualmachineid": vm, "protocol": "tcp", "publicport": 22, "privateport": 22}
    forward["ipaddressid"] = world.ids["net-extra"]
    with pytest.raises(ParameterError, match=r"an address of VM .*: 10.1.1.2, 10.1.1"):
        world.call("createPortForwardingRule", **forward, vmguestip="10.1.1.99")
    rule = world.call("createPortForwardingRule", **forward, vmguestip="10.1.1.3")["id"]
    assert world.get(tables.PortForwardingRule, rule).vm_address == "10.1.1.3"
    with pytest.raises(InUse, match=f"port forwarding rule {rule} leads to it"):
        world.call("removeIpFromNic", id=made)
    world.call("removeIpFromNic", id=secondary["10.1.1.77"])
    assert [item["id"] for item in nics_of(world, vm)[0]["secondaryip"]] == [made]


def test_a_nic_that_rules_lead_to_keeps_its_address(world: World) -> None:
    network = world.network()
    vm = deploy(world, networkids=network.id)
    (nic,) = nics_of(world, vm)
    world.call("enableStaticNat", ipaddressid=world.ids["net-extra"], virtualmachineid=vm)
    assert nics_of(world, vm)[0]["publicipid"] == world.ids["net-extra"]
    assert vm_of(world, vm)["publicipid"] == world.ids["net-extra"]
    with pytest.raises(InUse, match=r"static NAT of 198.51.100.\d+ leads to it; disable it first"):
        world.call("updateVmNicIp", nicid=nic["id"])
    world.call("disableStaticNat", ipaddressid=world.ids["net-extra"])
    with world.context.database.writing() as session:  # what the job does
        address = session.get_one(tables.PublicAddress, world.ids["net-extra"])
        address.is_static_nat, address.vm_id, address.vm_address = False, None, None
    world.call("updateVmNicIp", nicid=nic["id"], ipaddress="10.1.1.50")
    assert nics_of(world, vm)[0]["ipaddress"] == "10.1.1.50"
    assert world.last_job().workflow == "refresh_guest"


def test_the_answer_of_a_vm_takes_a_fixed_number_of_statements(world: World) -> None:
    def statements() -> int:
        with counted_statements(world.context.database) as seen:
            world.call("listVirtualMachines", listall=True)
        return len([item for item in seen if item.startswith("SELECT") and "FROM role" not in item])

    network = world.network()
    world.call("createAffinityGroup", name="a", type="host affinity")
    deploy(world, networkids=network.id, group="g0", affinitygroupnames="a")
    before = statements()
    for number in range(1, 6):
        deploy(world, networkids=network.id, group=f"g{number}", affinitygroupnames="a")
    assert statements() == before
    assert before <= 8


def test_hosts_that_a_vm_might_move_to(world: World) -> None:
    vm = world.vm(world.network())
    zone = world.ids["zone"]
    pod = tables.Pod(zone_id=zone, name="p", gateway="g", netmask="m", start_ip="10.0.0.1", end_ip="10.0.0.2")
    world.add(pod)
    cluster = tables.Cluster(zone_id=zone, pod_id=pod.id, name="c")
    world.add(cluster)
    sizes = {"here": 4096, "roomy": 4096, "small": 512}
    ports = {"port": 1, "tunnel_port": 2, "relay_port": 3}
    for name, memory in sizes.items():
        world.add(
            tables.Host(
                zone_id=zone, pod_id=pod.id, cluster_id=cluster.id, name=name, address=name, cpus=4,
                memory_mib=memory, state="Up", **ports,
            )
        )  # fmt: skip
    with world.context.database.writing() as session:
        here = session.scalars(select(tables.Host).where(tables.Host.name == "here")).one()
        session.get_one(tables.Vm, vm.id).host_id = here.id
    found = world.call("findHostsForMigration", "admin", virtualmachineid=vm.id)["host"]
    suitable = {host["name"]: host["suitableformigration"] for host in found}
    assert suitable == {"roomy": True, "small": False}
    assert {host["requiresStorageMotion"] for host in found} == {False}
    assert world.call("findHostsForMigration", "admin", virtualmachineid=vm.id, keyword="ROO")["count"] == 1
    stopped = deploy(world, name="other")
    with pytest.raises(ParameterError, match="only a Running one can be moved"):
        world.call("findHostsForMigration", "admin", virtualmachineid=stopped)


def test_destroyed_vms_are_listed_unless_only_present_ones_are_asked_for(world: World) -> None:
    network = world.network()
    here, gone = deploy(world, networkids=network.id), deploy(world, networkids=network.id)
    with world.context.database.writing() as session:
        session.get_one(tables.Vm, gone).state = "Destroyed"

    def listed(**filters: str) -> set[str]:
        return {vm["id"] for vm in world.call("listVirtualMachines", **filters).get("virtualmachine", [])}

    assert listed() == {here, gone}
    assert listed(state="Present") == listed(state="Stopped") == {here}
    assert listed(state="Destroyed") == {gone}
