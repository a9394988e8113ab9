"""Whether guests are really served: a DHCP exchange and DNS queries, as a guest would make them."""

from systemvm.engine.service import Doors
from systemvm.services.dnsmasq.dhcp import discover
from systemvm.services.dnsmasq.dns import NoAnswer, resolve
from systemvm.services.dnsmasq.layout import ServedSubnet, served_subnets
from systemvm.services.dnsmasq.render import DATA_SERVER
from systemvm.spec.state import State
from systemvm.spec.types import ProbeResult

#: Seconds for one exchange with a server on this machine; a busy one is asked again.
ANSWER_SECONDS = 2.0


def probe(state: State, doors: Doors) -> list[ProbeResult]:
    """Per subnet one offer to its first host, and its name; a subnet without hosts resolves data-server."""
    results = []
    for each in served_subnets(state):
        results.append(_probe_dns(each))
        if each.hosts:
            results.append(_probe_dhcp(each))
    return results


def _probe_dhcp(each: ServedSubnet) -> ProbeResult:
    host, link = each.hosts[0], each.subnet.interface
    name = f"DHCP on {link} {each.network}"
    try:
        offered = discover(link, each.own, host.mac, ANSWER_SECONDS)
    except OSError as error:
        return _result(name, False, f"no discovery could be sent on {link}: {error}")
    if offered is None:
        return _result(name, False, f"nothing is offered to {host.mac}, which should get {host.address}")
    healthy = str(offered) == host.address
    return _result(name, healthy, f"{host.mac} is offered {offered}, it should get {host.address}")


def _probe_dns(each: ServedSubnet) -> ProbeResult:
    name = f"DNS on {each.subnet.interface} {each.network}"
    asked, expected = DATA_SERVER, str(each.own)
    if each.hosts:
        asked, expected = each.full_name(each.hosts[0]), each.hosts[0].address
    try:
        found = [str(address) for address in resolve(asked, each.own, ANSWER_SECONDS)]
    except NoAnswer as silence:
        return _result(name, False, str(silence))
    return _result(
        name, expected in found, f"{asked} is {', '.join(found) or 'nothing'}, expected {expected}"
    )


def _result(name: str, healthy: bool, message: str) -> ProbeResult:
    return ProbeResult(service="dnsmasq", name=name, healthy=healthy, message=message)
