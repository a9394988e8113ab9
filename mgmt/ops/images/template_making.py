"""Templates made within the cloud: of a volume, which its host sends, or of a snapshot, by the storage VM."""

from mgmt.alloc import limits
from mgmt.model.resources import ResourceType
from mgmt.model.states import TemplateState
from mgmt.ops.images import image_copies
from mgmt.ops.images.templates import push_storage_if_running, store_status, touch_storage
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.store.tables import Account, Template
from mgmt.store.tables.base import now


def make_template(runtime: Runtime, saga: Saga, *, template_id: str, volume_id: str | None = None) -> None:
    """Make the content of a template whose row the caller inserted, with the snapshot or volume it is made
    of as `source_id`; `volume_id` is given for a volume. On failure the template is gone.
    """
    zone_id: str = saga.step("look at the template", lambda: _zone_of(runtime, template_id))
    saga.on_failure("make the template", lambda: _abandon(runtime, template_id, volume_id))
    saga.step("list it in the storage VM", lambda: _announce(runtime, template_id, zone_id))
    if volume_id is not None:
        saga.step(
            "copy the volume to the storage VM",
            lambda: image_copies.send_volume(runtime, volume_id, template_id),
        )
    saga.step("wait until it is ready", lambda: _keep(runtime, template_id, zone_id))
    if volume_id is not None:
        saga.step("tidy up on the host", lambda: image_copies.forget_copy(runtime, volume_id, template_id))


def _zone_of(runtime: Runtime, template_id: str) -> str:
    with runtime.database.reading() as session:
        return session.get_one(Template, template_id).zone_id


def _announce(runtime: Runtime, template_id: str, zone_id: str) -> None:
    with runtime.database.writing() as session:
        touch_storage(session, zone_id)
    image_copies.push_storage(runtime, zone_id)


def _keep(runtime: Runtime, template_id: str, zone_id: str) -> None:
    status = image_copies.wait_until_judged(runtime, zone_id, template_id)
    with runtime.database.writing() as session:
        store_status(session, session.get_one(Template, template_id), status)


def _abandon(runtime: Runtime, template_id: str, volume_id: str | None) -> None:
    if volume_id is not None:
        image_copies.forget_copy(runtime, volume_id, template_id)
    with runtime.database.writing() as session:
        template = session.get_one(Template, template_id)
        if template.removed is None:
            amounts = {ResourceType.template: 1, ResourceType.secondary_storage: template.size}
            limits.release_all(session, session.get_one(Account, template.account_id), amounts)
            template.state, template.removed = TemplateState.deleted, now()
            touch_storage(session, template.zone_id)
    push_storage_if_running(runtime, template.zone_id)
