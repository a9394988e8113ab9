"""Ways out: URLs at which users outside download what a zone's storage VM keeps.

A URL carries a signed ticket in its path and is a secret while that lives. It is made when somebody asks,
never stored, and the same whenever the same extraction is asked for. Once the file is gone it leads nowhere.
"""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.model.configuration import EXTRACT_URL_SECONDS
from mgmt.model.errors import Unavailable
from mgmt.model.states import VmKind, VmState
from mgmt.ops.runtime import Runtime
from mgmt.pki import tickets
from mgmt.store.configured import configured
from mgmt.store.tables import Nic, Vm
from systemvm.spec.ticket import TicketPurpose
from systemvm.spec.types import Purpose

PORT = 443


def storage_address(session: Session, zone_id: str) -> str:
    """Where a zone's storage VM is reached from outside. Raises Unavailable while none runs."""
    query = (
        select(Nic.address)
        .join(Vm, Vm.id == Nic.vm_id)
        .where(
            Vm.kind == VmKind.storage,
            Vm.zone_id == zone_id,
            Vm.removed.is_(None),
            Vm.state == VmState.running,
            Nic.purpose == Purpose.public,
            Nic.removed.is_(None),
        )
    )
    address = session.scalar(query.limit(1))
    if address is None:
        raise Unavailable("the zone's storage VM is not running; it is started by itself, try again")
    return address


def download_url(
    runtime: Runtime,
    session: Session,
    *,
    zone_id: str,
    image_id: str,
    suffix: str,
    nonce: str,
    since: datetime,
) -> str | None:
    """The URL of an image in a storage VM that was asked for at `since`; None once that has ended.

    Raises Unavailable while no storage VM runs.
    """
    life = configured(session, EXTRACT_URL_SECONDS)
    if runtime.now() >= since + timedelta(seconds=life):
        return None
    address = storage_address(session, zone_id)
    token = tickets.sign(
        runtime.authority.ticket_key,
        TicketPurpose.download,
        image_id,
        since.timestamp(),
        nonce=nonce,
        life=life,
    )
    return f"https://{address}:{PORT}/v1/downloads/{token}/{image_id}.{suffix.lower()}"
