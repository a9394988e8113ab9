"""Parameters that clients know of several commands and none of ours supports, each with its reason.

One that asks for something else than what happens is refused; one that changes nothing is taken, and so is
one that repeats what is there already (`must_stay`).
"""

from typing import Annotated

from mgmt.api.params import NoEffect, Unsupported, wrong_value

Shown = Annotated[bool | None, NoEffect("everything is its owner's to see")]
SortKey = Annotated[int | None, NoEffect("lists are in the order of age")]
Scaled = Annotated[bool | None, NoEffect("VMs change their size while they are stopped")]
Bits = Annotated[int | None, NoEffect("guests are 64-bit")]
FullyVirtual = Annotated[bool | None, NoEffect("all guests are fully virtualized")]
NetworkSpeed = Annotated[str | None, NoEffect("NICs are not throttled")]
StoreId = Annotated[str | None, NoEffect("a zone keeps everything in one store")]

CustomId = Annotated[str | None, Unsupported("ids are made here")]
Rate = Annotated[int | None, Unsupported("disks are not throttled")]
Ip6 = Annotated[str | None, Unsupported("networks have IPv4 only")]
OfVpc = Annotated[str | None, Unsupported("there are no VPCs")]
OfRouter = Annotated[bool, Unsupported("routers are made from the image of system VMs")]
HostTag = Annotated[str | None, Unsupported("service offerings name hosts, templates do not")]
PhysicalTags = Annotated[str | None, Unsupported("a zone has one physical network for guests")]
PoolBytes = Annotated[int | None, Unsupported("a pool has what its folder has; see capacity thresholds")]
SnapshotReserve = Annotated[int | None, Unsupported("snapshots are kept in secondary storage")]
Connections = Annotated[int | None, Unsupported("balancers take all connections that come")]
KeepAlive = Annotated[bool, Unsupported("balancers pass TCP on and know no HTTP")]
Planner = Annotated[str | None, Unsupported("vm.allocation.algorithm says how hosts are chosen")]
FixedSize = Annotated[dict[str, str] | None, Unsupported("offerings of system VMs have a fixed size")]
OfferingDetails = Annotated[dict[str, str] | None, Unsupported("offerings have no details")]
AccountDetails = Annotated[dict[str, str] | None, Unsupported("accounts have no details")]
Customer = Annotated[str | None, Unsupported("tags are for no customer")]
NoGroups = Annotated[list[str] | None, Unsupported("networks are isolated: firewall rules say who gets in")]
Sources = Annotated[
    list[str] | None, Unsupported("send openfirewall=false and call createFirewallRule with the sources")
]
Origin = Annotated[str | None, Unsupported("send volumeid or snapshotid: what it is made of")]


def must_stay(name: str, wanted: str | None, now: str) -> None:
    """Raise `ParameterError` if a parameter asks for another value than there is, without regard to case."""
    if wanted and wanted.lower() != now.lower():
        raise wrong_value(name, wanted, f"{now}: it cannot change")
