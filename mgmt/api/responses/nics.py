"""NICs on the wire."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import select

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import rows_by_id
from mgmt.store.tables import Network, Nic

#: MTU of guests on VXLAN: 1500 less the outer headers (RFC 7348).
GUEST_MTU = 1450


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
    mtu: int
    traffictype: str
    type: str
    secondaryip: list[str]
    extradhcpoption: list[str]


def build_nics(call: Call, rows: Sequence[Nic]) -> list[NicResponse]:
    """Answers for NICs; one statement for their networks."""
    networks = rows_by_id(call, Network, (row.network_id for row in rows))
    return [_build(row, networks.get(row.network_id or "")) for row in rows]


def nics_of_vms(call: Call, vm_ids: Sequence[str]) -> dict[str, list[NicResponse]]:
    """Guest NICs by VM, in the order they are plugged; two statements."""
    query = select(Nic).where(Nic.vm_id.in_(vm_ids), Nic.removed.is_(None), Nic.purpose == "guest")
    rows = call.session.scalars(query.order_by(Nic.position)).all()
    found: dict[str, list[NicResponse]] = defaultdict(list)
    for row, answer in zip(rows, build_nics(call, rows), strict=True):
        found[row.vm_id].append(answer)
    return found


def _build(row: Nic, network: Network | None) -> NicResponse:
    return NicResponse(
        id=row.id,
        deviceid=str(row.position),
        networkid=row.network_id,
        networkname=network.name if network else None,
        virtualmachineid=row.vm_id,
        ipaddress=row.address,
        netmask=row.netmask,
        gateway=row.gateway,
        macaddress=row.mac,
        isdefault=row.is_default,
        mtu=GUEST_MTU,
        traffictype="Guest",
        type="Isolated",
        secondaryip=[],
        extradhcpoption=[],
    )


NIC = Entity(Nic, NicResponse, "nic", build_nics)
