"""The end of a domain: the projects, the accounts and the domains in it, then itself."""

from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from mgmt.model.configuration import Scope
from mgmt.model.errors import InUse
from mgmt.model.states import AccountType, DomainState
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.ops.tenancy import belongings
from mgmt.ops.tenancy.accounts import delete_account
from mgmt.ops.tenancy.projects import delete_project
from mgmt.store.tables import (
    Account,
    Dedication,
    DiskOffering,
    Domain,
    NetworkOffering,
    OfferingDomain,
    Project,
    ServiceOffering,
    VlanRange,
)
from mgmt.store.tables.base import now

OFFERINGS: tuple[Any, ...] = (ServiceOffering, DiskOffering, NetworkOffering)


def delete_domain(runtime: Runtime, saga: Saga, *, domain_id: str) -> None:
    """Remove a domain with all that is in it, for good.

    What is removed stays removed if a later part cannot be; the domain is Active again then, and can be
    deleted again.
    """
    with runtime.locks.hold(f"domain:{domain_id}"):
        saga.on_failure("open what is left", lambda: _open(runtime, domain_id))
        inside = saga.step("look what is in the domain", lambda: _inside(runtime, domain_id))
        for project_id, name in inside["projects"]:
            with saga.nested(f"project {name}") as inner:
                delete_project(runtime, inner, project_id=project_id, cleanup=True)
        for account_id, name in inside["accounts"]:
            with saga.nested(f"account {name}") as inner:
                delete_account(runtime, inner, account_id=account_id)
        for below_id, path in inside["domains"]:
            saga.step(f"remove domain {path}", lambda below_id=below_id: _remove(runtime, below_id))  # type: ignore[misc]


def domains_of(session: Session, domain: Domain) -> list[Domain]:
    """A domain and all below it, those without others in them first."""
    below = Domain.path.startswith(domain.path, autoescape=True)
    found = session.scalars(select(Domain).where(below, Domain.removed.is_(None)))
    return sorted(found, key=lambda row: (-row.path.count("/"), row.path))


def accounts_of(session: Session, domain: Domain) -> list[Account]:
    """The accounts in a domain and below it; those of projects go with these."""
    ids = [row.id for row in domains_of(session, domain)]
    query = select(Account).where(Account.domain_id.in_(ids), Account.removed.is_(None))
    return list(
        session.scalars(
            query.where(Account.type != AccountType.project).order_by(Account.created, Account.id)
        )
    )


def projects_of(session: Session, domain: Domain) -> list[Project]:
    """The projects in a domain and below it."""
    ids = [row.id for row in domains_of(session, domain)]
    query = select(Project).where(Project.domain_id.in_(ids), Project.removed.is_(None))
    return list(session.scalars(query.order_by(Project.created, Project.id)))


def refuse_while_in_use(session: Session, domain: Domain, advice: str) -> None:
    """Raise InUse, with what it is, if anything is in the domain."""
    groups = (
        ("domain", [row.path.strip("/") for row in domains_of(session, domain) if row.id != domain.id]),
        ("project", [row.name for row in projects_of(session, domain)]),
        ("account", [row.name for row in accounts_of(session, domain)]),
    )
    there = [_group(word, names) for word, names in groups if names]
    if there:
        raise InUse(f"Domain {domain.name} still has {', '.join(there)}: {advice}")


def remove_domain(session: Session, domain: Domain) -> None:
    """Remove a domain that has nothing in it. Raises InUse."""
    refuse_while_in_use(session, domain, "these came meanwhile; delete it again")
    moment = now()
    given = update(Dedication).where(Dedication.domain_id == domain.id, Dedication.removed.is_(None))
    session.execute(given.values(removed=moment))
    ranges = update(VlanRange).where(VlanRange.domain_id == domain.id)
    session.execute(ranges.values(account_id=None, domain_id=None))
    _remove_offerings(session, domain, moment)
    belongings.remove_settings(session, Scope.domain, domain.id)
    domain.removed = moment


def _remove_offerings(session: Session, domain: Domain, moment: datetime) -> None:
    """Offerings for this domain alone go with it; else who gets a domain of its path next would have them."""
    table = OfferingDomain
    mine = set(session.scalars(select(table.offering_id).where(table.domain_id == domain.id)))
    shared = select(table.offering_id).where(table.offering_id.in_(mine), table.domain_id != domain.id)
    others = set(session.scalars(shared))
    for kind in OFFERINGS:
        only = update(kind).where(kind.id.in_(mine - others), kind.removed.is_(None))
        session.execute(only.values(removed=moment))
    session.execute(delete(table).where(table.domain_id == domain.id, table.offering_id.in_(others)))


def _group(word: str, names: list[str], most: int = 3) -> str:
    shown = ", ".join(names[:most]) + (" …" if len(names) > most else "")
    return f"{len(names)} {word}(s) ({shown})"


def _inside(runtime: Runtime, domain_id: str) -> dict[str, list[list[str]]]:
    with runtime.database.reading() as session:
        domain = session.get_one(Domain, domain_id)
        return {
            "projects": [[row.id, row.name] for row in projects_of(session, domain)],
            "accounts": [[row.id, row.name] for row in accounts_of(session, domain)],
            "domains": [[row.id, row.path] for row in domains_of(session, domain)],
        }


def _remove(runtime: Runtime, domain_id: str) -> None:
    with runtime.database.writing() as session:
        domain = session.get_one(Domain, domain_id)
        if domain.removed is None:
            remove_domain(session, domain)


def _open(runtime: Runtime, domain_id: str) -> None:
    with runtime.database.writing() as session:
        domain = session.get_one(Domain, domain_id)
        for row in domains_of(session, domain):
            row.state = DomainState.active
