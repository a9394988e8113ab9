"""Values of the configuration: what is set closest to a place, else above it, else the default.

From the closest: account, its domain and the domains above; storage pool; cluster; zone; everywhere. Only
the scopes that an item has count.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Float, bindparam, cast, delete, func, literal, select, tuple_
from sqlalchemy.orm import Session, aliased

from mgmt.model.configuration import Item, Scope
from mgmt.store.tables import Account, Cluster, ConfigurationValue, Domain, StoragePool

T = TypeVar("T", bool, int, float, str)
Place = tuple[Scope, str]
"""A scope and the id of what it is (empty for everywhere)."""

EVERYWHERE: Place = (Scope.everywhere, "")
_ALL = select(
    ConfigurationValue.name, ConfigurationValue.scope, ConfigurationValue.scope_id, ConfigurationValue.value
).where(ConfigurationValue.name.in_(bindparam("names", expanding=True)))


def configured(
    session: Session,
    item: Item[T],
    *,
    zone_id: str | None = None,
    cluster_id: str | None = None,
    pool_id: str | None = None,
    domain_id: str | None = None,
    account_id: str | None = None,
) -> T:
    """The value of an item at a place; one statement, more only where the places above must be found."""
    ids = {
        Scope.zone: zone_id,
        Scope.cluster: cluster_id,
        Scope.pool: pool_id,
        Scope.domain: domain_id,
        Scope.account: account_id,
    }
    value: T = configured_items(session, (item,), ids)[item.name]
    return value


def configured_items(
    session: Session, items: Iterable[Item[Any]], ids: Mapping[Scope, str | None]
) -> dict[str, Any]:
    """The values of many items at a place, by name, with as many statements as for one."""
    wanted = {item.name: item for item in items}
    scopes = {scope for item in wanted.values() for scope in item.scopes}
    places = _places(session, scopes, ids)
    query = select(ConfigurationValue).where(
        ConfigurationValue.name.in_(wanted),
        tuple_(ConfigurationValue.scope, ConfigurationValue.scope_id).in_(places),
    )
    found = {(row.name, row.scope, row.scope_id): row.value for row in session.scalars(query)}
    return {item.name: _closest(item, places, found) for item in wanted.values()}


def _closest(item: Item[T], places: Iterable[Place], found: Mapping[tuple[str, str, str], str]) -> T:
    for scope, at in places:
        text = found.get((item.name, scope, at))
        if text is not None and scope in item.scopes:
            return item.read(text)
    return item.default


def configured_column(item: Item[Any], at: Mapping[Scope, ColumnElement[Any]]) -> ColumnElement[Any]:
    """A number's value at a place that differs from row to row, as an expression within a statement.

    `at` names the columns with the ids of the places, the closest scope first.
    """
    places: list[tuple[Scope, ColumnElement[Any]]] = [*at.items(), (Scope.everywhere, literal(""))]
    values = []
    for scope, column in places:
        row = aliased(ConfigurationValue)
        found = select(cast(row.value, Float)).where(
            row.name == item.name, row.scope == scope.value, row.scope_id == column
        )
        values.append(found.correlate_except(row).scalar_subquery())
    return func.coalesce(*values, literal(item.default, Float))


@dataclass(frozen=True)
class Values:
    """Everything that is set for some items, read by one statement: for loops over many places."""

    found: Mapping[tuple[str, str, str], str]

    def at(self, item: Item[T], *places: Place) -> T:
        """The value of an item; `places` are the closest first, everywhere comes last by itself."""
        return _closest(item, (*places, EVERYWHERE), self.found)


def all_values(session: Session, items: Iterable[Item[Any]]) -> Values:
    """What is set for these items, wherever it is."""
    rows = session.execute(_ALL, {"names": [item.name for item in items]})
    return Values({(name, scope, scope_id): value for name, scope, scope_id, value in rows})


def set_value(session: Session, item: Item[T], place: Place, value: T) -> None:
    """Set an item at a place."""
    scope, scope_id = place
    session.merge(ConfigurationValue(scope=scope, scope_id=scope_id, name=item.name, value=item.write(value)))
    session.flush()


def reset_value(session: Session, item: Item[T], place: Place) -> None:
    """Forget what is set at a place: what is above it holds again."""
    scope, scope_id = place
    session.execute(
        delete(ConfigurationValue).where(
            ConfigurationValue.name == item.name,
            ConfigurationValue.scope == scope,
            ConfigurationValue.scope_id == scope_id,
        )
    )


def _places(session: Session, scopes: Container[Scope], ids: Mapping[Scope, str | None]) -> list[Place]:
    """The places to look at, the closest first."""
    account, domain, zone = ids.get(Scope.account), ids.get(Scope.domain), ids.get(Scope.zone)
    cluster, pool = ids.get(Scope.cluster), ids.get(Scope.pool)
    if account and domain is None and Scope.domain in scopes:
        domain = session.scalar(select(Account.domain_id).where(Account.id == account))
    if zone is None and Scope.zone in scopes:
        zone = _zone_above(session, cluster, pool)
    domains: list[str] = []
    if domain is not None and Scope.domain in scopes:
        domains = _domains_above(session, domain)
    places: list[tuple[Scope, str | None]] = [
        (Scope.account, account),
        *((Scope.domain, above) for above in domains),
        (Scope.pool, pool),
        (Scope.cluster, cluster),
        (Scope.zone, zone),
        (Scope.everywhere, ""),
    ]
    return [(scope, at) for scope, at in places if at is not None and scope in scopes]


def _zone_above(session: Session, cluster_id: str | None, pool_id: str | None) -> str | None:
    if cluster_id is not None:
        return session.scalar(select(Cluster.zone_id).where(Cluster.id == cluster_id))
    if pool_id is not None:
        return session.scalar(select(StoragePool.zone_id).where(StoragePool.id == pool_id))
    return None


def _domains_above(session: Session, domain_id: str) -> list[str]:
    """A domain and those above it, the closest first."""
    path = session.scalar(select(Domain.path).where(Domain.id == domain_id)) or ""
    parts = path.strip("/").split("/") if path.strip("/") else []
    paths = ["/" + "".join(f"{part}/" for part in parts[:count]) for count in range(len(parts), -1, -1)]
    query = select(Domain.path, Domain.id).where(Domain.path.in_(paths), Domain.removed.is_(None))
    by_path = {row.path: row.id for row in session.execute(query)}
    return [by_path[item] for item in paths if item in by_path]
