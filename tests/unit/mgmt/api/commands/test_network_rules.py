"""Addresses, firewall, forwards and balancers: what is refused, in which words."""

import pytest

from mgmt.model.errors import CloudError, NoCapacity, ParameterError, PermissionDenied, RuleConflict
from mgmt.model.states import RuleState, VmKind
from mgmt.store import tables
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit


def test_network_takes_the_zone_default_and_its_own_range(world: World) -> None:
    made = world.call(
        "createNetwork", name="a", zoneid=world.ids["zone"], networkofferingid=world.ids["network_offering"]
    )["network"]
    assert (made["cidr"], made["gateway"], made["state"]) == ("10.1.1.0/24", "10.1.1.1", "Allocated")
    assert {item["name"] for item in made["service"]} >= {"Dhcp", "Dns", "SourceNat", "Lb"}
    own = world.call(
        "createNetwork",
        name="b",
        zoneid=world.ids["zone"],
        networkofferingid=world.ids["network_offering"],
        gateway="192.168.7.1",
        netmask="255.255.255.0",
    )["network"]
    assert own["cidr"] == "192.168.7.0/24"


@pytest.mark.parametrize(
    ("gateway", "netmask", "words"),
    [
        ("192.168.7.1", None, "go together"),
        ("8.8.8.8", "255.255.255.0", "private network"),
        ("192.168.7.0", "255.255.255.0", "host address"),
        ("192.168.7.1", "255.255.255.254", "between /16 and /29"),
        ("not-an-address", "255.255.255.0", "IPv4 address"),
    ],
)
def test_network_refuses_bad_addresses(world: World, gateway: str, netmask: str | None, words: str) -> None:
    sent = {"gateway": gateway, **({"netmask": netmask} if netmask else {})}
    with pytest.raises(ParameterError, match=words):
        world.call(
            "createNetwork",
            name="a",
            zoneid=world.ids["zone"],
            networkofferingid=world.ids["network_offering"],
            **sent,
        )
    assert world.call("listNetworks") == {}


@pytest.mark.parametrize(
    ("kind", "news"),
    [
        (VmKind.router, {"dns1": 1, "dns2": 1, "internaldns1": 0, "internaldns2": 0}),
        (VmKind.storage, {"dns1": 1, "dns2": 1, "internaldns1": 1, "internaldns2": 1}),
        (VmKind.console, {"dns1": 1, "dns2": 1, "internaldns1": 1, "internaldns2": 1}),
        (VmKind.user, {"dns1": 0, "internaldns1": 0}),
    ],
)
def test_new_dns_servers_of_a_zone_are_news_for_who_asks_them(
    world: World, kind: VmKind, news: dict[str, int]
) -> None:
    vm = world.vm(world.network())
    with world.context.database.writing() as session:
        machine = session.get_one(tables.Vm, vm.id)
        machine.kind = kind
        generation = machine.generation
    for number, (parameter, raised) in enumerate(news.items()):
        generation += raised
        for _ in "change", "the same again":
            world.call("updateZone", "admin", id=world.ids["zone"], **{parameter: f"192.0.2.{number}"})
            assert world.get(tables.Vm, vm.id).generation == generation, parameter


def test_firewall_rule_is_a_row_and_a_job(world: World) -> None:
    world.network()
    answer = world.call(
        "createFirewallRule",
        ipaddressid=world.ids["net-source"],
        protocol="TCP",
        startport=80,
        cidrlist="10.0.0.0/8,192.0.2.7",
    )
    row = world.get(tables.FirewallRule, answer["id"])
    assert (row.state, row.protocol, row.start_port, row.end_port) == ("Add", "tcp", 80, 80)
    assert row.cidrs == ["10.0.0.0/8", "192.0.2.7/32"]
    job = world.last_job()
    assert (job.id, job.workflow) == (answer["jobid"], "apply_rule")
    assert job.arguments == {"rule": "firewall", "rule_id": row.id}
    listed = world.call("listFirewallRules", ipaddressid=world.ids["net-source"])["firewallrule"][0]
    assert listed["cidrlist"] == "10.0.0.0/8,192.0.2.7/32"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"protocol": "sctp"}, "tcp, udp, icmp or all"),
        ({"protocol": "tcp", "startport": 90, "endport": 80}, "not below startport"),
        ({"protocol": "tcp", "startport": 70000}, "startport"),
        ({"protocol": "tcp", "startport": 80, "icmptype": 8}, "do not go with"),
        ({"protocol": "icmp", "startport": 80}, "do not go with"),
        ({"protocol": "icmp", "icmpcode": 0}, "needs an icmptype"),
        ({"protocol": "tcp", "startport": 80, "cidrlist": "10.0.0.1/8"}, "cidrlist"),
    ],
)
def test_firewall_refuses_what_makes_no_sense(
    world: World, parameters: dict[str, object], words: str
) -> None:
    world.network()
    with pytest.raises(ParameterError, match=words):
        world.call("createFirewallRule", ipaddressid=world.ids["net-source"], **parameters)
    assert world.call("listFirewallRules") == {}


