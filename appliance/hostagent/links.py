"""Reads and changes the host's links over netlink. Only links that carry our mark are ever read as ours,
changed or removed; an uplink is only made a port, and released.
"""

import ipaddress
import socket
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute, NetlinkError

from appliance.hostagent.errors import Conflict, Refused
from appliance.hostagent.topology import (
    VXLAN_PORT,
    AddAddress,
    AddBridge,
    AddPeer,
    AddTunnel,
    BridgeLink,
    DeleteLink,
    Enslave,
    RemoveAddress,
    RemovePeer,
    SetMtu,
    Step,
    Topology,
    TunnelLink,
)
from appliance.hostagent.uplinks import MARK

#: Put before the operator's own IFLA_IFALIAS of an interface while it is a bridge's uplink.
UPLINK_MARK = "pileus-uplink"
# linux/neighbour.h
_NTF_SELF = 0x02
_NUD_PERMANENT = 0x80
_ANY_STATION = "00:00:00:00:00:00"


def read_topology() -> Topology:
    """Our links as they are."""
    with IPRoute() as netlink:
        links = list(netlink.get_links())
        names = {link["index"]: link.get("ifname") for link in links}
        ours = [link for link in links if link.get("ifalias") == MARK]
        bridges = [_read_bridge(netlink, link, links) for link in ours if _kind(link) == "bridge"]
        tunnels = [_read_tunnel(netlink, link, names) for link in ours if _kind(link) == "vxlan"]
    return Topology({link.name: link for link in bridges}, {link.name: link for link in tunnels})


def execute(steps: list[Step]) -> None:
    """Do the steps. Raises Conflict when a link of that name is not ours, Refused with the kernel's words."""
    with IPRoute() as netlink:
        for step in steps:
            try:
                _execute(netlink, step)
            except NetlinkError as error:
                raise Refused(f"{step}: {error}") from None


def _execute(netlink: Any, step: Step) -> None:
    match step:
        case DeleteLink(name):
            netlink.link("del", index=_index(netlink, name))
        case AddBridge(name):
            _add_bridge(netlink, name)
        case AddTunnel(tunnel):
            _add_tunnel(netlink, tunnel)
        case SetMtu(name, mtu):
            netlink.link("set", index=_index(netlink, name), mtu=mtu)
        case Enslave(port, bridge):
            _enslave(netlink, port, bridge)
        case AddAddress(name, address) | RemoveAddress(name, address):
            verb = "add" if isinstance(step, AddAddress) else "del"
            interface = ipaddress.ip_interface(address)
            netlink.addr(
                verb,
                index=_index(netlink, name),
                address=str(interface.ip),
                prefixlen=interface.network.prefixlen,
            )
        case AddPeer(name, peer):
            netlink.fdb(
                "append",
                ifindex=_index(netlink, name),
                lladdr=_ANY_STATION,
                dst=peer,
                flags=_NTF_SELF,
                state=_NUD_PERMANENT,
            )
        case RemovePeer(name, peer):
            netlink.fdb("del", ifindex=_index(netlink, name), lladdr=_ANY_STATION, dst=peer, flags=_NTF_SELF)


def _add_bridge(netlink: Any, name: str) -> None:
    _require_free(netlink, name)
    # No snooping: without a querier it would cut VRRP and neighbour discovery between guests.
    netlink.link("add", ifname=name, kind="bridge", br_mcast_snooping=0, br_stp_state=0)
    _set_up(netlink, name)


def _add_tunnel(netlink: Any, tunnel: TunnelLink) -> None:
    _require_free(netlink, tunnel.name)
    netlink.link(
        "add",
        ifname=tunnel.name,
        kind="vxlan",
        vxlan_id=tunnel.vni,
        vxlan_port=VXLAN_PORT,
        vxlan_local=tunnel.local,
        vxlan_learning=1,
    )
    netlink.link("set", index=_index(netlink, tunnel.name), mtu=tunnel.mtu)
    _set_up(netlink, tunnel.name)


def _enslave(netlink: Any, port: str, bridge: str) -> None:
    netlink.link("set", index=_index(netlink, port), master=_index(netlink, bridge) if bridge else 0)
    alias = netlink.get_links(_index(netlink, port))[0].get("ifalias") or ""
    if alias != MARK:
        words = alias.removeprefix(UPLINK_MARK).strip()
        marked = f"{UPLINK_MARK} {words}".strip() if bridge else words
        netlink.link("set", index=_index(netlink, port), ifalias=marked)


def _set_up(netlink: Any, name: str) -> None:
    # The host is no station of these networks over IPv6.
    Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
    netlink.link("set", index=_index(netlink, name), ifalias=MARK, state="up")


def _require_free(netlink: Any, name: str) -> None:
    if netlink.link_lookup(ifname=name):
        raise Conflict(f"a network interface {name!r} exists and is not Pileus's: rename or remove it")


def _index(netlink: Any, name: str) -> int:
    found = netlink.link_lookup(ifname=name)
    if not found:
        raise Refused(f"there is no network interface {name!r} on this host")
    return int(found[0])


def _kind(link: Any) -> str:
    return link.get(("linkinfo", "kind")) or ""


def _read_bridge(netlink: Any, link: Any, links: list[Any]) -> BridgeLink:
    addresses = netlink.get_addr(family=socket.AF_INET, index=link["index"])
    # Other ports are none of our business: VMs' taps, and whatever the operator plugged in.
    ports = (
        port.get("ifname")
        for port in links
        if port.get("master") == link["index"] and (port.get("ifalias") or "").startswith(UPLINK_MARK)
    )
    return BridgeLink(
        name=link.get("ifname"),
        addresses=frozenset(f"{item.get('address')}/{item['prefixlen']}" for item in addresses),
        mtu=link.get("mtu"),
        uplink=next(ports, ""),
    )


def _read_tunnel(netlink: Any, link: Any, names: dict[int, str]) -> TunnelLink:
    peers = (
        entry.get("NDA_DST")
        for entry in netlink.fdb("dump", ifindex=link["index"])
        if entry["ifindex"] == link["index"] and entry.get("NDA_LLADDR") == _ANY_STATION
    )
    return TunnelLink(
        name=link.get("ifname"),
        vni=link.get(("linkinfo", "data", "vxlan_id")),
        bridge=names.get(link.get("master") or 0, ""),
        local=link.get(("linkinfo", "data", "vxlan_local")) or "",
        mtu=link.get("mtu"),
        peers=frozenset(peer for peer in peers if peer),
    )
