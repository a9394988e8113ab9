"""The host's bridges, tunnels and firewall in a namespace: what is closed is closed, what is ours is ours."""

import re
from collections.abc import Iterator
from uuid import uuid4

import pytest

from appliance.hostagent import networks
from systemvm.engine.errors import ApplyFailed, StaleGeneration
from systemvm.spec.host import Bridge, GuestNetwork, HostState
from tests.netns.host_bench import ADDRESS, CLOUD, MANAGEMENT, PUBLIC, PUBLIC_BRIDGE, HostBench
from tests.netns.topology import Machine, Topology, eventually

pytestmark = pytest.mark.netns


@pytest.fixture
def host(lab: Topology) -> Iterator[HostBench]:
    bench = HostBench(lab)
    yield bench
    bench.close()


def apply(bench: HostBench, state: HostState) -> bool:
    with bench.machine.entered():
        return networks.HostNetworks(bench.config, bench.paths).apply(state)


def plug(lab: Topology, bench: HostBench, label: str, bridge: str, cidr: str) -> Machine:
    """A machine in the place of a VM: one link, a port of the bridge."""
    guest = lab.machine(label)
    port = f"p-{label}"
    lab.wire(guest, "eth0", bench.machine, port)
    bench.machine.run("ip", "link", "set", port, "master", bridge)
    guest.run("ip", "addr", "add", cidr, "dev", "eth0")
    return guest


def serve(machine: Machine, address: str, port: int) -> None:
    """A TCP server that says hello."""
    machine.start("socat", f"TCP-LISTEN:{port},bind={address},reuseaddr,fork", "SYSTEM:echo hello")
    eventually(lambda: f":{port} " in machine.run("ss", "-ltn").stdout, f"port {port} listens")


def hears(machine: Machine, address: str, port: int) -> bool:
    said = machine.run(
        "socat", "-T2", "-", f"TCP:{address}:{port},connect-timeout=2", check=False, timeout=15
    )
    return "hello" in said.stdout


def test_own_bridges_come_before_any_document_and_stay(host: HostBench) -> None:
    with host.machine.entered():
        networks.HostNetworks(host.config, host.paths).reapply()
    assert {CLOUD, MANAGEMENT, PUBLIC_BRIDGE} <= host.links()
    apply(host, HostState(generation=1, host=host.host))
    assert {CLOUD, MANAGEMENT, PUBLIC_BRIDGE} <= host.links()
    assert "169.254.0.1/16" in host.machine.run("ip", "-4", "addr", "show", CLOUD).stdout


def test_networks_by_difference(host: HostBench) -> None:
    network = GuestNetwork(id=str(uuid4()), vni=77, peers=("172.31.240.2", "172.31.240.3"))
    state = HostState(generation=1, host=host.host, networks=(network,), bridges=(Bridge(name="extra0"),))
    assert apply(host, state)
    assert {"brvx-77", "vxlan77", "extra0"} <= host.links()
    described = host.machine.run("ip", "-d", "link", "show", "vxlan77").stdout
    assert "dstport 4789" in described
    assert "mtu 1450" in described
    assert "master brvx-77" in described
    index = host.machine.run("cat", "/sys/class/net/brvx-77/ifindex").stdout
    assert not apply(host, state), "the same document must change nothing"

    fewer = HostState(
        generation=2,
        host=host.host,
        networks=(GuestNetwork(id=network.id, vni=77, peers=("172.31.240.3",)),),
    )
    assert apply(host, fewer)
    flooded = re.findall(
        r"00:00:00:00:00:00 dev vxlan77 dst (\S+)", host.machine.run("bridge", "fdb", "show").stdout
    )
    assert flooded == ["172.31.240.3"]
    assert host.machine.run("cat", "/sys/class/net/brvx-77/ifindex").stdout == index, "it was made anew"
    assert "extra0" not in host.links()


