"""Links, addresses and routes in a real kernel, seen from neighbours."""

import socket

import msgspec
import pytest

from systemvm.engine.errors import ApplyFailed
from systemvm.spec.bootstrap import CONTROL_LINK
from systemvm.spec.network import Route
from tests.netns.router_bench import GATEWAY, GUEST_MAC, INTERNET, PUBLIC_MAC, SERVER, RouterBench, interfaces
from tests.netns.topology import eventually

pytestmark = pytest.mark.netns


def addresses(bench: RouterBench, link: str) -> list[str]:
    words = bench.router.run("ip", "-4", "-br", "addr", "show", link).stdout.split()
    return words[2:]


def route_lines(bench: RouterBench) -> list[str]:
    return [line.strip() for line in bench.router.run("ip", "-4", "route").stdout.splitlines()]


def test_links_are_named_addressed_and_routed(bench: RouterBench) -> None:
    before = socket.gethostname()
    outcome = bench.put()
    assert all(probe.healthy for probe in outcome.probes), outcome.probes
    assert addresses(bench, "eth1") == ["203.0.113.5/24", "203.0.113.6/24", "203.0.113.7/24"]
    assert addresses(bench, "eth2") == ["10.1.1.1/24"]
    assert PUBLIC_MAC in bench.router.run("ip", "link", "show", "eth1").stdout
    assert GUEST_MAC in bench.router.run("ip", "link", "show", "eth2").stdout
    assert "default via 203.0.113.1 dev eth1 proto 80" in route_lines(bench)
    assert bench.router.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout == "1\n"
    assert bench.guests["a"].machine.answers("ping", "-c1", "-W3", GATEWAY)
    assert bench.router.answers("ping", "-c1", "-W3", SERVER)
    assert bench.router.run("hostname").stdout == "r-1-vm\n"
    assert socket.gethostname() == before, "this machine is not the router"


def test_second_apply_of_the_same_changes_nothing(bench: RouterBench) -> None:
    bench.put()
    before = bench.router.run("ip", "-4", "-d", "addr").stdout
    assert bench.put().result == "unchanged"
    with bench.router.entered():
        from systemvm.services.interfaces.kernel import opened
        from systemvm.services.interfaces.model import Wanted
        from systemvm.services.interfaces.plan import plan_addresses, plan_links, plan_routes

        wanted = Wanted(nics=interfaces().nics, routes=interfaces().routes)
        with opened() as kernel:
            seen = kernel.read()
        assert [*plan_links(wanted, seen), *plan_addresses(wanted, seen), *plan_routes(wanted, seen)] == []
    assert bench.router.run("ip", "-4", "-d", "addr").stdout == before


def test_names_can_be_swapped(bench: RouterBench) -> None:
    bench.put()
    public, guest = interfaces().nics
    swapped = (
        msgspec.structs.replace(public, name="eth2"),
        msgspec.structs.replace(guest, name="eth1"),
    )
    route = Route(destination="0.0.0.0/0", gateway=INTERNET, interface="eth2")
    bench.put(interfaces=interfaces(nics=swapped, routes=(route,)))
    assert GUEST_MAC in bench.router.run("ip", "link", "show", "eth1").stdout
    assert PUBLIC_MAC in bench.router.run("ip", "link", "show", "eth2").stdout
    assert bench.guests["a"].machine.answers("ping", "-c1", "-W3", GATEWAY)
    assert bench.router.answers("ping", "-c1", "-W3", SERVER)


def test_only_what_is_ours_is_deleted(bench: RouterBench) -> None:
    bench.put()
    bench.router.run("ip", "addr", "add", "203.0.113.50/24", "dev", "eth1")
    bench.router.run("ip", "route", "add", "192.0.2.0/24", "via", INTERNET)
    control = bench.router.run("ip", "-4", "-d", "addr", "show", CONTROL_LINK).stdout
    bench.put(interfaces=interfaces(public=("203.0.113.5",), routes=()))
    assert addresses(bench, "eth1") == ["203.0.113.5/24", "203.0.113.50/24"]
    assert not [line for line in route_lines(bench) if "default" in line]
    assert [line for line in route_lines(bench) if line.startswith("192.0.2.0/24")]
    bench.put(interfaces=interfaces(nics=(), routes=()))
    assert addresses(bench, "eth1") == ["203.0.113.50/24"]
    assert addresses(bench, "eth2") == []
    assert bench.router.run("ip", "-4", "-d", "addr", "show", CONTROL_LINK).stdout == control
    assert bench.host.answers("ping", "-c1", "-W3", "169.254.7.7")


def test_first_address_becomes_primary_and_routes_survive(bench: RouterBench) -> None:
    bench.put()
    bench.put(interfaces=interfaces(public=("203.0.113.7", "203.0.113.5")))
    assert addresses(bench, "eth1") == ["203.0.113.7/24", "203.0.113.5/24"]
    assert "default via 203.0.113.1 dev eth1 proto 80" in route_lines(bench)
    chosen = bench.router.run("ip", "route", "get", SERVER).stdout
    assert "src 203.0.113.7" in chosen


def test_neighbours_learn_a_new_address_at_once(bench: RouterBench) -> None:
    bench.put()
    stale = "0e:00:00:00:99:99"
    # A neighbour that believes another machine has the address, as after a failover.
    bench.internet.run(
        "ip", "neigh", "replace", "203.0.113.77", "lladdr", stale, "dev", "eth0", "nud", "reachable"
    )
    # A neighbour entry is not replaced within `locktime` of its last change (arp(7)).
    bench.internet.run("sysctl", "-qw", "net.ipv4.neigh.eth0.locktime=0")
    bench.put(interfaces=interfaces(public=("203.0.113.5", "203.0.113.77")))
    eventually(
        lambda: PUBLIC_MAC in bench.internet.run("ip", "neigh", "show", "203.0.113.77").stdout,
        "the neighbour knows the new MAC",
        seconds=2,
    )


def test_missing_nic_is_named_and_everything_is_as_before(bench: RouterBench) -> None:
    bench.put()
    before = bench.router.run("ip", "-4", "-d", "addr").stdout
    public, guest = interfaces().nics
    ghost = msgspec.structs.replace(guest, mac="0e:00:00:00:77:77", name="eth3", addresses=("10.9.9.1/24",))
    with pytest.raises(ApplyFailed, match="eth3: no link has MAC 0e:00:00:00:77:77"):
        bench.put(interfaces=interfaces(nics=(public, guest, ghost)))
    assert bench.router.run("ip", "-4", "-d", "addr").stdout == before


def test_control_link_is_refused_by_its_mac(bench: RouterBench) -> None:
    public, guest = interfaces().nics
    thief = msgspec.structs.replace(guest, mac="0e:00:00:00:00:01")
    with pytest.raises(ApplyFailed, match="link0's MAC"):
        bench.put(interfaces=interfaces(nics=(public, thief)))
    assert addresses(bench, CONTROL_LINK) == ["169.254.7.7/16"]


def test_probe_tells_a_dead_gateway_and_a_lost_address(bench: RouterBench) -> None:
    bench.put()
    assert bench.unhealthy() == []
    bench.router.run("ip", "addr", "del", "203.0.113.6/24", "dev", "eth1")
    bench.internet.run("ip", "link", "set", "eth0", "down")
    words = " ".join(bench.unhealthy())
    assert "missing 203.0.113.6/24" in words
    assert "203.0.113.1 did not answer ARP on eth1" in words
