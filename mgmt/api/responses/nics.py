"""NICs on the wire."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import BindParameter, Select, and_, bindparam, select

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import rows_by_id
from mgmt.store.tables import Network, Nic, NicAddress, PublicAddress

#: MTU of guests on VXLAN: 1500 less the outer headers (RFC 7348).
GUEST_MTU = 1450
TRAFFIC = {"guest": "Guest", "linklocal": "Control", "management": "Management", "public": "Public"}
"""Kind of traffic by what a NIC is for."""


class SecondaryAddress(Response, kw_only=True):
    """A secondary address within its NIC."""

    id: str
    ipaddress: str


class NicResponse(Response, kw_only=True):
    """A NIC of a guest."""

    id: str
    deviceid: str
    networkid: str | None = None
    networkname: str | None = None
    virtualmachineid: str | None = None
    ipaddress: str | None = None
    netmask: str | None = None
    gateway: str | None = None
    macaddress: str
    isdefault: bool
    mtu: int | None
    traffictype: str
    type: str | None
    publicip: str | None = None
    publicipid: str | None = None
    secondaryip: list[SecondaryAddress]
    extradhcpoption: list[str]


def build_nics(call: Call, rows: Sequence[Nic]) -> list[NicResponse]:
    """Answers for NICs; one statement for all that is around them."""
    found = _with_surroundings(call, _OF_IDS, [row.id for row in rows])
    return [found[row.id] for row in rows]


def nics_of_vms(call: Call, vm_ids: Sequence[str]) -> dict[str, list[NicResponse]]:
    """Guest NICs by VM, in the order they are plugged; one statement."""
    found: dict[str, list[NicResponse]] = defaultdict(list)
    for answer in _with_surroundings(call, _OF_VMS, vm_ids).values():
        found[str(answer.virtualmachineid)].append(answer)
    return found


_STATIC_NAT = and_(
    PublicAddress.vm_id == Nic.vm_id,
    PublicAddress.network_id == Nic.network_id,
    PublicAddress.is_static_nat,
    PublicAddress.removed.is_(None),
)
_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
#: Made once, both: making them takes longer than running them.
_AROUND: Any = (
    select(Nic, Network.name, PublicAddress.id, PublicAddress.address, NicAddress.id, NicAddress.address)
    .outerjoin(Network, Network.id == Nic.network_id)
    .outerjoin(PublicAddress, _STATIC_NAT)
    .outerjoin(NicAddress, and_(NicAddress.nic_id == Nic.id, NicAddress.removed.is_(None)))
    .order_by(Nic.position, Nic.id, NicAddress.created, NicAddress.id, PublicAddress.sort)
)
_OF_IDS = _AROUND.where(Nic.id.in_(_IDS))
_OF_VMS = _AROUND.where(Nic.vm_id.in_(_IDS), Nic.removed.is_(None), Nic.purpose == "guest")


def _with_surroundings(call: Call, query: Select[Any], ids: Sequence[str]) -> dict[str, NicResponse]:
    """NICs with their networks, static NAT and secondary addresses, by id."""
    found: dict[str, NicResponse] = {}
    for nic, network, *public, second_id, second in call.session.execute(query, {"ids": ids}):
        answer = found.get(nic.id)
        if answer is None:
            answer = found[nic.id] = _build(nic, network)
        if answer.publicip is None:
            answer.publicipid, answer.publicip = public
        if second_id is not None and all(item.id != second_id for item in answer.secondaryip):
            answer.secondaryip.append(SecondaryAddress(id=second_id, ipaddress=second))
    return found


def _build(row: Nic, network: str | None) -> NicResponse:
    return NicResponse(
        id=row.id,
        deviceid=str(row.position),
        networkid=row.network_id,
        networkname=network,
        virtualmachineid=row.vm_id,
        ipaddress=row.address,
        netmask=row.netmask,
        gateway=row.gateway,
        macaddress=row.mac,
        isdefault=row.is_default,
        mtu=GUEST_MTU if row.purpose == "guest" else None,
        traffictype=TRAFFIC[row.purpose],
        type="Isolated" if row.purpose == "guest" else None,
        secondaryip=[],
        extradhcpoption=[],
    )


class NicAddressResponse(Response, kw_only=True):
    """A secondary address, as addIpToNic answers it."""

    id: str
    ipaddress: str
    nicid: str
    networkid: str
    virtualmachineid: str | None = None


def build_nic_addresses(call: Call, rows: Sequence[NicAddress]) -> list[NicAddressResponse]:
    """Answers for secondary addresses."""
    nics = rows_by_id(call, Nic, (row.nic_id for row in rows))
    return [
        NicAddressResponse(
            id=row.id,
            ipaddress=row.address,
            nicid=row.nic_id,
            networkid=row.network_id,
            virtualmachineid=nics[row.nic_id].vm_id,
        )
        for row in rows
    ]


NIC = Entity(Nic, NicResponse, "nic", build_nics)
NIC_ADDRESS = Entity(NicAddress, NicAddressResponse, "nicsecondaryip", build_nic_addresses)
