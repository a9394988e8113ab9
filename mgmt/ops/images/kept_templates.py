"""Templates that outlive their owners, because somebody else was promised a disk of them."""

import logging

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.alloc import limits
from mgmt.ops.images.template_zones import shown_id, zone_rows
from mgmt.ops.images.templates import amounts_of, waiting_volume
from mgmt.ops.machines.system_vms import SYSTEM_ACCOUNT
from mgmt.ops.runtime import Runtime
from mgmt.store.events import record_event
from mgmt.store.tables import Account, Template, User

log = logging.getLogger(__name__)


def leave_to_system(runtime: Runtime, template_id: str) -> bool:
    """Give a template to the system, which shows it to nobody, if a volume is still to be made of it.

    Whether it is the system's now; it can be repeated. A root administrator deletes it when nobody needs it.
    """
    with runtime.database.writing() as session:
        template = session.get_one(Template, template_id)
        system = session.scalars(select(Account).where(Account.name == SYSTEM_ACCOUNT)).one()
        if template.account_id == system.id:
            return True
        rows = zone_rows(session, template)
        volume = waiting_volume(session, shown_id(template), [row.zone_id for row in rows])
        if volume is None:
            return False
        owner = session.get_one(Account, template.account_id)
        _tell(session, template, owner, system, volume)
        for row in rows:
            limits.release_all(session, owner, amounts_of(row))
            limits.count_all(session, system, amounts_of(row))
            row.account_id, row.domain_id = system.id, system.domain_id
            row.is_public = row.is_featured = False
        return True


def _tell(session: Session, template: Template, owner: Account, system: Account, volume: str) -> None:
    words = (
        f"template {template.name} of account {owner.name} is the system's now, because volume {volume} is"
        " still to be made of it; delete it when nobody needs it"
    )
    log.warning("%s", words)
    record_event(
        session,
        "TEMPLATE.UPDATE",
        words,
        user_id=session.scalars(select(User.id).where(User.account_id == system.id)).one(),
        account_id=system.id,
        domain_id=system.domain_id,
        level="WARN",
        resource_type="Template",
        resource_id=shown_id(template),
    )
