"""The main lifecycle by other stock clients, in the tenant's network: deploy, address, stop, destroy."""

from typing import Any
from urllib.parse import urlsplit

from libcloud.compute.drivers.cloudstack import CloudStackNodeDriver
from libcloud.compute.types import NodeState

from tests.cloud.tenant import Tenant
from tests.contract.mgmt.api.test_cloudmonkey import Monkey


def libcloud_day(tenant: Tenant) -> list[str]:
    """By apache-libcloud; the addresses that the node had."""
    section = tenant.cloud.credentials
    place = urlsplit(section["endpoint"])
    connect: Any = CloudStackNodeDriver
    driver = connect(
        section["key"], section["secret"], secure=False, host=place.hostname, port=place.port, path=place.path
    )
    made = driver.create_node(
        name="libcloud",
        size=next(size for size in driver.list_sizes() if size.name == "Tiny Instance"),
        image=next(image for image in driver.list_images() if image.id == tenant.template["id"]),
        location=driver.list_locations()[0],
        networks=[net for net in driver.ex_list_networks() if net.id == tenant.network["id"]],
        ex_start_vm=True,
    )
    listed = next(node for node in driver.list_nodes() if node.id == made.id)
    assert listed.state == NodeState.RUNNING
    assert driver.ex_stop(made) == "Stopped"
    assert driver.destroy_node(made, ex_expunge=True) is True
    assert made.id not in {node.id for node in driver.list_nodes()}
    addresses: list[str] = listed.private_ips
    return addresses


def cloudmonkey_day(tenant: Tenant, monkey: Monkey) -> list[str]:
    """By CloudMonkey 5; the addresses that the VM had."""
    monkey("sync")
    made = monkey(
        "deploy", "virtualmachine", "name=monkey", f"zoneid={tenant.zone['id']}",
        f"templateid={tenant.template['id']}", f"serviceofferingid={tenant.offering['id']}",
        f"networkids={tenant.network['id']}",
    )["jobresult"]["virtualmachine"]  # fmt: skip
    (shown,) = monkey("list", "virtualmachines", f"id={made['id']}")["virtualmachine"]
    assert shown["state"] == "Running"
    stopped = monkey("stop", "virtualmachine", f"id={made['id']}")["jobresult"]["virtualmachine"]
    assert stopped["state"] == "Stopped"
    assert monkey("destroy", "virtualmachine", f"id={made['id']}", "expunge=true")["jobstatus"] == 1
    assert "does not exist" in monkey.say("list", "virtualmachines", f"id={made['id']}")[1]
    return [nic["ipaddress"] for nic in shown["nic"]]
