"""VMs, templates, keys and volumes by their commands."""

import base64

import pytest
from sqlalchemy import select

from mgmt.model.errors import CloudError, InUse, ParameterError, PermissionDenied
from mgmt.store import tables
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit


def deploy(world: World, caller: str = "alice", **more: object) -> dict[str, object]:
    sent = {
        "zoneid": world.ids["zone"],
        "templateid": world.ids["template"],
        "serviceofferingid": world.ids["service_offering"],
        **more,
    }
    return world.call("deployVirtualMachine", caller, **sent)


def test_deploy_inserts_everything_and_starts_a_job(world: World) -> None:
    network = world.network()
    key = world.call("createSSHKeyPair", name="mine")["keypair"]
    assert "PRIVATE KEY" in key["privatekey"]
    text = base64.b64encode(b"#!/bin/sh\n").decode()
    answer = deploy(world, name="web", keypair="mine", userdata=text, networkids=network.id)
    vm = world.call("listVirtualMachines", id=answer["id"])["virtualmachine"][0]
    assert (vm["name"], vm["state"], vm["keypairs"], vm["memory"]) == ("web", "Stopped", "mine", 128)
    assert vm["nic"][0]["ipaddress"].startswith("10.1.1.")
    assert "password" not in vm
    assert world.call("getVirtualMachineUserData", virtualmachineid=vm["id"]) == {
        "virtualmachineuserdata": {"virtualmachineid": vm["id"], "userdata": text}
    }
    assert world.last_job().workflow == "deploy_vm"
    assert world.last_job().arguments == {
        "vm_id": vm["id"],
        "start": True,
        "host_id": None,
        "within": "",
    }


def test_no_secret_is_in_the_job_or_in_clear_in_the_row(world: World) -> None:
    deploy(world, networkids=world.network().id)
    row = world.get(tables.Vm, world.last_job().instance_id)
    assert row.password.startswith("v1:")
    assert row.password not in str(world.last_job())
    assert row.password not in repr(row)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"name": "-bad-"}, "letters, digits and hyphens"),
        ({"boottype": "UEFI"}, "expected Bios, the only one"),
        ({"bootintosetup": "true"}, "bootintosetup is not supported"),
        ({"datadiskofferinglist[0].diskofferingid": "x"}, "datadiskofferinglist is not supported"),
        ({"userdata": "%%%"}, "base64"),
        ({"keypair": "nobody"}, "does not exist for account alice"),
        ({"ipaddress": "10.1.1.1"}, "10.1.1.1"),
        ({"hypervisor": "VMware"}, "KVM"),
    ],
)
def test_deploy_refuses_and_leaves_nothing(world: World, parameters: dict[str, str], words: str) -> None:
    network = world.network()
    with pytest.raises(CloudError, match=words):
        deploy(world, networkids=network.id, **parameters)
    assert world.call("listVirtualMachines") == {}
    assert world.call("listVolumes") == {}


def test_networks_inside_a_map_are_authorized_too(world: World) -> None:
    mine, others = world.network(), world.network("bob", name="bobs")
    answer = deploy(world, **{"iptonetworklist[0].networkid": mine.id, "iptonetworklist[0].ip": "10.1.1.77"})
    vm = world.call("listVirtualMachines", id=answer["id"])["virtualmachine"][0]
    assert vm["nic"][0]["ipaddress"] == "10.1.1.77"
    with pytest.raises(PermissionDenied):
        deploy(world, **{"iptonetworklist[0].networkid": others.id})


def test_states_are_told_in_words(world: World) -> None:
    vm = world.vm(world.network())
    with pytest.raises(ParameterError, match="web is Running; only a Stopped one can be started"):
        world.call("startVirtualMachine", id=vm.id)
    with pytest.raises(ParameterError, match="only a Stopped one can be given a new password"):
        world.call("resetPasswordForVirtualMachine", id=vm.id)
    with pytest.raises(ParameterError, match="only a Destroyed one can be recovered"):
        world.call("recoverVirtualMachine", id=vm.id)
    world.call("stopVirtualMachine", id=vm.id)
    assert world.last_job().workflow == "stop_vm"


def test_keys_are_checked_and_known_by_fingerprint(world: World) -> None:
    public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl somebody"
    made = world.call("registerSSHKeyPair", name="k", publickey=public)["keypair"]
    assert made["fingerprint"] == "65:96:2d:fc:e8:d5:a9:11:64:0c:0f:ea:00:6e:5b:bd"
    assert world.call("listSSHKeyPairs", fingerprint=made["fingerprint"])["count"] == 1
    with pytest.raises(ParameterError, match="exists already: k"):
        world.call("registerSSHKeyPair", name="other", publickey=public)
    with pytest.raises(ParameterError, match="OpenSSH"):
        world.call("registerSSHKeyPair", name="bad", publickey="ssh-rsa nonsense")
    world.call("deleteSSHKeyPair", name="k")
    assert world.call("listSSHKeyPairs") == {}


@pytest.mark.parametrize(
    ("checksum", "stored"),
    [
        ("{SHA-256}" + "A" * 64, "sha256:" + "a" * 64),
        ("a" * 32, "md5:" + "a" * 32),
        ("sha512:" + "0" * 128, "sha512:" + "0" * 128),
    ],
)
def test_checksums_in_every_spelling(world: World, checksum: str, stored: str) -> None:
    made = register(world, checksum=checksum)
    assert world.get(tables.Template, made["id"]).checksum == stored