def test_the_same_rule_twice_is_a_conflict(world: World) -> None:
    world.network()
    sent = {
        "ipaddressid": world.ids["net-source"],
        "protocol": "tcp",
        "startport": 80,
        "cidrlist": "0.0.0.0/0",
    }
    first = world.call("createFirewallRule", **sent)
    with pytest.raises(RuleConflict, match=first["id"]):
        world.call("createFirewallRule", **sent)


def test_egress_sources_are_the_networks_own(world: World) -> None:
    network = world.network()
    with pytest.raises(ParameterError, match="a part of the network"):
        world.call("createEgressFirewallRule", networkid=network.id, protocol="all", cidrlist="10.2.0.0/24")
    answer = world.call(
        "createEgressFirewallRule", networkid=network.id, protocol="all", cidrlist="10.1.1.0/25"
    )
    assert world.get(tables.EgressRule, answer["id"]).cidrs == ["10.1.1.0/25"]


def forward(world: World, vm: tables.Vm, first: int, **more: object) -> dict[str, object]:
    return world.call(
        "createPortForwardingRule",
        ipaddressid=world.ids["net-source"],
        virtualmachineid=vm.id,
        protocol="tcp",
        publicport=first,
        privateport=first,
        **more,
    )


def test_forwards_and_balancers_do_not_share_ports(world: World) -> None:
    vm = world.vm(world.network())
    forward(world, vm, 100, publicendport=110, privateendport=110)
    with pytest.raises(RuleConflict, match=r"Ports 105-105/tcp"):
        forward(world, vm, 105)
    with pytest.raises(RuleConflict, match=r"Ports 110-110/tcp"):
        world.call(
            "createLoadBalancerRule",
            name="lb",
            algorithm="roundrobin",
            publicipid=world.ids["net-source"],
            publicport=110,
            privateport=80,
        )
    forward(world, vm, 111)


def test_openfirewall_opens_the_very_ports(world: World) -> None:
    vm = world.vm(world.network())
    forward(world, vm, 80)
    forward(world, vm, 443, openfirewall="false")
    rules = world.call("listFirewallRules")["firewallrule"]
    assert [(rule["startport"], rule["endport"]) for rule in rules] == [(80, 80)]


def test_what_openfirewall_opens_belongs_to_the_rules_own_job(world: World) -> None:
    vm = world.vm(world.network())
    forward(world, vm, 80)
    (opened,) = world.call("listFirewallRules")["firewallrule"]
    assert (opened["state"], world.last_job().arguments["opened"]) == ("Add", opened["id"])
    world.call(
        "createFirewallRule",
        ipaddressid=world.ids["net-source"],
        protocol="tcp",
        startport=8000,
        endport=8000,
    )
    world.call(
        "createLoadBalancerRule",
        name="lb",
        algorithm="roundrobin",
        publicipid=world.ids["net-source"],
        publicport=8000,
        privateport=80,
    )
    assert "opened" not in world.last_job().arguments, "a rule that its owner made does not go with the job"


def test_what_openfirewall_opened_is_closed_with_its_rule(world: World) -> None:
    vm = world.vm(world.network())
    made = forward(world, vm, 80)
    (opened,) = world.call("listFirewallRules")["firewallrule"]
    world.call("deletePortForwardingRule", id=made["id"])
    assert world.last_job().arguments["opened"] == opened["id"]
    (closing,) = world.call("listFirewallRules")["firewallrule"]
    assert closing["state"] == "Revoke"


