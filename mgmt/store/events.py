"""Events: what happened, to what, by whom. One line each, written in the transaction of the change.

What an asynchronous command does is three events: Scheduled, Started, Completed. The later two have the
first one's id as parent; it follows from the job's, so that whoever runs the job knows it.
"""

from typing import Final
from uuid import UUID, uuid5

from sqlalchemy.orm import Session

from mgmt.store.tables import Event
from mgmt.store.tables.base import new_id

RECONCILED: Final = (
    "CA.CERTIFICATE.PROVISION",
    "HOST.ADD",
    "STORAGE.POOL.CREATE",
    "SYSTEMVM.RESTART",
    "SYSTEMVM.START",
    "VM.STOP",
)
"""Types of events that no command's spec names."""

RESOURCE_TYPES: Final = {
    "BalancerRule": "LoadBalancerRule",
    "PublicAddress": "IpAddress",
    "SshKeyPair": "SSHKeyPair",
    "VlanRange": "VlanIpRange",
    "Vm": "VirtualMachine",
}
"""What CloudStack calls resources whose tables have another name."""


def start_event_id(job_id: str) -> str:
    """The id of the event that says a job was asked for: parent of those that follow."""
    return str(uuid5(UUID(job_id), "Scheduled"))


def record_event(
    session: Session,
    event_type: str,
    description: str,
    *,
    user_id: str,
    account_id: str,
    domain_id: str,
    level: str = "INFO",
    state: str = "Completed",
    resource_type: str | None = None,
    resource_id: str | None = None,
    parent_id: str | None = None,
    event_id: str | None = None,
) -> Event:
    """Add an event. `state` is Scheduled, Started or Completed; `level` INFO, WARN or ERROR."""
    event = Event(
        id=event_id or new_id(),
        type=event_type,
        description=description,
        level=level,
        state=state,
        user_id=user_id,
        account_id=account_id,
        domain_id=domain_id,
        resource_type=resource_type,
        resource_id=resource_id,
        parent_id=parent_id,
    )
    session.add(event)
    return event