def register(world: World, **more: str) -> dict[str, str]:
    sent = {
        "name": "t2",
        "format": "QCOW2",
        "url": "http://example.org/x.qcow2",
        "zoneid": world.ids["zone"],
        **more,
    }
    answer = world.call("registerTemplate", **sent)
    assert answer["count"] == 1
    first: dict[str, str] = answer["template"][0]
    return first


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"url": "ftp://example.org/x"}, "http or https"),
        ({"url": "http://me:secret@example.org/x"}, "without user and password"),
        ({"checksum": "sha256:abc"}, "sha256:<64"),
        ({"format": "VMDK"}, "QCOW2 or RAW"),
    ],
)
def test_templates_refuse_what_cannot_be(world: World, more: dict[str, str], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        register(world, **more)


def test_template_in_use_stays(world: World) -> None:
    deploy(world, networkids=world.network().id)
    with pytest.raises(InUse, match="is used by VM"):
        world.call("deleteTemplate", "admin", id=world.ids["template"])
    with pytest.raises(PermissionDenied):
        world.call("deleteTemplate", "bob", id=world.ids["template"])


def test_volumes_are_sized_attached_and_kept_apart(world: World) -> None:
    vm = world.vm(world.network())
    offering = world.ids["disk_offering"]
    with pytest.raises(ParameterError, match="leaves the size open"):
        world.call("createVolume", name="d", diskofferingid=offering, zoneid=world.ids["zone"])
    made = world.call("createVolume", name="d", diskofferingid=offering, zoneid=world.ids["zone"], size=2)
    assert world.get(tables.Volume, made["id"]).size == 2 * 1024**3
    with pytest.raises(PermissionDenied):
        world.call("attachVolume", "bob", id=made["id"], virtualmachineid=vm.id)
    world.call("attachVolume", id=made["id"], virtualmachineid=vm.id)
    assert world.last_job().workflow == "attach_volume"
    with pytest.raises(ParameterError, match="is not attached"):
        world.call("detachVolume", id=made["id"])


def test_system_vms_are_not_for_tenants(world: World) -> None:
    with pytest.raises(CloudError, match="does not exist or is not available"):
        world.call("listSystemVms")


@pytest.mark.parametrize(
    ("command", "key", "finds", "finds_not"),
    [
        ("listVirtualMachines", "virtualmachine", {"hypervisor": "kvm"}, {"hypervisor": "VMware"}),
        ("listVirtualMachines", "virtualmachine", {"haenable": "false"}, {"haenable": "true"}),
        ("listNetworks", "network", {"acltype": "Account"}, {"acltype": "Domain"}),
        ("listNetworks", "network", {"supportedservices": "Dhcp,Lb"}, {"supportedservices": "Dhcp,Vpn"}),
        ("listNetworks", "network", {"restartrequired": "false"}, {"restartrequired": "true"}),
        ("listNetworks", "network", {}, {"specifyipranges": "true"}),
    ],
)
def test_filters_of_what_is_not_here_find_nothing(
    world: World, command: str, key: str, finds: dict[str, str], finds_not: dict[str, str]
) -> None:
    world.vm(world.network())
    assert len(world.call(command, **finds)[key]) == 1
    assert world.call(command, **finds_not) == {}


def test_networks_of_a_physical_network(world: World) -> None:
    network = world.network()
    zone = tables.Zone(name="elsewhere", dns1="9.9.9.9", internal_dns1="9.9.9.9")
    world.add(zone)
    other = tables.PhysicalNetwork(zone_id=zone.id, name="q")
    world.add(other)
    with world.context.database.reading() as session:
        query = select(tables.PhysicalNetwork.id).where(tables.PhysicalNetwork.zone_id == network.zone_id)
        here = session.scalars(query).one()
    found = world.call("listNetworks", "admin", listall="true", physicalnetworkid=here)["network"]
    assert [item["id"] for item in found] == [network.id]
    assert world.call("listNetworks", "admin", listall="true", physicalnetworkid=other.id) == {}


def test_a_vm_starts_in_a_pod_or_cluster_of_its_zone(world: World) -> None:
    zone = world.ids["zone"]
    other = tables.Zone(name="other", dns1="9.9.9.9", internal_dns1="9.9.9.9", allocation="Enabled")
    world.add(other)
    ends = {"gateway": "10.9.0.1", "netmask": "255.255.255.0", "start_ip": "10.9.0.2", "end_ip": "10.9.0.9"}
    here, there = (tables.Pod(zone_id=each, name=f"pod of {each}", **ends) for each in (zone, other.id))
    world.add(here, there)
    cluster = tables.Cluster(zone_id=other.id, pod_id=there.id, name="far")
    world.add(cluster)
    network = world.network("admin")
    answer = deploy(world, "admin", networkids=network.id, podid=here.id)
    assert world.last_job().arguments["within"] == here.id
    world.call("startVirtualMachine", "admin", id=answer["id"], podid=here.id)
    assert world.last_job().arguments == {"vm_id": answer["id"], "host_id": None, "within": here.id}
    for sent, words in (
        ({"podid": there.id}, "is in another zone than the VM"),
        ({"podid": here.id, "clusterid": cluster.id}, "Cluster far is not in pod"),
        ({"podid": here.id, "startvm": False}, "are for VMs that start"),
        ({"clusterid": "11111111-2222-3333-4444-555555555555"}, "entity does not exist"),
    ):
        with pytest.raises(ParameterError, match=words):
            deploy(world, "admin", networkids=network.id, **sent)
    with pytest.raises(PermissionDenied):
        deploy(world, networkids=world.network().id, podid=here.id)
