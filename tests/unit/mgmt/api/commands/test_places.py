"""Networks, zones and accounts that clients name beside an address: they must be its own."""

import pytest

from mgmt.model.errors import ParameterError
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit
BALANCER = {"name": "lb", "algorithm": "roundrobin", "publicport": 80, "privateport": 80}
FORWARD = {"protocol": "tcp", "publicport": 80, "privateport": 80, "virtualmachineid": "{vm}"}


@pytest.mark.parametrize(
    ("command", "sent"),
    [
        ("createLoadBalancerRule", {**BALANCER, "publicipid": "{address}", "networkid": "{other}"}),
        ("createLoadBalancerRule", {**BALANCER, "publicipid": "{address}", "account": "alice"}),
        ("createPortForwardingRule", {**FORWARD, "ipaddressid": "{address}", "networkid": "{other}"}),
        ("enableStaticNat", {"ipaddressid": "{address}", "virtualmachineid": "{vm}", "networkid": "{other}"}),
        ("associateIpAddress", {"networkid": "{other}", "account": "alice"}),
    ],
)
def test_another_place_than_the_addresss_own_is_refused(
    world: World, command: str, sent: dict[str, object]
) -> None:
    network, other = world.network("admin"), world.network("admin", "other")
    vm = world.vm(network, "admin")
    names = {"address": world.ids["net-extra"], "other": other.id, "vm": vm.id}
    asked = {key: str(value).format(**names) for key, value in sent.items()}
    with pytest.raises(ParameterError, match=r"belongs to another (network|account) than the one sent"):
        world.call(command, "admin", **asked)
