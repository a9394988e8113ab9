"""Events: what happened, to what, by whom. One line each, written in the transaction of the change."""

from sqlalchemy.orm import Session

from mgmt.store.tables import Event, User


def record_event(
    session: Session,
    event_type: str,
    description: str,
    *,
    user: User,
    account_id: str,
    domain_id: str,
    level: str = "INFO",
    state: str = "Completed",
    resource_type: str | None = None,
    resource_id: str | None = None,
    parent_id: str | None = None,
) -> Event:
    """Add an event. `state` is Scheduled, Started or Completed; `level` INFO, WARN or ERROR."""
    event = Event(
        type=event_type,
        description=description,
        level=level,
        state=state,
        user_id=user.id,
        account_id=account_id,
        domain_id=domain_id,
        resource_type=resource_type,
        resource_id=resource_id,
        parent_id=parent_id,
    )
    session.add(event)
    return event
