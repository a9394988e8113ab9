"""Real DHCP clients and DNS queries against a real dnsmasq, from guests and from outside."""

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from systemvm.services.dnsmasq.reads import READS
from systemvm.spec.network import DhcpHost, DhcpSubnet, Dnsmasq, Nftables
from tests.netns.router_bench import ADDRESSES, GATEWAY, INTERNET, MACS, PUBLIC, Guest, RouterBench
from tests.netns.topology import Machine, Topology, eventually

pytestmark = pytest.mark.netns

#: What udhcpc calls with its answer in the environment: prints it, and configures the link.
SCRIPT = """#!/bin/sh
[ "$1" = bound ] || exit 0
set | grep -E "^(ip|subnet|mask|router|dns|domain|search|hostname|mtu|lease|serverid)=" | tr -d "'"
ip addr flush dev $interface; ip addr add $ip/$mask dev $interface
"""
HOSTS = tuple(
    DhcpHost(interface="eth2", mac=MACS[name], address=ADDRESSES[name], hostname=f"vm-{name}")
    for name in ("a", "b")
)
SUBNET = DhcpSubnet(interface="eth2", network="10.1.1.0/24", gateway=GATEWAY, domain="cs1.internal", mtu=1450)


@pytest.fixture
def bench(lab: Topology) -> RouterBench:
    made = RouterBench(lab)
    for guest in made.guests.values():
        guest.machine.run("ip", "addr", "flush", "dev", "eth0")
    return made


def dnsmasq(**changes: Any) -> Dnsmasq:
    return Dnsmasq(**{"subnets": (SUBNET,), "hosts": HOSTS, **changes})


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "udhcpc.sh"
    path.write_text(SCRIPT)
    path.chmod(0o755)
    return str(path)


def lease(machine: Machine, script: str, *options: str, tries: int = 3) -> dict[str, str]:
    """What a real DHCP client gets; empty when it gets nothing."""
    done = machine.run(
        "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", str(tries), "-T", "1", "-s", script,
        "-O", "search", "-O", "mtu", *options, check=False,
    )  # fmt: skip
    return dict(line.partition("=")[::2] for line in done.stdout.splitlines() if "=" in line)


def dig(machine: Machine, name: str, server: str = GATEWAY, *options: str) -> list[str]:
    done = machine.run("dig", "+short", "+time=1", "+tries=1", f"@{server}", *options, name, check=False)
    return [line for line in done.stdout.splitlines() if not line.startswith(";")]


def test_guests_get_their_leases_and_options(bench: RouterBench, script: str) -> None:
    bench.put(dnsmasq=dnsmasq(), nftables=Nftables())
    got = lease(bench.guests["a"].machine, script)
    assert got["ip"] == "10.1.1.10"
    assert got["mask"] == "24"
    assert got["router"] == got["dns"] == got["serverid"] == GATEWAY
    assert got["hostname"] == "vm-a"
    assert got["domain"] == got["search"] == "cs1.internal"
    assert got["mtu"] == "1450"
    assert int(got["lease"]) == 2**32 - 1
    assert lease(bench.guests["b"].machine, script)["ip"] == "10.1.1.11"
    with bench.router.entered():
        held = {row["address"]: row["mac"] for row in READS["leases"](bench.doors)}
    assert held == {"10.1.1.10": MACS["a"], "10.1.1.11": MACS["b"]}


def test_unknown_mac_gets_nothing(bench: RouterBench, script: str) -> None:
    bench.put(dnsmasq=dnsmasq(), nftables=Nftables())
    stranger = bench.add_guest("c", "", "0e:00:00:00:01:0c", configured=False)
    assert lease(stranger.machine, script, tries=2) == {}


def test_secondary_nic_gets_neither_router_nor_dns(bench: RouterBench, script: str) -> None:
    hosts = (msgspec.structs.replace(HOSTS[0], default=False), HOSTS[1])
    bench.put(dnsmasq=dnsmasq(hosts=hosts), nftables=Nftables())
    got = lease(bench.guests["a"].machine, script)
    assert got["ip"] == "10.1.1.10"
    assert "router" not in got
    assert "dns" not in got


def test_foreign_resolvers_and_gateway(bench: RouterBench, script: str) -> None:
    subnet = msgspec.structs.replace(SUBNET, dns=("192.0.2.53", "192.0.2.54"), gateway="10.1.1.254")
    bench.put(dnsmasq=dnsmasq(subnets=(subnet,)), nftables=Nftables())
    got = lease(bench.guests["a"].machine, script)
    assert got["dns"] == "192.0.2.53 192.0.2.54"
    assert got["router"] == "10.1.1.254"


