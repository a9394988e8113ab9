"""Parameters that clients send and nothing here can follow: refused when they ask for something else."""

from typing import Any

import pytest

from mgmt.model.errors import CloudError
from mgmt.store import tables
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit
NETWORK = {"name": "n", "zoneid": "{zone}", "networkofferingid": "{network_offering}"}
FORWARD = {"ipaddressid": "{address}", "protocol": "tcp", "publicport": 80, "privateport": 80}
TEMPLATE = {"name": "t", "url": "http://example.org/x.qcow2", "format": "QCOW2", "zoneid": "{zone}"}


@pytest.fixture
def names(world: World) -> dict[str, str]:
    net = {"gateway": "172.20.0.1", "netmask": "255.255.255.0"}
    pod = tables.Pod(zone_id=world.ids["zone"], name="p", start_ip="172.20.0.10", end_ip="172.20.0.19", **net)  # type: ignore[arg-type]
    world.add(pod)
    cluster = tables.Cluster(zone_id=world.ids["zone"], pod_id=pod.id, name="c")
    world.add(cluster)
    vm = world.vm(world.network("admin"), "admin")
    made = {"cluster": cluster.id, "vm": vm.id, "address": world.ids["net-extra"]}
    return {**world.ids, **made, "user": world.callers["alice"].user.id}


CASES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("createNetwork", {**NETWORK, "acltype": "Account"}, {"acltype": "domain"}, "account: it cannot change"),
    ("createNetwork", NETWORK, {"vpcid": "x"}, "vpcid is not supported: there are no VPCs"),
    ("createNetwork", NETWORK, {"vlan": "100"}, "vlan is not supported"),
    (
        "createPortForwardingRule",
        {**FORWARD, "virtualmachineid": "{vm}"},
        {"cidrlist": "10.0.0.0/8"},
        "cidrlist is not supported: send openfirewall=false",
    ),
    (
        "updateCluster",
        {"id": "{cluster}", "hypervisor": "kvm", "clustertype": "CloudManaged", "managedstate": "Managed"},
        {"managedstate": "Unmanaged"},
        "Invalid value Unmanaged for parameter managedstate: expected Managed",
    ),
    ("updateUser", {"id": "{user}", "username": "alice"}, {"username": "eve"}, "alice: it cannot change"),
    ("updateUser", {"id": "{user}"}, {"usersecretkey": "x"}, "usersecretkey is not supported"),
    ("updateTemplate", {"id": "{template}", "format": "qcow2"}, {"format": "RAW"}, "QCOW2: it cannot change"),
    ("registerTemplate", TEMPLATE, {"isrouting": "true"}, "isrouting is not supported"),
    ("createDomain", {"name": "d"}, {"domainid": "x"}, "domainid is not supported: ids are made here"),
    (
        "updateVirtualMachine",
        {"id": "{vm}", "haenable": "false"},
        {"haenable": "true"},
        "haenable is not supp",
    ),
]


@pytest.mark.parametrize(("command", "sent", "change", "words"), CASES)
def test_what_asks_for_something_else_is_refused(
    world: World,
    names: dict[str, str],
    command: str,
    sent: dict[str, Any],
    change: dict[str, Any],
    words: str,
) -> None:
    asked = {name: str(value).format(**names) for name, value in sent.items()}
    with pytest.raises(CloudError, match=words):
        world.call(command, "admin", **{**asked, **change})
    world.call(command, "admin", **asked)


def test_a_template_keeps_the_details_that_it_was_registered_with(world: World) -> None:
    asked = {name: value.format(**world.ids) for name, value in TEMPLATE.items()}
    details = {"details[0].rootDiskController": "virtio"}
    (made,) = world.call("registerTemplate", "admin", **asked, **details)["template"]
    assert world.get(tables.Template, made["id"]).details == {"rootDiskController": "virtio"}


def test_the_availability_of_a_network_offering_changes(world: World) -> None:
    offering = {"id": world.ids["network_offering"]}
    made = world.call("updateNetworkOffering", "admin", **offering, availability="required")
    assert made["networkoffering"]["availability"] == "Required"
    with pytest.raises(CloudError, match="parameter availability: expected Optional or Required"):
        world.call("updateNetworkOffering", "admin", **offering, availability="Unavailable")
