"""Volumes sent to the zone's storage VM as images: snapshots, and templates that are made of volumes.

The image is listed in the storage VM's document first, then the volume's host copies and sends it, then the
storage VM judges it (`systemvm.services.storage.uploads`). Each part may be repeated.
"""

import logging
from collections.abc import Callable
from urllib.parse import urlencode

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.agents.errors import AgentError, AgentUnreachable
from mgmt.agents.host import HostEndpoint
from mgmt.alloc.pools import host_of_volume
from mgmt.drivers.protocol import Driver
from mgmt.model.errors import CloudError, Unavailable
from mgmt.model.states import VmKind, VmState
from mgmt.ops.compute.domains import STORAGE_PORT
from mgmt.ops.endpoints import driver_of, host_endpoint, machine_agent
from mgmt.ops.machines.documents import push_machine
from mgmt.ops.runtime import Runtime
from mgmt.pki import tickets
from mgmt.pki.authority import vm_name
from mgmt.store.tables import Vm, Volume
from systemvm.spec.appliances import TemplateState, TemplateStatus
from systemvm.spec.host import CopyState, CopyStatus, VolumeCopy
from systemvm.spec.ticket import TicketPurpose

log = logging.getLogger(__name__)
#: Bytes that a qcow2 file may have more than its disk: an eighth for tables, and some for headers.
_OVERHEAD = 64 << 20
#: Seconds between two looks at a copy, and that its host or the storage VM may say nothing.
_POLL, _SILENCE = 1.0, 300.0
#: Seconds that a copy and its judgement may take.
COPY_DEADLINE, JUDGE_DEADLINE = 6 * 3600.0, 3600.0


def most_bytes(size: int) -> int:
    """How long the file of a disk of `size` bytes can be."""
    return size + size // 8 + _OVERHEAD


def push_storage(runtime: Runtime, zone_id: str) -> None:
    """Bring the zone's storage VM up to date. Raises Unavailable while none runs."""
    with runtime.database.reading() as session:
        storage = _storage_of(session, zone_id)
    push_machine(runtime, storage.id, storage.generation)


def send_volume(
    runtime: Runtime, volume_id: str, image_id: str, on_sending: Callable[[], None] = lambda: None
) -> None:
    """Have a volume's host copy it as it is now, and send it to the storage VM as `image_id`.

    `on_sending` is called when the copy is made: the volume may change then. Raises CloudError, AgentError.
    """
    driver, host, copy = _order(runtime, volume_id, image_id)
    waited = silent = 0.0
    told = False
    status: CopyStatus | None = driver.put_copy(host, copy)
    while status is None or status.state in (CopyState.copying, CopyState.sending):
        if status is not None and status.state is CopyState.sending and not told:
            told = True
            on_sending()
        if waited >= COPY_DEADLINE:
            raise Unavailable(f"host {host.name} has not sent the volume within {COPY_DEADLINE:.0f} s")
        runtime.sleep(_POLL)
        waited += _POLL
        try:
            # None: its agent was restarted, and forgot.
            status = driver.copy_status(host, image_id) or driver.put_copy(host, copy)
            silent = 0.0
        except AgentUnreachable:
            silent += _POLL
            if silent >= _SILENCE:
                raise
    if status.state is CopyState.failed:
        raise CloudError(f"host {host.name}: {status.error}")


def forget_copy(runtime: Runtime, volume_id: str, image_id: str) -> None:
    """Cancel a copy on its host, or have it forgotten. A host that does not answer forgets by itself."""
    with runtime.database.reading() as session:
        host = host_of_volume(session, session.get_one(Volume, volume_id))
    if host is None:
        return
    try:
        driver_of(runtime, host).delete_copy(host_endpoint(host), image_id)
    except AgentError as error:
        log.warning("host %s still knows copy %s, because %s", host.name, image_id, error)


def wait_until_judged(runtime: Runtime, zone_id: str, image_id: str) -> TemplateStatus:
    """What the storage VM found an image to be. Raises CloudError with its words if it refuses it."""
    waited = silent = 0.0
    while True:
        try:
            status = status_of(runtime, zone_id, image_id)
            silent = 0.0
        except (AgentUnreachable, Unavailable):
            silent += _POLL
            if silent >= _SILENCE:
                raise
            status = None
        if status is not None and status.state is TemplateState.ready:
            return status
        if status is not None and status.state is TemplateState.failed:
            raise CloudError(f"the storage VM refuses it: {status.error}")
        if waited >= JUDGE_DEADLINE:
            raise Unavailable(f"the storage VM has not judged it within {JUDGE_DEADLINE:.0f} s")
        runtime.sleep(_POLL)
        waited += _POLL


def status_of(runtime: Runtime, zone_id: str, image_id: str) -> TemplateStatus | None:
    """What the zone's storage VM says of an image; None if nothing. Raises AgentError, Unavailable."""
    with runtime.database.reading() as session:
        agent = machine_agent(runtime, session, _storage_of(session, zone_id))
    statuses = agent.read("storage/templates", list[TemplateStatus])
    return next((status for status in statuses if status.id == image_id), None)


def _order(runtime: Runtime, volume_id: str, image_id: str) -> tuple[Driver, HostEndpoint, VolumeCopy]:
    with runtime.database.reading() as session:
        volume = session.get_one(Volume, volume_id)
        host = host_of_volume(session, volume)
        if host is None:
            raise Unavailable(f"volume {volume.name} is on no host yet: there is nothing to copy")
        storage = _storage_of(session, volume.zone_id)
        token = tickets.sign(
            runtime.authority.ticket_key,
            TicketPurpose.upload,
            image_id,
            runtime.now().timestamp(),
            max_bytes=most_bytes(volume.size),
        )
        query = urlencode({"ticket": token})
        copy = VolumeCopy(
            id=image_id,
            volume=volume_id,
            url=f"https://{storage.management_address}:{STORAGE_PORT}/v1/uploads/{image_id}?{query}",
            server_name=vm_name(storage.id),
            server_ca=runtime.authority.server_ca,
        )
        return driver_of(runtime, host), host_endpoint(host), copy


def _storage_of(session: Session, zone_id: str) -> Vm:
    storage = session.scalar(
        select(Vm).where(Vm.kind == VmKind.storage, Vm.zone_id == zone_id, Vm.removed.is_(None))
    )
    if storage is None or storage.state != VmState.running or storage.management_address is None:
        raise Unavailable("the zone's storage VM does not run at the moment; try again in a minute")
    return storage
