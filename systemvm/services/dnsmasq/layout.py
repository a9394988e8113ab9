"""Which host belongs to which subnet, and which address of this machine serves it."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from systemvm.engine.problems import addresses_of, nics_by_name
from systemvm.spec.network import DhcpHost, DhcpSubnet
from systemvm.spec.state import State


@dataclass(frozen=True)
class ServedSubnet:
    """A subnet with its hosts; `own` is this machine's address in it."""

    subnet: DhcpSubnet
    network: IPv4Network
    own: IPv4Address
    hosts: tuple[DhcpHost, ...]

    @property
    def tag(self) -> str:
        """What dnsmasq calls clients of this subnet."""
        return f"subnet-{self.network.network_address}"

    def full_name(self, host: DhcpHost) -> str:
        """Name with domain.

        dnsmasq would take some bare labels (`ignore`, `12h`, `infinite`) for keywords of `dhcp-host`.
        """
        return f"{host.hostname}.{self.subnet.domain}"


def served_subnets(state: State) -> list[ServedSubnet]:
    """The subnets of a checked document, in its order."""
    section = state.dnsmasq
    if section is None:
        return []
    nics = nics_by_name(state)
    networks = [IPv4Network(subnet.network) for subnet in section.subnets]
    hosts: dict[int, list[DhcpHost]] = {i: [] for i in range(len(networks))}
    by_link: dict[str, list[int]] = {}
    for i, subnet in enumerate(section.subnets):
        by_link.setdefault(subnet.interface, []).append(i)
    for host in section.hosts:
        address = IPv4Address(host.address)
        for i in by_link.get(host.interface, ()):
            if address in networks[i]:
                hosts[i].append(host)
    served = []
    for i, subnet in enumerate(section.subnets):
        own = next(a.ip for a in addresses_of(nics[subnet.interface]) if a.ip in networks[i])
        served.append(ServedSubnet(subnet, networks[i], own, tuple(hosts[i])))
    return served