def test_forward_ranges_have_the_same_length(world: World) -> None:
    vm = world.vm(world.network())
    with pytest.raises(ParameterError, match="11 public and 1 private ports"):
        forward(world, vm, 100, publicendport=110)


def test_forward_needs_a_nic_in_the_network(world: World) -> None:
    world.network()
    elsewhere = world.vm(world.network(name="other"), name="elsewhere", at=20)
    with pytest.raises(ParameterError, match="has no NIC in the network"):
        forward(world, elsewhere, 80)


def test_static_nat_wants_an_address_of_its_own(world: World) -> None:
    vm = world.vm(world.network())
    with pytest.raises(ParameterError, match="source NAT"):
        world.call("enableStaticNat", ipaddressid=world.ids["net-source"], virtualmachineid=vm.id)
    assert world.call("enableStaticNat", ipaddressid=world.ids["net-extra"], virtualmachineid=vm.id) == {
        "success": True
    }
    shown = world.call("listPublicIpAddresses", id=world.ids["net-extra"])["publicipaddress"][0]
    assert (shown["isstaticnat"], shown["vmipaddress"]) == (True, "10.1.1.10")
    other = world.vm(world.get(tables.Network, shown["associatednetworkid"]), name="other", at=11)
    with pytest.raises(CloudError, match="another VM"):
        world.call("enableStaticNat", ipaddressid=world.ids["net-extra"], virtualmachineid=other.id)


def test_addresses_run_out_in_words(world: World) -> None:
    network = world.network()
    taken = [world.call("associateIpAddress", networkid=network.id)["id"] for _ in range(2)]
    assert len(set(taken)) == 2
    with pytest.raises(NoCapacity, match="no free public IP address"):
        world.call("associateIpAddress", networkid=network.id)


def test_source_nat_address_is_not_released(world: World) -> None:
    world.network()
    with pytest.raises(ParameterError, match="source NAT"):
        world.call("disassociateIpAddress", id=world.ids["net-source"])


def test_a_network_gets_another_domain_and_keeps_the_rest(world: World) -> None:
    network = world.network()
    world.call("updateNetwork", id=network.id, name="new", networkofferingid=network.offering_id)
    assert world.context.jobs.started == [], "no router is asked"
    world.call("updateNetwork", id=network.id, networkdomain="Shop.Example.org")
    assert world.last_job().arguments == {"network_id": network.id}
    (shown,) = world.call("listNetworks", id=network.id)["network"]
    assert (shown["name"], shown["networkdomain"]) == ("new", "shop.example.org")
    for name, value in (("guestvmcidr", "10.9.9.0/24"), ("networkdomain", "no domain")):
        with pytest.raises(ParameterError, match=f"parameter {name}"):
            world.call("updateNetwork", id=network.id, **{name: value})


def balance(world: World, **sent: str) -> str:
    """A load balancer rule whose job has ended well; its id."""
    made = world.call(
        "createLoadBalancerRule",
        name="lb",
        algorithm="roundrobin",
        publicipid=world.ids["net-source"],
        publicport=80,
        privateport=80,
        **sent,
    )
    with world.context.database.writing() as session:
        session.get_one(tables.BalancerRule, made["id"]).state = RuleState.active
    return str(made["id"])


def test_a_balancer_serves_some_clients_only(world: World) -> None:
    world.network()
    with pytest.raises(ParameterError, match="cidrlist"):
        balance(world, cidrlist="somewhere")
    rule = balance(world, cidrlist="192.0.2.0/24,198.51.100.7")
    shown = world.call("listLoadBalancerRules", id=rule)["loadbalancerrule"][0]
    assert shown["cidrlist"] == "192.0.2.0/24,198.51.100.7/32"


def test_a_balancer_changes(world: World) -> None:
    world.network()
    rule = balance(world)
    jobs = len(world.context.jobs.started)
    done = world.call("updateLoadBalancerRule", id=rule, name="new", description="d", algorithm="roundrobin")
    assert done["jobid"]
    shown = world.call("listLoadBalancerRules", id=rule)["loadbalancerrule"][0]
    assert (shown["name"], shown["description"], len(world.context.jobs.started)) == ("new", "d", jobs), (
        "no router is asked"
    )
    world.call("updateLoadBalancerRule", id=rule, algorithm="source")
    assert world.last_job().arguments == {"rule_id": rule, "algorithm": "source"}
    for sent, words in (({"algorithm": "dice"}, "one of roundrobin"), ({"protocol": "udp"}, "tcp")):
        with pytest.raises(ParameterError, match=words):
            world.call("updateLoadBalancerRule", id=rule, **sent)
    world.call("deleteLoadBalancerRule", id=rule)
    with pytest.raises(ParameterError, match="is in state Revoke"):
        world.call("updateLoadBalancerRule", id=rule, name="late")


