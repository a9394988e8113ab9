"""The host's own nftables table: what is closed stays closed, and guests cannot reach the host's services.

Other tables (the operator's, Docker's) are left alone; a packet passes only if none of them drops it.
"""

import ipaddress
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from appliance.hostagent.config import HostAgentConfig
from appliance.hostagent.topology import VXLAN_PORT, guest_bridge
from systemvm.engine.command import run
from systemvm.engine.templates import quoted
from systemvm.spec.host import LINKLOCAL_GATEWAY, SEED_PORT, Bridge, HostState

TABLE = ("inet", "pileus_host")


def render_firewall(state: HostState, config: HostAgentConfig, *, is_router: bool) -> str:
    """The ruleset; pure. `is_router`: the machine routes for others too, by its operator's will.

    A bridge with an uplink belongs to the operator's network as well: the host's services on it are the
    operator's firewall's business. All other bridges are closed.
    """
    guests = [guest_bridge(network.vni) for network in state.networks]
    closed = [bridge for bridge in state.bridges if not bridge.uplink]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 (HTML escapes have no meaning to nft; values are quoted)
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["quoted"] = quoted
    return environment.get_template("firewall.nft.j2").render(
        bridges=[bridge.name for bridge in state.bridges] + guests,
        closed=[bridge.name for bridge in closed] + guests,
        own_addresses=[address.partition("/")[0] for bridge in closed for address in bridge.addresses],
        management=[bridge.name for bridge in state.bridges if _has(bridge, config.management_address)],
        ports=[
            config.agent_port,
            config.tunnel_port,
            config.console_relay_port,
            SEED_PORT,
            config.migration_port,
        ],
        vxlan_port=VXLAN_PORT,
        masqueraded={
            bridge.name: [str(ipaddress.ip_interface(address).network) for address in bridge.addresses]
            for bridge in masqueraded_bridges(state, config)
        },
        uplink=state.masquerade,
        is_router=is_router,
    )


def masqueraded_bridges(state: HostState, config: HostAgentConfig) -> list[Bridge]:
    """The bridges whose guests leave by the uplink: the public ones that have no way out of their own."""
    if not state.masquerade:
        return []
    return [
        bridge
        for bridge in state.bridges
        if bridge.addresses and not bridge.uplink and _is_public(bridge, config)
    ]


def apply_firewall(ruleset: str) -> None:
    """Replace our table in one transaction. Raises CommandError with nft's words."""
    run(("nft", "-c", "-f", "-"), stdin=ruleset)
    run(("nft", "-f", "-"), stdin=ruleset)


def remove_firewall() -> None:
    """Remove our table, if it is there."""
    name = " ".join(TABLE)
    run(("nft", "-f", "-"), stdin=f"table {name}\ndelete table {name}\n")


def _is_public(bridge: Bridge, config: HostAgentConfig) -> bool:
    return not _has(bridge, LINKLOCAL_GATEWAY) and not _has(bridge, config.management_address)


def _has(bridge: Bridge, address: str) -> bool:
    return any(cidr.partition("/")[0] == address for cidr in bridge.addresses)
