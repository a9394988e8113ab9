"""Whether the NICs carry what they should, and whether the default gateway is alive."""

from systemvm.engine.errors import CommandError
from systemvm.engine.service import Doors
from systemvm.services.interfaces.kernel import opened
from systemvm.services.interfaces.model import Seen
from systemvm.spec.network import Nic
from systemvm.spec.state import State
from systemvm.spec.types import ProbeResult

#: Seconds to wait for the gateway's ARP answer; it is one hop away.
GATEWAY_SECONDS = 2


def probe(state: State, doors: Doors) -> list[ProbeResult]:
    """One result per NIC, one per default gateway (a real ARP exchange)."""
    with opened() as kernel:
        seen = kernel.read()
    results = [_probe_nic(nic, seen) for nic in state.interfaces.nics]
    for route in state.interfaces.routes:
        if route.destination == "0.0.0.0/0":
            results.append(_probe_gateway(route.gateway, route.interface, doors))
    return results


def _probe_nic(nic: Nic, seen: Seen) -> ProbeResult:
    link = next((link for link in seen.links if link.name == nic.name and link.mac == nic.mac), None)
    if link is None:
        return _result(nic.name, False, f"there is no link {nic.name} with MAC {nic.mac}")
    present = {address.cidr for address in seen.addresses if address.index == link.index}
    missing = [cidr for cidr in nic.addresses if cidr not in present]
    wrong = [f"missing {', '.join(missing)}"] if missing else []
    wrong += [] if link.is_up else ["down"]
    wrong += [] if link.mtu == nic.mtu else [f"MTU {link.mtu} instead of {nic.mtu}"]
    return _result(
        nic.name, not wrong, "; ".join(wrong) or f"up with {', '.join(nic.addresses) or 'no address'}"
    )


def _probe_gateway(gateway: str, interface: str, doors: Doors) -> ProbeResult:
    wait = str(GATEWAY_SECONDS)
    try:
        doors.run(("arping", "-f", "-c", wait, "-w", wait, "-I", interface, gateway))
    except CommandError as error:
        if error.returncode != 1:
            raise
        silence = f"{gateway} did not answer ARP on {interface} within {wait} s; is the network behind it up?"
        return _result(f"gateway {gateway}", False, silence)
    return _result(f"gateway {gateway}", True, f"answers ARP on {interface}")


def _result(name: str, healthy: bool, message: str) -> ProbeResult:
    return ProbeResult(service="interfaces", name=name, healthy=healthy, message=message)
