"""`unshare --net python -m appliance.preflight.network_trial`: does in an empty network namespace what a
host does, and prints `ok`, or one line for each thing that this kernel cannot do.
"""

from collections.abc import Callable, Iterator

from pyroute2 import IPRoute, NetlinkError

from systemvm.engine.command import run
from systemvm.engine.errors import CommandError

_RULES = """
table inet trial {
    set names { type ifname; elements = { "trial-bridge" } }
    chain forward { type filter hook forward priority filter; iifname @names drop; }
    chain input { type filter hook input priority filter; ct state established accept; }
    chain postrouting { type nat hook postrouting priority srcnat; ip saddr 192.0.2.0/24 masquerade; }
}
"""
_LINKS: dict[str, dict[str, object]] = {
    "bridges": {"ifname": "trial-bridge", "kind": "bridge"},
    "veth pairs": {"ifname": "trial-veth", "kind": "veth", "peer": "trial-peer"},
    "VXLAN": {"ifname": "trial-vxlan", "kind": "vxlan", "vxlan_id": 1, "vxlan_port": 4789},
}


def try_links() -> Iterator[str]:
    """What cannot be made."""
    with IPRoute() as netlink:
        for what, arguments in _LINKS.items():
            try:
                netlink.link("add", **arguments)
            except NetlinkError as error:
                yield f"this kernel has no {what}: {error}"


def try_programs() -> Iterator[str]:
    """What the tools cannot do."""
    trials: dict[str, Callable[[], object]] = {
        "tap devices": lambda: run(("ip", "tuntap", "add", "dev", "trial-tap", "mode", "tap")),
        "nftables with NAT": lambda: run(("nft", "-f", "-"), stdin=_RULES),
    }
    for what, trial in trials.items():
        try:
            trial()
        except CommandError as error:
            yield f"no {what} here: {error}"


if __name__ == "__main__":
    print("\n".join([*try_links(), *try_programs()]) or "ok")
