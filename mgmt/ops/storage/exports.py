"""Volumes on their way out: copied from their host to the storage VM, and kept there until their URLs end."""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.alloc import limits
from mgmt.model.configuration import EXTRACT_URL_SECONDS
from mgmt.model.resources import ResourceType
from mgmt.ops.images import image_copies
from mgmt.ops.images.templates import push_storage_if_running, touch_storage
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.store.configured import configured
from mgmt.store.tables import Account, VolumeExport
from mgmt.store.tables.base import now

CREATING, READY = "Creating", "Ready"


def extract_volume(runtime: Runtime, saga: Saga, *, volume_id: str, export_id: str) -> None:
    """Make the copy whose row the caller inserted. On failure it is gone."""
    zone_id: str = saga.step("look at the volume", lambda: _zone_of(runtime, export_id))
    saga.on_failure("copy the volume", lambda: _abandon(runtime, volume_id, export_id))
    saga.step("list it in the storage VM", lambda: _announce(runtime, zone_id))
    saga.step(
        "copy the volume to the storage VM", lambda: image_copies.send_volume(runtime, volume_id, export_id)
    )
    saga.step("wait until it is ready", lambda: _keep(runtime, zone_id, export_id))
    saga.step("tidy up on the host", lambda: image_copies.forget_copy(runtime, volume_id, export_id))


def forget_exports(session: Session, volume_id: str) -> None:
    """Remove all copies of a volume that is being deleted: their URLs end with it."""
    query = select(VolumeExport).where(VolumeExport.volume_id == volume_id, VolumeExport.removed.is_(None))
    for export in session.scalars(query):
        _remove(session, export)


def expire_exports(session: Session, moment: datetime) -> None:
    """Remove the copies whose URLs have ended."""
    query = select(VolumeExport).where(
        VolumeExport.expires < moment, VolumeExport.state == READY, VolumeExport.removed.is_(None)
    )
    for export in session.scalars(query):
        _remove(session, export)


def _zone_of(runtime: Runtime, export_id: str) -> str:
    with runtime.database.reading() as session:
        return session.get_one(VolumeExport, export_id).zone_id


def _announce(runtime: Runtime, zone_id: str) -> None:
    with runtime.database.writing() as session:
        touch_storage(session, zone_id)
    image_copies.push_storage(runtime, zone_id)


def _keep(runtime: Runtime, zone_id: str, export_id: str) -> None:
    status = image_copies.wait_until_judged(runtime, zone_id, export_id)
    with runtime.database.writing() as session:
        export = session.get_one(VolumeExport, export_id)
        if export.state == READY:
            return
        account = session.get_one(Account, export.account_id)
        limits.count_all(session, account, {ResourceType.secondary_storage: status.size})
        export.state, export.physical_size = READY, status.size
        life = timedelta(seconds=configured(session, EXTRACT_URL_SECONDS))
        # The URL counts from the end of the job, which is a moment later.
        export.expires = runtime.now() + life + timedelta(minutes=10)


def _abandon(runtime: Runtime, volume_id: str, export_id: str) -> None:
    image_copies.forget_copy(runtime, volume_id, export_id)
    with runtime.database.writing() as session:
        export = session.get_one(VolumeExport, export_id)
        _remove(session, export)
    push_storage_if_running(runtime, export.zone_id)


def _remove(session: Session, export: VolumeExport) -> None:
    if export.removed is None:
        account = session.get_one(Account, export.account_id)
        limits.release_all(session, account, {ResourceType.secondary_storage: export.physical_size})
        export.removed = now()
        touch_storage(session, export.zone_id)
