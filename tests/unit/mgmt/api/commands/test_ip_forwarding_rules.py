"""Ports open to the guest behind a static NAT."""

import pytest

from mgmt.model.errors import ParameterError
from mgmt.store import tables
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit


def with_static_nat(world: World) -> dict[str, str]:
    """An address with static NAT and a firewall rule of an address without; the call's parameters."""
    network = world.network()
    vm = world.vm(network)
    with world.context.database.writing() as session:  # what the job does
        address = session.get_one(tables.PublicAddress, world.ids["net-extra"])
        address.is_static_nat, address.vm_id, address.vm_address = True, vm.id, "10.1.1.2"
    world.call("createFirewallRule", ipaddressid=world.ids["net-source"], protocol="tcp", startport=22)
    return {"ipaddressid": world.ids["net-extra"], "protocol": "TCP", "startport": "80", "endport": "81"}


def test_it_is_a_firewall_rule_of_the_address(world: World) -> None:
    made = world.call("createIpForwardingRule", **with_static_nat(world))
    row = world.get(tables.FirewallRule, made["id"])
    assert (row.protocol, row.start_port, row.end_port, row.cidrs) == ("tcp", 80, 81, ["0.0.0.0/0"])
    assert world.last_job().workflow == "apply_rule"
    (listed,) = world.call("listIpForwardingRules")["ipforwardingrule"]
    assert (listed["id"], listed["startport"], listed["endport"]) == (row.id, 80, 81)
    assert listed["vmguestip"] == "10.1.1.2"
    assert world.call("listIpForwardingRules", virtualmachineid=listed["virtualmachineid"])["count"] == 1
    world.call("deleteIpForwardingRule", id=row.id)
    assert world.last_job().workflow == "revoke_rule"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"protocol": "icmp"}, "expected tcp or udp"),
        ({"endport": "79"}, "not below startport"),
        ({"ipaddressid": "net-source"}, "has no static NAT"),
    ],
)
def test_what_makes_no_sense_is_refused(world: World, change: dict[str, str], words: str) -> None:
    sent = with_static_nat(world)
    change = {name: world.ids.get(value, value) for name, value in change.items()}
    with pytest.raises(ParameterError, match=words):
        world.call("createIpForwardingRule", **{**sent, **change})
    assert world.call("listIpForwardingRules") == {}