@pytest.mark.parametrize("with_client_id", [True, False])
def test_address_that_changed_hands_is_served_at_once(
    bench: RouterBench, script: str, with_client_id: bool
) -> None:
    bench.put(dnsmasq=dnsmasq(), nftables=Nftables())
    options = () if with_client_id else ("-C",)
    assert lease(bench.guests["a"].machine, script, *options)["ip"] == "10.1.1.10"
    before = bench.doors.daemons.pid
    with bench.router.entered():
        first = before("dnsmasq")
    heir = bench.add_guest("c", "", "0e:00:00:00:01:0c", configured=False)
    hosts = (msgspec.structs.replace(HOSTS[0], mac=heir.mac, hostname="heir"), HOSTS[1])
    bench.put(dnsmasq=dnsmasq(hosts=hosts), nftables=Nftables())
    assert lease(heir.machine, script, tries=1)["ip"] == "10.1.1.10"
    with bench.router.entered():
        assert bench.doors.daemons.pid("dnsmasq") == first
        held = {row["address"]: row["mac"] for row in READS["leases"](bench.doors)}
    assert held == {"10.1.1.10": heir.mac}


def test_addresses_swap_between_guests(bench: RouterBench, script: str) -> None:
    bench.put(dnsmasq=dnsmasq(), nftables=Nftables())
    for guest in bench.guests.values():
        lease(guest.machine, script)
    a, b = HOSTS
    swapped = (msgspec.structs.replace(a, mac=b.mac), msgspec.structs.replace(b, mac=a.mac))
    bench.put(dnsmasq=dnsmasq(hosts=swapped), nftables=Nftables())
    assert lease(bench.guests["a"].machine, script, tries=1)["ip"] == "10.1.1.11"
    assert lease(bench.guests["b"].machine, script, tries=1)["ip"] == "10.1.1.10"


def test_leases_survive_a_restart_of_dnsmasq(bench: RouterBench, script: str) -> None:
    bench.put(dnsmasq=dnsmasq(), nftables=Nftables())
    lease(bench.guests["a"].machine, script)
    # Another main file, so another start.
    bench.put(dnsmasq=dnsmasq(upstream=("192.0.2.1",)), nftables=Nftables())
    with bench.router.entered():
        held = {row["address"] for row in READS["leases"](bench.doors)}
    assert held == {"10.1.1.10"}
    assert lease(bench.guests["a"].machine, script)["ip"] == "10.1.1.10"


def test_names_resolve_for_guests_and_for_nobody_else(bench: RouterBench) -> None:
    guest = use_static(bench.guests["a"])
    bench.put(dnsmasq=dnsmasq(), nftables=Nftables())
    assert dig(guest, "vm-b.cs1.internal") == ["10.1.1.11"]
    assert dig(guest, "vm-b.cs1.internal", GATEWAY, "+tcp") == ["10.1.1.11"]
    assert dig(guest, "data-server.") == [GATEWAY]
    assert guest.run("dig", "+short", f"@{GATEWAY}", "-x", "10.1.1.11").stdout == "vm-b.cs1.internal.\n"
    unknown = guest.run("dig", f"@{GATEWAY}", "nobody.cs1.internal").stdout
    assert "status: NXDOMAIN" in unknown
    assert dig(bench.internet, "vm-b.cs1.internal", PUBLIC) == []
    assert dig(bench.host, "vm-b.cs1.internal", "169.254.7.7") == []
    # Not the firewall alone: dnsmasq itself has no socket there.
    bench.router.run("nft", "flush", "ruleset")
    assert dig(bench.internet, "vm-b.cs1.internal", PUBLIC) == []
    assert dig(bench.host, "vm-b.cs1.internal", "169.254.7.7") == []


def use_static(guest: Guest) -> Machine:
    guest.machine.run("ip", "addr", "add", f"{guest.address}/24", "dev", "eth0")
    return guest.machine


def test_other_names_come_from_upstream_or_are_refused(bench: RouterBench, tmp_path: Path) -> None:
    guest = use_static(bench.guests["a"])
    bench.put(dnsmasq=dnsmasq(), nftables=Nftables())
    assert "status: REFUSED" in guest.run("dig", f"@{GATEWAY}", "www.example.com").stdout
    upstream = bench.internet.start(
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
        "--no-daemon", "--pid-file", "--address=/www.example.com/198.51.100.7", "--log-queries",
        "--log-facility=-",
    )  # fmt: skip
    eventually(lambda: dig(bench.internet, "www.example.com", INTERNET), "the upstream resolver answers")
    bench.put(dnsmasq=dnsmasq(upstream=(INTERNET,)), nftables=Nftables())
    assert dig(guest, "www.example.com") == ["198.51.100.7"]
    guest.run("dig", f"@{GATEWAY}", "nobody.cs1.internal")
    guest.run("dig", f"@{GATEWAY}", "-x", "10.1.1.200")
    upstream.terminate()
    assert upstream.stdout is not None
    asked = upstream.stdout.read()
    assert "cs1.internal" not in asked
    assert "in-addr.arpa" not in asked