def test_members_are_named_with_their_addresses(world: World) -> None:
    vm = world.vm(world.network())
    rule = balance(world)
    pair = {"vmidipmap[0].vmid": vm.id, "vmidipmap[0].vmip": "10.1.1.10"}
    with pytest.raises(ParameterError, match=r"10\.1\.1\.99"):
        world.call("assignToLoadBalancerRule", id=rule, **{**pair, "vmidipmap[0].vmip": "10.1.1.99"})
    with pytest.raises(ParameterError, match="vmidipmap"):
        world.call("assignToLoadBalancerRule", id=rule, **{"vmidipmap[0].vmip": "10.1.1.10"})
    with pytest.raises(ParameterError, match="virtualmachineids or vmidipmap"):
        world.call("assignToLoadBalancerRule", id=rule)
    world.call("assignToLoadBalancerRule", id=rule, **pair)
    with pytest.raises(ParameterError, match="is not behind"):
        world.call("removeFromLoadBalancerRule", id=rule, **{**pair, "vmidipmap[0].vmip": "10.1.1.99"})
    world.call("removeFromLoadBalancerRule", id=rule, **pair)
    assert world.last_job().arguments == {"rule_id": rule, "vm_ids": [vm.id]}


def test_members_are_added_once_and_removed(world: World) -> None:
    vm = world.vm(world.network())
    rule = world.call(
        "createLoadBalancerRule",
        name="lb",
        algorithm="roundrobin",
        publicipid=world.ids["net-source"],
        publicport=80,
        privateport=80,
    )["id"]
    with pytest.raises(ParameterError, match="is not behind"):
        world.call("removeFromLoadBalancerRule", id=rule, virtualmachineids=vm.id)
    world.call("assignToLoadBalancerRule", id=rule, virtualmachineids=vm.id)
    members = world.call("listLoadBalancerRuleInstances", id=rule)["loadbalancerruleinstance"]
    assert [member["name"] for member in members] == ["web"]
    with pytest.raises(ParameterError, match="already"):
        world.call("assignToLoadBalancerRule", id=rule, virtualmachineids=vm.id)


def test_bob_has_no_part_in_it(world: World) -> None:
    vm = world.vm(world.network())
    rule = forward(world, vm, 80)["id"]
    for command, parameters in (
        ("deletePortForwardingRule", {"id": rule}),
        ("listPortForwardingRules", {"ipaddressid": world.ids["net-source"]}),
        ("createFirewallRule", {"ipaddressid": world.ids["net-source"], "protocol": "all"}),
        (
            "restartNetwork",
            {"id": vm.network_id or world.get(tables.PublicAddress, world.ids["net-source"]).network_id},
        ),
        ("stopVirtualMachine", {"id": vm.id}),
        ("createConsoleEndpoint", {"virtualmachineid": vm.id}),
        ("enableStaticNat", {"ipaddressid": world.ids["net-extra"], "virtualmachineid": vm.id}),
    ):
        with pytest.raises(PermissionDenied):
            world.call(command, "bob", **parameters)
    for command in (
        "listVirtualMachines",
        "listNetworks",
        "listPublicIpAddresses",
        "listPortForwardingRules",
    ):
        assert world.call(command, "bob", listall="true") == {}


def test_egress_rules_are_tagged_as_firewall_rules(world: World) -> None:
    network = world.network()
    made = world.call("createEgressFirewallRule", networkid=network.id, protocol="all")["id"]
    tag = {"tags[0].key": "team", "tags[0].value": "red"}
    world.call("createTags", resourceids=made, resourcetype="FirewallRule", **tag)
    (shown,) = world.call("listEgressFirewallRules", **tag)["firewallrule"]
    assert (shown["id"], shown["tags"]) == (made, [{"key": "team", "value": "red"}])
    with pytest.raises(PermissionDenied):
        world.call("createTags", "bob", resourceids=made, resourcetype="FirewallRule", **tag)
