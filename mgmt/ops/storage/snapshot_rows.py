"""New rows of snapshots, by somebody's command or by a policy's clock: counted and named."""

from datetime import datetime

from sqlalchemy.orm import Session

from mgmt.alloc.limits import require, reserve
from mgmt.model.resources import ResourceType
from mgmt.model.schedules import Interval
from mgmt.store.tables import Account, Snapshot, SnapshotPolicy, Vm, Volume

MANUAL = "MANUAL"
LONGEST_NAME = 255


def new_snapshot(
    session: Session,
    volume: Volume,
    moment: datetime,
    *,
    name: str | None = None,
    policy: SnapshotPolicy | None = None,
) -> Snapshot:
    """Insert and count the row of a snapshot of `volume`. Raises LimitReached; then nothing is changed."""
    owner = session.get_one(Account, volume.account_id)
    require(session, owner, {ResourceType.secondary_storage: volume.size})
    reserve(session, owner, ResourceType.snapshot)
    row = Snapshot(
        account_id=volume.account_id,
        domain_id=volume.domain_id,
        zone_id=volume.zone_id,
        volume_id=volume.id,
        policy_id=policy.id if policy else None,
        name=name or _name(session, volume, moment),
        kind=Interval(policy.interval).name.upper() if policy else MANUAL,
        size=volume.size,
    )
    session.add(row)
    session.flush()
    return row


def turn_of(volume: Volume) -> str:
    """Whose jobs a job about this volume's content waits for: its VM's, or else its own.

    A VM neither starts nor stops while a disk of it is copied or reverted.
    """
    return volume.vm_id or volume.id


def _name(session: Session, volume: Volume, moment: datetime) -> str:
    vm = session.get(Vm, volume.vm_id) if volume.vm_id else None
    words = (vm.name if vm else "detached", volume.name, moment.strftime("%Y%m%d%H%M%S"))
    return "_".join(words)[-LONGEST_NAME:]