@pytest.mark.parametrize("hostname", ["ignore", "12h", "infinite", "1234", "net", "7d", "set"])
def test_hostnames_that_dnsmasq_could_take_for_keywords(
    bench: RouterBench, script: str, hostname: str
) -> None:
    hosts = (msgspec.structs.replace(HOSTS[0], hostname=hostname), HOSTS[1])
    bench.put(dnsmasq=dnsmasq(hosts=hosts), nftables=Nftables())
    got = lease(bench.guests["a"].machine, script)
    assert got["ip"] == "10.1.1.10"
    assert got["hostname"] == hostname
    assert int(got["lease"]) == 2**32 - 1
    assert dig(bench.guests["a"].machine, f"{hostname}.cs1.internal") == ["10.1.1.10"]


def test_host_changes_need_no_restart(bench: RouterBench, script: str) -> None:
    bench.put(dnsmasq=dnsmasq(hosts=HOSTS[:1]), nftables=Nftables())
    with bench.router.entered():
        first = bench.doors.daemons.pid("dnsmasq")
    assert lease(bench.guests["b"].machine, script, tries=1) == {}
    bench.put(dnsmasq=dnsmasq(), nftables=Nftables())
    assert lease(bench.guests["b"].machine, script)["ip"] == "10.1.1.11"
    assert dig(bench.guests["b"].machine, "vm-b.cs1.internal") == ["10.1.1.11"]
    bench.put(dnsmasq=dnsmasq(hosts=HOSTS[:1]), nftables=Nftables())
    assert dig(bench.guests["b"].machine, "vm-b.cs1.internal") == []
    with bench.router.entered():
        assert bench.doors.daemons.pid("dnsmasq") == first


def test_probe_fails_when_dnsmasq_is_dead_deaf_or_serves_nothing(bench: RouterBench) -> None:
    bench.put(dnsmasq=dnsmasq(), nftables=Nftables())
    assert bench.unhealthy() == []
    config = bench.router.run("cat", "/etc/pileus/dnsmasq/dhcp-hosts").stdout
    with bench.router.entered():
        Path("/etc/pileus/dnsmasq/dhcp-hosts").write_text("")
        pid = bench.doors.daemons.pid("dnsmasq")
        bench.router.run("kill", "-HUP", str(pid))
    eventually(lambda: "nothing is offered" in " ".join(bench.unhealthy()), "DHCP is seen to be empty")
    assert "DNS" not in " ".join(bench.unhealthy())
    with bench.router.entered():
        Path("/etc/pileus/dnsmasq/dhcp-hosts").write_text(config)
        bench.router.run("kill", "-HUP", str(pid))
    eventually(lambda: bench.unhealthy() == [], "it serves again")
    bench.router.run("kill", "-STOP", str(pid))
    words = " ".join(bench.unhealthy())
    assert "did not answer" in words
    assert "nothing is offered" in words
    bench.router.run("kill", "-KILL", str(pid))
    assert "does not run" in " ".join(bench.unhealthy())


def test_ten_thousand_hosts(bench: RouterBench, script: str) -> None:
    subnet = msgspec.structs.replace(SUBNET, network="10.1.0.0/16")
    nics = list(bench.state().interfaces.nics)
    nics[1] = msgspec.structs.replace(nics[1], addresses=("10.1.1.1/16",))
    interfaces = msgspec.structs.replace(bench.state().interfaces, nics=tuple(nics))
    many = tuple(
        DhcpHost(
            interface="eth2",
            mac=f"0e:01:00:00:{i // 250:02x}:{i % 250:02x}",
            address=f"10.1.{i // 250 + 2}.{i % 250 + 1}",
            hostname=f"many-{i}",
        )
        for i in range(10_000)
    )
    started = time.monotonic()
    bench.put(
        interfaces=interfaces, dnsmasq=dnsmasq(subnets=(subnet,), hosts=(*many, *HOSTS)), nftables=Nftables()
    )
    first = time.monotonic() - started
    started = time.monotonic()
    bench.put(
        interfaces=interfaces,
        dnsmasq=dnsmasq(subnets=(subnet,), hosts=(*many[1:], *HOSTS)),
        nftables=Nftables(),
    )
    again = time.monotonic() - started
    assert lease(bench.guests["a"].machine, script)["ip"] == "10.1.1.10"
    assert dig(bench.guests["a"].machine, "many-9999.cs1.internal") == [many[-1].address]
    print(f"10,000 hosts: first apply {first:.2f} s, change of one {again:.2f} s")
    assert again < 20


def test_secondary_hosts_do_not_kill_dnsmasq_when_it_reads_again(bench: RouterBench, script: str) -> None:
    """dnsmasq 2.90 dies of SIGHUP after it served a tagged host of its hosts file; ours carry no tags."""
    secondary = msgspec.structs.replace(HOSTS[0], default=False)
    bench.put(dnsmasq=dnsmasq(hosts=(secondary, HOSTS[1])), nftables=Nftables())
    for guest in bench.guests.values():
        lease(guest.machine, script)
    bench.put(dnsmasq=dnsmasq(hosts=(secondary,)), nftables=Nftables())
    time.sleep(0.5)
    assert bench.unhealthy() == []
    assert "router" not in lease(bench.guests["a"].machine, script)
