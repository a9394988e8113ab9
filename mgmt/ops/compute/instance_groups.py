"""Names that VMs are shown under."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.store.tables import InstanceGroup


def group_named(session: Session, account_id: str, domain_id: str, name: str) -> InstanceGroup:
    """The account's group of a name, made unless there is one."""
    found = find_group(session, account_id, name)
    if found is None:
        found = InstanceGroup(account_id=account_id, domain_id=domain_id, name=name)
        session.add(found)
        session.flush()
    return found


def find_group(session: Session, account_id: str, name: str) -> InstanceGroup | None:
    """The account's group of a name."""
    return session.scalar(
        select(InstanceGroup).where(
            InstanceGroup.account_id == account_id,
            InstanceGroup.name == name,
            InstanceGroup.removed.is_(None),
        )
    )
