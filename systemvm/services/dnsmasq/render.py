"""dnsmasq's main file, and the two that it reads again on SIGHUP: hosts for DHCP and names for DNS."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from systemvm.engine.daemons import Daemon
from systemvm.engine.service import File, NativeCheck, Rendering
from systemvm.engine.templates import render_template, word
from systemvm.services.dnsmasq.layout import ServedSubnet, served_subnets
from systemvm.spec.state import State

FOLDER = "/etc/pileus/dnsmasq"
CONFIG, DHCP_HOSTS, DNS_HOSTS = f"{FOLDER}/dnsmasq.conf", f"{FOLDER}/dhcp-hosts", f"{FOLDER}/dns-hosts"
LEASES = "/var/lib/pileus/dnsmasq/leases"
#: The name by which guests of CloudStack find this machine.
DATA_SERVER = "data-server"


@dataclass(frozen=True)
class Served:
    """Which MAC each address belongs to; and link, own address and network of each subnet."""

    hosts: tuple[tuple[str, str], ...]
    subnets: tuple[tuple[str, IPv4Address, IPv4Network], ...]


def render(state: State) -> Rendering:
    """Three files and a daemon; nothing if the section is absent or serves no subnet."""
    section = state.dnsmasq
    subnets = served_subnets(state)
    if section is None or not subnets:
        return Rendering()
    here = Path(__file__).parent
    config = render_template(
        here,
        "dnsmasq.conf.j2",
        state,
        subnets=subnets,
        links=tuple(dict.fromkeys(each.subnet.interface for each in subnets)),
        domains=tuple(dict.fromkeys(each.subnet.domain for each in subnets)),
        upstream=section.upstream,
        secondary=[host.mac for each in subnets for host in each.hosts if not host.default],
        dhcp_hosts=DHCP_HOSTS,
        dns_hosts=DNS_HOSTS,
        leases=LEASES,
        data_server=DATA_SERVER,
    )
    dhcp_hosts = render_template(here, "dhcp-hosts.j2", state, lines=list(_dhcp_lines(subnets)))
    dns_hosts = render_template(here, "dns-hosts.j2", state, lines=list(_dns_lines(subnets)))
    return Rendering(
        files=(File(CONFIG, config), File(DHCP_HOSTS, dhcp_hosts), File(DNS_HOSTS, dns_hosts)),
        checks=(NativeCheck(("dnsmasq", "--test", f"--conf-file={{stage}}{CONFIG}")),),
        daemons=(daemon(config),),
        kernel=Served(
            hosts=tuple((host.address, host.mac) for each in subnets for host in each.hosts),
            subnets=tuple((each.subnet.interface, each.own, each.network) for each in subnets),
        ),
    )


def daemon(config: str) -> Daemon:
    """dnsmasq with this main file; another text is another daemon, because only a start reads it."""
    return Daemon(
        name="dnsmasq",
        argv=("dnsmasq", "--keep-in-foreground", f"--conf-file={CONFIG}"),
        reload=("kill", "-HUP", "{pid}"),
        environment={"PILEUS_CONFIG": hashlib.sha256(config.encode()).hexdigest()},
    )


def _dhcp_lines(subnets: Iterable[ServedSubnet]) -> Iterable[str]:
    for each in subnets:
        for host in each.hosts:
            name = each.full_name(host)
            # No tags here: dnsmasq 2.90 dies of SIGHUP after it has served a host of this file that has one.
            yield f"{word(host.mac)},{word(host.address)},{word(name)},infinite"


def _dns_lines(subnets: Iterable[ServedSubnet]) -> Iterable[str]:
    for each in subnets:
        yield f"{each.own} {DATA_SERVER}.{word(each.subnet.domain)} {DATA_SERVER}"
        for host in each.hosts:
            yield f"{word(host.address)} {word(each.full_name(host))}"
