"""One template in several zones: a row each, known to users by the id of the first (`home_id` of the others).

Rows of VMs, volumes, grants and tags carry that id; what a storage VM keeps has the id of its zone's row.
"""

from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from mgmt.model.states import TemplateState
from mgmt.store.tables import Template

#: What users set, and is the same in every zone.
SHARED = (
    *("name", "display_text", "os_type", "is_public", "is_featured", "is_extractable", "password_enabled"),
    *("bootable", "user_data_id", "user_data_policy", "details"),
)


def shown_id(template: Template) -> str:
    """The id under which users know it."""
    return template.home_id or template.id


def shown_ids() -> Any:
    """The same, as a column."""
    return func.coalesce(Template.home_id, Template.id)


def zone_rows(session: Session, template: Template) -> list[Template]:
    """A template's row in each zone that has it, the first one first."""
    home = shown_id(template)
    query = select(Template).where(
        or_(Template.id == home, Template.home_id == home),
        Template.removed.is_(None),
        Template.state != TemplateState.deleted,
    )
    return list(session.scalars(query.order_by(Template.home_id.is_not(None), Template.created, Template.id)))


def in_zone(session: Session, template: Template, zone_id: str) -> Template | None:
    """A template's row in a zone; None if it is not there."""
    if template.zone_id == zone_id and template.removed is None and template.state != TemplateState.deleted:
        return template
    return next((row for row in zone_rows(session, template) if row.zone_id == zone_id), None)


def spread(session: Session, template: Template) -> None:
    """Give what was set for a template to its rows in all zones."""
    for row in zone_rows(session, template):
        for name in SHARED:
            setattr(row, name, getattr(template, name))
