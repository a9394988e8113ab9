"""Offerings that are for the accounts of some domains only, and of those below them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import ColumnElement, Select, func, literal, select
from sqlalchemy.orm import Session

from mgmt.store.tables import DiskOffering, Domain, NetworkOffering, OfferingDomain, ServiceOffering

if TYPE_CHECKING:
    from mgmt.api.call import Call

DOMAIN_WORDS = "the domains, comma separated, for whose accounts and those below it is; else for everybody"
Offering = TypeVar("Offering", ServiceOffering, DiskOffering, NetworkOffering)
DomainNames = Mapping[str, Any]
"""`domain` and `domainid` of an offering; neither if it is for everybody."""


def is_for(offering_id: Any, path: str) -> ColumnElement[bool]:
    """Whether offerings (a column with their ids, or one id) are for the domain of a path."""
    limited = select(OfferingDomain.offering_id)
    # The path of a domain above is how this one's begins; names may hold what LIKE takes for a pattern.
    above = func.substr(literal(path), 1, func.length(Domain.path)) == Domain.path
    here = limited.join(Domain, Domain.id == OfferingDomain.domain_id).where(above)
    condition: ColumnElement[bool] = offering_id.not_in(limited) | offering_id.in_(here)
    return condition


def for_domains(call: "Call", query: Select[Any], offering_id: Any, domain_id: str | None) -> Select[Any]:
    """The query for offerings that the caller may use, and the domain if one is named."""
    if not call.caller.is_root:
        query = query.where(is_for(offering_id, call.caller.domain.path))
    if domain_id is not None:
        query = query.where(is_for(offering_id, call.row(Domain, domain_id).path))
    return query


def may_use(session: Session, offering_id: str, path: str) -> bool:
    """Whether accounts of the domain of a path may use an offering."""
    return bool(session.scalar(select(is_for(literal(offering_id), path))))


def add_offering(session: Session, offering: Offering, domain_ids: Iterable[str] | None) -> Offering:
    """Insert an offering, for these domains only if there are any."""
    session.add(offering)
    session.flush()
    session.add_all(
        OfferingDomain(offering_id=offering.id, domain_id=domain_id)
        for domain_id in dict.fromkeys(domain_ids or ())
    )
    return offering


def domains_of(session: Session, offering_ids: Sequence[str]) -> Mapping[str, DomainNames]:
    """What answers say of the domains of offerings; one statement."""
    query = (
        select(OfferingDomain.offering_id, Domain.id, Domain.name)
        .join(Domain, Domain.id == OfferingDomain.domain_id)
        .where(OfferingDomain.offering_id.in_(offering_ids))
        .order_by(Domain.path)
    )
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for offering_id, domain_id, name in session.execute(query):
        names = found[offering_id]
        names["domainid"] = ",".join(filter(None, (names.get("domainid"), domain_id)))
        names["domain"] = ",".join(filter(None, (names.get("domain"), name)))
    return found
