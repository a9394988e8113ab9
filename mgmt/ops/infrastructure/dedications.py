"""Zones, pods, clusters and hosts that serve one domain, or one account of it, alone.

Placement honours them (`mgmt.alloc.hosts`); here they are made and taken back.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.model.errors import InUse, ParameterError
from mgmt.model.states import VmKind
from mgmt.ops.infrastructure.maintenance import listed
from mgmt.store.tables import Account, Cluster, Dedication, Domain, Host, Pod, Vm, Zone

KINDS: dict[str, type[Any]] = {"zone": Zone, "pod": Pod, "cluster": Cluster, "host": Host}


@dataclass(frozen=True)
class Beneficiary:
    """For whom: all of a domain and the domains below, or one account."""

    domain: Domain
    account: Account | None

    @property
    def words(self) -> str:
        """`account a of domain d`, `domain d`."""
        domain = f"domain {self.domain.name}"
        return f"account {self.account.name} of {domain}" if self.account else domain


def dedicate(session: Session, kind: str, row: Any, owner: Beneficiary) -> Dedication:
    """Dedicate a resource. Raises `ParameterError` if it, or one above or below it, is somebody else's."""
    for other in _related(session, kind, row):
        if other.resource_id == row.id:
            raise ParameterError(f"The {kind} {row.name} is dedicated already; release it first")
        if not _agrees(session, other, owner):
            text = f"A {other.resource_type} around or in {kind} {row.name} is dedicated to somebody else"
            raise ParameterError(f"{text} ({other.resource_id}); release that first")
    strangers = _strangers(session, kind, row, owner)
    if strangers:
        raise InUse(f"The {kind} {row.name} has {listed(strangers)}, not of {owner.words}; move them first")
    made = Dedication(
        resource_type=kind,
        resource_id=row.id,
        domain_id=owner.domain.id,
        account_id=owner.account.id if owner.account else None,
    )
    session.add(made)
    return made


def release_dedication(session: Session, resource_id: str, moment: datetime) -> bool:
    """Let everybody use a resource again; whether it was dedicated."""
    query = select(Dedication).where(Dedication.resource_id == resource_id, Dedication.removed.is_(None))
    row = session.scalar(query)
    if row is not None:
        row.removed = moment
    return row is not None


def _related(session: Session, kind: str, row: Any) -> list[Dedication]:
    """The dedications of a resource, of those around it and of those in it."""
    ids = [row.id, *(getattr(row, f"{above}_id", None) for above in ("zone", "pod", "cluster"))]
    inside = [
        select(table.id).where(getattr(table, f"{kind}_id") == row.id)
        for table in (Pod, Cluster, Host)
        if hasattr(table, f"{kind}_id")
    ]
    query = select(Dedication).where(Dedication.removed.is_(None))
    found = list(session.scalars(query.where(Dedication.resource_id.in_([item for item in ids if item]))))
    for part in inside:
        found += session.scalars(query.where(Dedication.resource_id.in_(part)))
    return found


def _agrees(session: Session, other: Dedication, owner: Beneficiary) -> bool:
    """Whether both can be: for the same account, or within one line of domains."""
    if other.account_id is not None and owner.account is not None:
        return other.account_id == owner.account.id
    theirs, ours = session.get_one(Domain, other.domain_id).path, owner.domain.path
    return theirs.startswith(ours) or ours.startswith(theirs)


def _strangers(session: Session, kind: str, row: Any, owner: Beneficiary) -> list[str]:
    """Names of the VMs there that are not the beneficiary's."""
    column = Host.id if kind == "host" else getattr(Host, f"{kind}_id")
    query = (
        select(Vm.name)
        .join(Host, Host.id == Vm.host_id)
        .join(Domain, Domain.id == Vm.domain_id)
        .where(column == row.id, Vm.kind == VmKind.user, Vm.removed.is_(None))
    )
    if owner.account is not None:
        query = query.where(Vm.account_id != owner.account.id)
    else:
        query = query.where(~Domain.path.startswith(owner.domain.path, autoescape=True))
    return list(session.scalars(query.order_by(Vm.name)))