def test_a_foreign_bridge_is_not_touched_and_the_last_good_state_is_back(host: HostBench) -> None:
    apply(host, HostState(generation=1, host=host.host))
    host.machine.run("ip", "link", "add", "docker0", "type", "bridge")
    bad = HostState(generation=2, host=host.host, bridges=(Bridge(name="extra0"), Bridge(name="docker0")))
    with pytest.raises(ApplyFailed, match="docker0"):
        apply(host, bad)
    assert "docker0" in host.links()
    assert "extra0" not in host.links()


def test_uplinks_are_ports_and_other_ports_stay(lab: Topology, host: HostBench) -> None:
    host.machine.run("ip", "link", "add", "nic0", "type", "veth", "peer", "name", "nic1")
    host.machine.run("ip", "link", "set", "nic0", "alias", "rack 7")
    host.machine.run("ip", "link", "add", "nic2", "type", "veth", "peer", "name", "nic3")

    def state(generation: int, uplink: str) -> HostState:
        return HostState(generation=generation, host=host.host, bridges=(Bridge(name="lan0", uplink=uplink),))

    def ports() -> set[str]:
        return set(
            re.findall(r"^\d+: ([\w-]+)[@:].* master lan0 ", host.machine.run("bridge", "link").stdout, re.M)
        )

    apply(host, state(1, "nic2"))
    plug(lab, host, "guest", "lan0", "10.9.9.9/24")
    assert ports() == {"nic2", "p-guest"}
    assert not apply(host, state(2, "nic2"))
    apply(host, state(3, ""))
    assert ports() == {"p-guest"}
    assert "pileus" not in host.machine.run("ip", "link", "show", "nic2").stdout
    apply(host, state(4, "nic0"))
    assert not apply(host, state(5, "nic0"))
    apply(host, state(6, ""))
    assert "alias rack 7" in host.machine.run("ip", "link", "show", "nic0").stdout


def test_an_older_document_is_refused(host: HostBench) -> None:
    apply(host, HostState(generation=3, host=host.host))
    with pytest.raises(StaleGeneration, match="generation 2 is older than 3"):
        apply(host, HostState(generation=2, host=host.host))


def test_a_closed_public_network(lab: Topology, host: HostBench) -> None:
    """Guests reach each other and are reached by the host; they reach neither its services nor beyond."""
    outside = lab.machine("outside")
    lab.wire(host.machine, "up0", outside, "eth0")
    host.machine.run("ip", "addr", "add", "198.51.100.1/24", "dev", "up0")
    outside.run("ip", "addr", "add", "198.51.100.2/24", "dev", "eth0")
    outside.run("ip", "route", "add", "default", "via", "198.51.100.1")
    host.machine.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    apply(host, HostState(generation=1, host=host.host))
    guest = plug(lab, host, "guest", PUBLIC_BRIDGE, "172.31.241.20/24")
    other = plug(lab, host, "other", PUBLIC_BRIDGE, "172.31.241.21/24")
    guest.run("ip", "route", "add", "default", "via", PUBLIC)
    serve(guest, "172.31.241.20", 80)
    serve(outside, "198.51.100.2", 80)
    for port in (22, 8445):
        serve(host.machine, "0.0.0.0", port)  # noqa: S104 (inside a namespace)

    assert hears(host.machine, "172.31.241.20", 80), "the host, where the browser runs, must reach guests"
    assert hears(other, "172.31.241.20", 80)
    assert hears(host.machine, "198.51.100.2", 80)
    assert not hears(guest, PUBLIC, 22), "guests must not reach the host's services"
    assert not hears(guest, ADDRESS, 8445), "nor the agent, by another of the host's addresses"
    assert not hears(guest, "198.51.100.2", 80), "nor leave the machine"
    assert not hears(outside, "172.31.241.20", 80)


