"""Templates and ISOs copied between zones: the storage VM of one downloads from the storage VM of the other.

The address of the source is kept with the copy, and the ticket is made of what never changes: a document that
is compiled again must say the same, or the storage VM would begin anew.
"""

from sqlalchemy.orm import Session

from mgmt.alloc import limits
from mgmt.model.resources import ResourceType
from mgmt.model.states import TemplateState
from mgmt.ops.images import image_copies
from mgmt.ops.images.template_zones import SHARED, shown_id
from mgmt.ops.images.templates import push_storage_if_running, store_status, touch_storage
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.ops.storage.downloads import PORT, storage_address
from mgmt.store.tables import Account, Template
from mgmt.store.tables.base import now


def insert_copy(session: Session, source: Template, zone_id: str) -> Template:
    """The row of a copy of a template that is ready. Raises LimitReached, Unavailable."""
    account = session.get_one(Account, source.account_id)
    limits.reserve_all(
        session, account, {ResourceType.template: 1, ResourceType.secondary_storage: source.size}
    )
    row = Template(
        account_id=source.account_id,
        domain_id=source.domain_id,
        zone_id=zone_id,
        url=f"https://{storage_address(session, source.zone_id)}:{PORT}",
        format=source.format,
        hypervisor=source.hypervisor,
        checksum=f"sha256:{source.sha256}",
        kind=source.kind,
        size=source.size,
        home_id=shown_id(source),
        copied_from=source.id,
        **{name: getattr(source, name) for name in SHARED},
    )
    session.add(row)
    session.flush()
    touch_storage(session, zone_id)
    return row


def copy_template(runtime: Runtime, saga: Saga, *, copy_ids: list[str]) -> None:
    """Fetch copies whose rows the caller inserted. One that fails is gone, and those after it."""
    zones: list[str] = saga.step("look at the copies", lambda: _zones_of(runtime, copy_ids))
    for copy_id in copy_ids:
        saga.on_failure("copy the template", lambda one=copy_id: _abandon(runtime, one))  # type: ignore[misc]
    for copy_id, zone_id in zip(copy_ids, zones, strict=True):
        saga.step(
            "list it in the storage VM",
            lambda zone=zone_id: image_copies.push_storage(runtime, zone),  # type: ignore[misc]
        )
        saga.step(
            "wait until it is ready",
            lambda one=copy_id, zone=zone_id: _keep(runtime, one, zone),  # type: ignore[misc]
        )


def _zones_of(runtime: Runtime, copy_ids: list[str]) -> list[str]:
    with runtime.database.reading() as session:
        return [session.get_one(Template, copy_id).zone_id for copy_id in copy_ids]


def _keep(runtime: Runtime, copy_id: str, zone_id: str) -> None:
    status = image_copies.wait_until_judged(runtime, zone_id, copy_id)
    with runtime.database.writing() as session:
        store_status(session, session.get_one(Template, copy_id), status)
    push_storage_if_running(runtime, zone_id)


def _abandon(runtime: Runtime, copy_id: str) -> None:
    with runtime.database.writing() as session:
        copy = session.get_one(Template, copy_id)
        if copy.removed is None and copy.state != TemplateState.ready:
            amounts = {ResourceType.template: 1, ResourceType.secondary_storage: copy.size}
            limits.release_all(session, session.get_one(Account, copy.account_id), amounts)
            copy.state, copy.removed = TemplateState.deleted, now()
            touch_storage(session, copy.zone_id)
    push_storage_if_running(runtime, copy.zone_id)
