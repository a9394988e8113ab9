"""NICs: every mistake named; every plan as short as possible, and never touching what is not ours."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from systemvm.engine.errors import ApplyFailed
from systemvm.services.interfaces import SERVICE
from systemvm.services.interfaces.arp import announcement
from systemvm.services.interfaces.model import AddressSeen, LinkSeen, RouteSeen, Seen, Wanted
from systemvm.services.interfaces.plan import (
    PutAddress,
    PutRoute,
    Rename,
    SetMtu,
    SetUp,
    Step,
    plan_addresses,
    plan_links,
    plan_routes,
)
from systemvm.spec.network import Interfaces, Nic, Route
from systemvm.spec.types import Purpose
from tests.unit.systemvm.services.router_state import (
    GUEST_NIC,
    INTERFACES,
    PUBLIC_NIC,
    router_state,
    told,
)

pytestmark = pytest.mark.unit

LO = LinkSeen(1, "lo", "00:00:00:00:00:00", 65536, True)
CONTROL = LinkSeen(2, "link0", "02:00:00:00:00:01", 1500, True)
PUBLIC = LinkSeen(3, "eth1", PUBLIC_NIC.mac, 1500, True)
GUEST = LinkSeen(4, "eth2", GUEST_NIC.mac, 1450, True)
WANTED = Wanted(nics=INTERFACES.nics, routes=INTERFACES.routes)


def problems_of(interfaces: Interfaces) -> dict[str, str]:
    return told(SERVICE.check(router_state(interfaces=interfaces)))


def ours(index: int, *cidrs: str) -> tuple[AddressSeen, ...]:
    return tuple(AddressSeen(index, cidr, True) for cidr in cidrs)


def seen(
    *links: LinkSeen, addresses: tuple[AddressSeen, ...] = (), routes: tuple[RouteSeen, ...] = ()
) -> Seen:
    return Seen(links=(LO, CONTROL, *links), addresses=addresses, routes=routes)


def test_a_good_document_has_no_problems() -> None:
    assert problems_of(INTERFACES) == {}


def test_ten_mistakes_get_ten_messages() -> None:
    bad = Interfaces(
        nics=(
            replace(PUBLIC_NIC, name="lo", addresses=("203.0.113.5/33",)),
            replace(PUBLIC_NIC, addresses=("169.254.3.4/16", "10.1.1.0/24", "10.1.1.4/24")),
            replace(GUEST_NIC, purpose=Purpose.linklocal, addresses=("10.1.1.1/16", "10.1.1.4/24")),
            replace(GUEST_NIC, mac="03:00:00:00:00:03", addresses=("224.0.0.1/24", "300.1.1.1/24")),
        ),
        routes=(
            Route(destination="10.9.0.1/16", gateway="10.8.0.1", interface="eth7"),
            Route(destination="169.254.0.0/24", gateway="192.0.2.1", interface="eth1"),
            Route(destination="10.1.1.0/24", gateway="10.1.1.4", interface="eth1"),
            Route(destination="0.0.0.0/0", gateway="10.1.1.2", interface="eth1"),
            Route(destination="0.0.0.0/0", gateway="10.1.1.2", interface="link0"),
        ),
    )
    found = problems_of(bad)
    assert set(found) == {
        "interfaces.nics[0].name",
        "interfaces.nics[0].addresses[0]",
        "interfaces.nics[1].mac",
        "interfaces.nics[1].addresses[0]",
        "interfaces.nics[1].addresses[1]",
        "interfaces.nics[2].purpose",
        "interfaces.nics[2].addresses[0]",
        "interfaces.nics[2].addresses[1]",
        "interfaces.nics[3].name",
        "interfaces.nics[3].mac",
        "interfaces.nics[3].addresses[0]",
        "interfaces.nics[3].addresses[1]",
        "interfaces.routes[0].destination",
        "interfaces.routes[0].interface",
        "interfaces.routes[1].destination",
        "interfaces.routes[1].gateway",
        "interfaces.routes[2].destination",
        "interfaces.routes[2].gateway",
        "interfaces.routes[4].destination",
        "interfaces.routes[4].interface",
    }
    assert "the network is 10.9.0.0/16" in found["interfaces.routes[0].destination"]
    assert "also interfaces.nics" not in found["interfaces.nics[1].mac"]
    assert "nics[1].addresses[2]" in found["interfaces.nics[2].addresses[1]"]
    assert "not reachable from eth1" in found["interfaces.routes[1].gateway"]
    assert "own address" in found["interfaces.routes[2].gateway"]
    assert "is the link-local NIC" in found["interfaces.routes[4].interface"]


def test_resolvers_are_a_file_and_must_be_others() -> None:
    asked = replace(INTERFACES, resolvers=("10.0.0.53", "9.9.9.9"))
    assert problems_of(asked) == {}
    (file,) = SERVICE.render(router_state(interfaces=asked)).files
    assert file.path == "/etc/resolv.conf"
    assert file.text.splitlines()[:2] == ["nameserver 10.0.0.53", "nameserver 9.9.9.9"]
    own = PUBLIC_NIC.addresses[0].partition("/")[0]
    for wrong in (own, "127.0.0.53", "0.0.0.0", "169.254.0.1", "224.0.0.1", "9.9.9.999"):  # noqa: S104
        found = problems_of(replace(INTERFACES, resolvers=("9.9.9.9", wrong)))
        assert list(found) == ["interfaces.resolvers[1]"], wrong
        assert wrong in found["interfaces.resolvers[1]"]


def test_nothing_is_planned_when_all_is_so() -> None:
    addresses = (*ours(3, *PUBLIC_NIC.addresses), *ours(4, *GUEST_NIC.addresses))
    now = seen(PUBLIC, GUEST, addresses=addresses, routes=(RouteSeen(3, "0.0.0.0/0", "203.0.113.1", True),))
    assert [*plan_links(WANTED, now), *plan_addresses(WANTED, now), *plan_routes(WANTED, now)] == []


def test_fresh_links_are_named_sized_and_brought_up() -> None:
    first = LinkSeen(3, "ens4", PUBLIC_NIC.mac, 1500, False)
    second = LinkSeen(4, "ens5", GUEST_NIC.mac, 1500, True)
    assert plan_links(WANTED, seen(first, second)) == [
        SetUp(4, False),
        Rename(3, "spare3"),
        Rename(4, "spare4"),
        Rename(3, "eth1"),
        Rename(4, "eth2"),
        SetUp(3, True),
        SetMtu(4, 1450),
        SetUp(4, True),
    ]


def test_a_stranger_with_a_wanted_name_gives_way() -> None:
    stranger = LinkSeen(9, "eth1", "02:00:00:00:00:99", 1500, True)
    steps = plan_links(WANTED, seen(stranger, LinkSeen(3, "ens4", PUBLIC_NIC.mac, 1500, True), GUEST))
    assert Rename(9, "spare9") in steps
    assert steps.index(Rename(9, "spare9")) < steps.index(Rename(3, "eth1"))


def test_children_with_the_same_mac_are_not_meant() -> None:
    child = LinkSeen(8, "eth1.7", PUBLIC_NIC.mac, 1500, True, kind="vlan")
    assert plan_links(WANTED, seen(PUBLIC, GUEST, child)) == []


def test_all_missing_links_are_named() -> None:
    with pytest.raises(ApplyFailed, match=f"eth1: no link has MAC {PUBLIC_NIC.mac}; eth2: no link has MAC"):
        plan_links(WANTED, seen())


def test_the_control_link_is_never_a_wanted_one() -> None:
    thief = Wanted(nics=(replace(GUEST_NIC, mac=CONTROL.mac),))
    with pytest.raises(ApplyFailed, match="link0's MAC"):
        plan_links(thief, seen())


def planned(nic: Nic, *addresses: AddressSeen) -> list[Step]:
    return plan_addresses(Wanted(nics=(nic,)), seen(PUBLIC, addresses=addresses))


def test_addresses_by_difference() -> None:
    nic = replace(PUBLIC_NIC, addresses=("203.0.113.5/24", "203.0.113.8/24"))
    foreign = AddressSeen(3, "203.0.113.99/24", False)
    assert planned(nic, *ours(3, "203.0.113.5/24", "203.0.113.6/24"), foreign) == [
        PutAddress(3, "203.0.113.6/24", False),
        PutAddress(3, "203.0.113.8/24", True),
    ]


def test_order_is_made_right_with_as_few_steps_as_possible() -> None:
    nic = replace(PUBLIC_NIC, addresses=("203.0.113.5/24", "203.0.113.7/24", "203.0.113.6/24"))
    assert planned(nic, *ours(3, "203.0.113.5/24", "203.0.113.6/24", "203.0.113.7/24")) == [
        PutAddress(3, "203.0.113.6/24", False),
        PutAddress(3, "203.0.113.7/24", False),
        PutAddress(3, "203.0.113.7/24", True),
        PutAddress(3, "203.0.113.6/24", True),
    ]


def test_a_wanted_address_that_someone_else_added_stays_as_it_is() -> None:
    nic = replace(PUBLIC_NIC, addresses=("203.0.113.5/24",))
    assert planned(nic, AddressSeen(3, "203.0.113.5/24", False)) == []


def test_unplugged_from_the_document_means_emptied_and_down() -> None:
    other = LinkSeen(7, "eth3", "02:00:00:00:00:07", 1500, True)
    present = (*ours(7, "10.2.2.1/24"), *ours(2, "169.254.9.9/16"), AddressSeen(7, "10.3.3.1/24", False))
    steps = plan_addresses(Wanted(), seen(other, addresses=present))
    assert steps == [PutAddress(7, "10.2.2.1/24", False), SetUp(7, False)]


def test_routes_by_difference_and_only_ours() -> None:
    now = seen(
        PUBLIC,
        GUEST,
        routes=(
            RouteSeen(3, "0.0.0.0/0", "203.0.113.254", True),
            RouteSeen(3, "192.0.2.0/24", "203.0.113.9", False),
            RouteSeen(3, "203.0.113.0/24", "", False),
        ),
    )
    assert plan_routes(WANTED, now) == [
        PutRoute(3, "0.0.0.0/0", "203.0.113.254", False),
        PutRoute(3, "0.0.0.0/0", "203.0.113.1", True),
    ]


def test_sysctls_are_written_only_when_they_differ(tmp_path: Path) -> None:
    from systemvm.services.interfaces.apply import set_sysctls

    forward = tmp_path / "proc/sys/net/ipv4/ip_forward"
    forward.parent.mkdir(parents=True)
    forward.write_text("0\n")
    set_sysctls(tmp_path, (("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/eth1/disable_ipv6", "1")))
    assert forward.read_text() == "1"
    before = forward.stat().st_mtime_ns
    set_sysctls(tmp_path, (("net/ipv4/ip_forward", "1"),))
    assert forward.stat().st_mtime_ns == before
    with pytest.raises(FileNotFoundError):
        set_sysctls(tmp_path, (("net/ipv4/conf/eth9/rp_filter", "1"),))


def test_guests_are_filtered_strictly_and_nobody_may_redirect() -> None:
    sysctls = dict(SERVICE.render(router_state()).kernel.sysctls)
    assert sysctls["kernel/hostname"] == router_state().hostname
    assert sysctls["net/ipv4/ip_forward"] == "1"
    assert sysctls["net/ipv4/conf/eth2/rp_filter"] == "1"
    assert sysctls["net/ipv4/conf/eth1/rp_filter"] == "2"
    assert sysctls["net/ipv4/conf/eth1/arp_ignore"] == "1"
    assert not [name for name in sysctls if "link0" in name]


def test_announcements_are_request_and_reply_for_the_address() -> None:
    from ipaddress import IPv4Address

    request, reply = announcement("02:00:00:00:00:02", IPv4Address("203.0.113.5"))
    mac, address = bytes.fromhex("020000000002"), bytes([203, 0, 113, 5])
    assert (
        request
        == b"\xff" * 6
        + mac
        + bytes.fromhex("0806000108000604")
        + b"\0\1"
        + mac
        + address
        + bytes(6)
        + address
    )
    assert (
        reply
        == b"\xff" * 6 + mac + bytes.fromhex("0806000108000604") + b"\0\2" + mac + address + mac + address
    )