def test_masquerade_opens_the_way_out_only_and_is_undone(lab: Topology, host: HostBench) -> None:
    outside = lab.machine("outside")
    lab.wire(host.machine, "up0", outside, "eth0")
    host.machine.run("ip", "addr", "add", "198.51.100.1/24", "dev", "up0")
    outside.run("ip", "addr", "add", "198.51.100.2/24", "dev", "eth0")
    outside.run("ip", "route", "add", "172.31.241.0/24", "via", "198.51.100.1")
    host.machine.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
    apply(host, HostState(generation=1, host=host.host, masquerade="up0"))
    guest = plug(lab, host, "guest", PUBLIC_BRIDGE, "172.31.241.20/24")
    guest.run("ip", "route", "add", "default", "via", PUBLIC)
    system = plug(lab, host, "system", CLOUD, "169.254.3.4/16")
    system.run("ip", "route", "add", "default", "via", "169.254.0.1")
    serve(guest, "172.31.241.20", 80)
    serve(outside, "198.51.100.2", 80)

    assert hears(guest, "198.51.100.2", 80)
    assert not hears(outside, "172.31.241.20", 80), "nobody comes in by himself"
    assert not hears(system, "198.51.100.2", 80), "the link-local network never leaves"

    apply(host, HostState(generation=2, host=host.host))
    assert not hears(guest, "198.51.100.2", 80)
    forwarding = host.machine.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout
    assert forwarding == "0\n", "the machine's own setting must be back"


def test_an_uplink_that_is_not_there_is_named(host: HostBench) -> None:
    with pytest.raises(ApplyFailed, match="no network interface 'eth7'"):
        apply(host, HostState(generation=1, host=host.host, masquerade="eth7"))


def test_management_reaches_the_agent_only(lab: Topology, host: HostBench) -> None:
    apply(host, HostState(generation=1, host=host.host))
    proxy = plug(lab, host, "proxy", MANAGEMENT, "172.31.240.30/24")
    for port in (22, 8447):
        serve(host.machine, ADDRESS, port)
    assert hears(proxy, ADDRESS, 8447)
    assert not hears(proxy, ADDRESS, 22)
    system = plug(lab, host, "system", CLOUD, "169.254.3.4/16")
    assert not hears(system, "169.254.0.1", 22)
    assert system.answers("ping", "-c1", "-W2", "169.254.0.1")


def test_vxlan_joins_two_hosts_and_keeps_networks_apart(lab: Topology) -> None:
    first, second = HostBench(lab), HostBench(lab)
    try:
        second.config = second.config.__class__(
            **{
                **{name: getattr(second.config, name) for name in second.config.__struct_fields__},
                "management_address": "172.31.240.2",
                "bridges": (Bridge(name=MANAGEMENT, addresses=("172.31.240.2/24",)),),
            }
        )
        networks_of = (
            GuestNetwork(id=str(uuid4()), vni=5, peers=("172.31.240.1", "172.31.240.2")),
            GuestNetwork(id=str(uuid4()), vni=6, peers=("172.31.240.1", "172.31.240.2")),
        )
        for bench in (first, second):
            apply(bench, HostState(generation=1, host=bench.host, networks=networks_of))
        lab.wire(first.machine, "trunk", second.machine, "trunk")
        for bench in (first, second):
            bench.machine.run("ip", "link", "set", "trunk", "master", MANAGEMENT)
        one = plug(lab, first, "one", "brvx-5", "10.1.1.1/24")
        two = plug(lab, second, "two", "brvx-5", "10.1.1.2/24")
        three = plug(lab, second, "three", "brvx-6", "10.1.1.3/24")
        assert one.answers("ping", "-c1", "-W2", "10.1.1.2")
        assert two.answers("ping", "-c1", "-W2", "10.1.1.1")
        assert not one.answers("ping", "-c1", "-W2", "10.1.1.3")
        assert not three.answers("ping", "-c1", "-W2", "10.1.1.1")
    finally:
        first.close()
        second.close()


def test_everything_goes_again(host: HostBench) -> None:
    before = host.links()
    network = GuestNetwork(id=str(uuid4()), vni=77, peers=("172.31.240.2",))
    apply(host, HostState(generation=1, host=host.host, networks=(network,)))
    with host.machine.entered():
        assert networks.remove_all(host.paths) >= 4
    assert host.links() == before
    assert "pileus" not in host.machine.run("nft", "list", "ruleset").stdout
