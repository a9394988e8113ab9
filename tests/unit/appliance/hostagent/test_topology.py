"""From links that are there to links that are wanted: pure plans."""

from typing import Any
from uuid import uuid4

import pytest

from appliance.hostagent.topology import (
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
    Topology,
    TunnelLink,
    plan,
    wanted_topology,
)
from systemvm.spec.host import Bridge, GuestNetwork, HostState

pytestmark = pytest.mark.unit
EMPTY = Topology({}, {})
HERE = "10.0.0.1"


def state(**sections: Any) -> HostState:
    return HostState(generation=1, host=str(uuid4()), **sections)


def network(**changes: Any) -> GuestNetwork:
    return GuestNetwork(**({"id": str(uuid4()), "vni": 7, "peers": ("10.0.0.2",)} | changes))


def test_from_nothing() -> None:
    document = state(
        bridges=(Bridge(name="b0", addresses=("10.0.0.1/24",), uplink="eth1"),), networks=(network(),)
    )
    tunnel = TunnelLink("vxlan7", 7, "brvx-7", HERE, 1450, frozenset({"10.0.0.2"}))
    assert plan(wanted_topology(document, HERE), EMPTY) == [
        AddBridge("b0"),
        Enslave("eth1", "b0"),
        AddAddress("b0", "10.0.0.1/24"),
        AddBridge("brvx-7"),
        SetMtu("brvx-7", 1450),
        AddTunnel(tunnel),
        Enslave("vxlan7", "brvx-7"),
        AddPeer("vxlan7", "10.0.0.2"),
    ]


def test_nothing_to_do() -> None:
    wanted = wanted_topology(state(bridges=(Bridge(name="b0"),), networks=(network(),)), HERE)
    assert plan(wanted, wanted) == []


def test_back_to_nothing() -> None:
    present = wanted_topology(state(bridges=(Bridge(name="b0"),), networks=(network(),)), HERE)
    assert plan(EMPTY, present) == [DeleteLink("vxlan7"), DeleteLink("b0"), DeleteLink("brvx-7")]


def test_only_the_difference() -> None:
    present = wanted_topology(state(networks=(network(peers=("10.0.0.2", "10.0.0.3")),)), HERE)
    wanted = wanted_topology(state(networks=(network(peers=("10.0.0.3", "10.0.0.4")),)), HERE)
    assert plan(wanted, present) == [RemovePeer("vxlan7", "10.0.0.2"), AddPeer("vxlan7", "10.0.0.4")]


def test_addresses_change_in_place() -> None:
    present = Topology({"b0": BridgeLink("b0", frozenset({"10.0.0.1/24"}))}, {})
    wanted = wanted_topology(state(bridges=(Bridge(name="b0", addresses=("10.0.0.9/24",)),)), HERE)
    assert plan(wanted, present) == [RemoveAddress("b0", "10.0.0.1/24"), AddAddress("b0", "10.0.0.9/24")]


def test_a_tunnel_from_another_address_is_made_anew() -> None:
    present = wanted_topology(state(networks=(network(),)), "10.0.0.8")
    steps = plan(wanted_topology(state(networks=(network(),)), HERE), present)
    assert steps[0] == DeleteLink("vxlan7")
    assert any(isinstance(step, AddTunnel) for step in steps)


def test_a_host_is_no_peer_of_itself_and_a_network_of_one_host_has_no_tunnel() -> None:
    wanted = wanted_topology(
        state(networks=(network(peers=(HERE, "10.0.0.2")), network(vni=8, peers=()))), HERE
    )
    assert wanted.tunnels["vxlan7"].peers == {"10.0.0.2"}
    assert set(wanted.tunnels) == {"vxlan7"}
    assert set(wanted.bridges) == {"brvx-7", "brvx-8"}
