"""Resource limits: counted for an account and every domain above it, in the transaction of the resource.

Counts are locked before they are looked at, so two deploys at once never exceed a limit together: SQLite's
writers come one by one anyway, PostgreSQL locks the rows, the account's first, then the domains from the
nearest up to ROOT. A transaction that counts several resources hands them over together (`reserve_all`), or
in the order of their numbers, so that all lock in one order and none waits for another in a circle.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, bindparam, case, literal, or_, select, union_all, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from mgmt.model.errors import LimitReached
from mgmt.model.resources import DEFAULT_LIMITS, UNLIMITED, OwnerKind, ResourceType, limit_item
from mgmt.model.states import AccountType
from mgmt.store.tables import Account, ConfigurationValue, Domain, ResourceCount, ResourceLimit

Amounts = Mapping[ResourceType, int]
GLOBAL = "global"
# Statements are built once, because each deploy needs them.
_DEFAULTS = select(ConfigurationValue.name, ConfigurationValue.value).where(
    ConfigurationValue.name.in_(bindparam("names", expanding=True)), ConfigurationValue.scope == GLOBAL
)
_LIMITS = select(ResourceLimit.owner_id, ResourceLimit.type, ResourceLimit.most).where(
    ResourceLimit.owner_id.in_(bindparam("owners", expanding=True))
)
_DOMAINS = select(Domain).where(Domain.path.in_(bindparam("paths", expanding=True)), Domain.removed.is_(None))
_COUNTS: Any = ResourceCount.__table__


@dataclass(frozen=True)
class _Owner:
    """Somebody whose resources are counted."""

    id: str
    kind: OwnerKind
    name: str
    is_unlimited: bool = False


def reserve(session: Session, account: Account, kind: ResourceType, amount: int = 1) -> None:
    """Count `amount` more for an account and its domains. Raises LimitReached; then nothing is counted."""
    reserve_all(session, account, {kind: amount})


def release(session: Session, account: Account, kind: ResourceType, amount: int = 1) -> None:
    """Count `amount` less, never below nothing."""
    release_all(session, account, {kind: amount})


def reserve_all(session: Session, account: Account, amounts: Amounts) -> None:
    """Count several resources at once, all or none. Raises LimitReached."""
    wanted = {kind: amount for kind, amount in sorted(amounts.items()) if amount > 0}
    if wanted:
        _add(session, _locked_and_checked(session, account, wanted), wanted)


def require(session: Session, account: Account, amounts: Amounts) -> None:
    """Raise LimitReached unless so much could be reserved; nothing is counted."""
    _locked_and_checked(session, account, amounts)


def release_all(session: Session, account: Account, amounts: Amounts) -> None:
    """Count several resources less at once."""
    given = {kind: -amount for kind, amount in sorted(amounts.items()) if amount > 0}
    if given:
        _add(session, lock_counts(session, [owner.id for owner in _owners(session, account)], given), given)


def count_all(session: Session, account: Account, amounts: Amounts) -> None:
    """Count what is there already, whatever the limits say: sizes that are known only afterwards."""
    owners = [owner.id for owner in _owners(session, account)]
    changes = {kind: amount for kind, amount in sorted(amounts.items()) if amount}
    if changes:
        _add(session, lock_counts(session, owners, changes), changes)


def default_limit(session: Session, kind: ResourceType, owner: OwnerKind) -> int:
    """The limit of an owner without a limit of its own: the configuration's, else CloudStack's default."""
    return default_limits(session, {owner})[owner].get(kind, UNLIMITED)


def default_limits(session: Session, owners: Iterable[OwnerKind]) -> dict[OwnerKind, dict[ResourceType, int]]:
    """The limits of owners without limits of their own, by their kind; one statement."""
    found = {owner: dict(DEFAULT_LIMITS[owner]) for owner in owners}
    items = {limit_item(kind, owner): (owner, kind) for owner, limits in found.items() for kind in limits}
    for name, value in session.execute(_DEFAULTS, {"names": list(items)}):
        owner, kind = items[name]
        found[owner][kind] = int(value)
    return found


def limits_of(
    session: Session, owners: Iterable[tuple[str, OwnerKind]]
) -> dict[str, dict[ResourceType, int]]:
    """The limits of many owners, own or default, by id; two statements."""
    wanted = dict(owners)
    found = _default_limits_of(session, wanted)
    for owner_id, kind, most in session.execute(_LIMITS, {"owners": list(wanted)}):
        found[owner_id][ResourceType(kind)] = most
    return found


def counts_of(session: Session, owner_ids: Iterable[str]) -> dict[str, dict[ResourceType, int]]:
    """What many owners have, by id; one statement."""
    found: dict[str, dict[ResourceType, int]] = {owner: dict.fromkeys(ResourceType, 0) for owner in owner_ids}
    for owner_id, kind, used in session.execute(_rows_of(ResourceCount.used, found)):
        found[owner_id][ResourceType(kind)] = used
    return found


def limits_and_counts_of(
    session: Session, owners: Iterable[tuple[str, OwnerKind]]
) -> tuple[dict[str, dict[ResourceType, int]], dict[str, dict[ResourceType, int]]]:
    """Limits and counts of many owners, by id; two statements for both."""
    wanted = dict(owners)
    limits = _default_limits_of(session, wanted)
    counts = {owner_id: dict.fromkeys(ResourceType, 0) for owner_id in wanted}
    query = union_all(
        _rows_of(ResourceLimit.most, wanted).add_columns(literal(value=True)),
        _rows_of(ResourceCount.used, wanted).add_columns(literal(value=False)),
    )
    for owner_id, kind, amount, is_limit in session.execute(query):
        (limits if is_limit else counts)[owner_id][ResourceType(kind)] = amount
    return limits, counts


def _default_limits_of(
    session: Session, owners: Mapping[str, OwnerKind]
) -> dict[str, dict[ResourceType, int]]:
    defaults = default_limits(session, set(owners.values()))
    return {owner_id: dict(defaults[kind]) for owner_id, kind in owners.items()}


def _rows_of(amount: Any, owner_ids: Iterable[str]) -> Any:
    table = amount.class_
    return select(table.owner_id, table.type, amount).where(table.owner_id.in_(list(owner_ids)))


def owner_kind(account: Account) -> OwnerKind:
    """Whether limits of accounts or of projects hold for an account."""
    return OwnerKind.project if account.type == AccountType.project else OwnerKind.account


def domain_chain(session: Session, domain_id: str) -> list[Domain]:
    """A domain and all above it, the nearest first."""
    own = session.get_one(Domain, domain_id)
    if own.path == "/":
        return [own]
    names = own.path.strip("/").split("/")
    paths = ["/", *("/" + "/".join(names[:end]) + "/" for end in range(1, len(names) + 1))]
    rows = session.scalars(_DOMAINS, {"paths": paths})
    return sorted(rows, key=lambda row: -len(row.path))


def _owners(session: Session, account: Account) -> list[_Owner]:
    own = _Owner(account.id, owner_kind(account), account.name)
    domains = domain_chain(session, account.domain_id)
    return [
        own,
        *(
            _Owner(row.id, OwnerKind.domain, ("ROOT" + row.path).rstrip("/"), row.path == "/")
            for row in domains
        ),
    ]


def _locked_and_checked(
    session: Session, account: Account, amounts: Amounts
) -> dict[tuple[str, ResourceType], int]:
    owners = _owners(session, account)
    used = lock_counts(session, [owner.id for owner in owners], amounts)
    if account.type != AccountType.root_admin:  # as in CloudStack, also towards the domains
        _check(session, owners, amounts, used)
    return used


def lock_counts(
    session: Session, owner_ids: Sequence[str], kinds: Iterable[ResourceType]
) -> dict[tuple[str, ResourceType], int]:
    """What each owner has of each kind; nobody else changes it until this transaction ends.

    Owners are locked in the order in which they are named: accounts before domains, these from below.
    """
    wanted = list(kinds)
    query, keys = _locking(len(owner_ids)), [(owner_id, kind) for owner_id in owner_ids for kind in wanted]
    values: dict[str, Any] = {f"owner{at}": owner_id for at, owner_id in enumerate(owner_ids)}
    values["kinds"] = [int(kind) for kind in wanted]
    locked = _counts(session, query, values)
    if len(locked) < len(keys):
        _make_rows(session, keys, set(locked))
        locked = _counts(session, query, values)
    return locked


def _counts(session: Session, query: Any, values: dict[str, Any]) -> dict[tuple[str, ResourceType], int]:
    return {(owner, ResourceType(kind)): used for owner, kind, used in session.execute(query, values)}


@lru_cache(maxsize=32)
def _locking(owners: int) -> Any:
    """Counts of so many owners, locked in the owners' order."""
    named: list[Any] = [bindparam(f"owner{at}") for at in range(owners)]
    rank = case(*((ResourceCount.owner_id == owner, at) for at, owner in enumerate(named)))
    return (
        select(ResourceCount.owner_id, ResourceCount.type, ResourceCount.used)
        .where(ResourceCount.owner_id.in_(named))
        .where(ResourceCount.type.in_(bindparam("kinds", expanding=True)))
        .order_by(rank, ResourceCount.type)
        .with_for_update()
    )


def _make_rows(
    session: Session, keys: list[tuple[str, ResourceType]], there: set[tuple[str, ResourceType]]
) -> None:
    """Rows for first counts.

    On PostgreSQL they are committed at once, because another transaction that inserts the same ones would
    wait for the end of this one, with locks that this one may want.
    """
    rows = [{"owner_id": key[0], "type": int(key[1]), "used": 0} for key in keys if key not in there]
    if not rows:
        return
    engine = session.get_bind().engine
    if engine.dialect.name == "sqlite":
        session.execute(sqlite.insert(ResourceCount).values(rows).on_conflict_do_nothing())
        return
    with engine.begin() as connection:
        connection.execute(postgresql.insert(ResourceCount).values(rows).on_conflict_do_nothing())


def _check(
    session: Session, owners: list[_Owner], wanted: Amounts, used: dict[tuple[str, ResourceType], int]
) -> None:
    limits = limits_of(session, [(owner.id, owner.kind) for owner in owners])
    for owner in owners:
        for kind, amount in wanted.items():
            most = UNLIMITED if owner.is_unlimited else limits[owner.id].get(kind, UNLIMITED)
            if most != UNLIMITED and used[owner.id, kind] + amount > most * kind.unit:
                raise LimitReached(_sentence(owner, kind, most, used[owner.id, kind], amount))


def _sentence(owner: _Owner, kind: ResourceType, most: int, used: int, asked: int) -> str:
    unit = {ResourceType.memory: " MiB"}.get(kind, "" if kind.unit == 1 else " GiB")
    return (
        f"{owner.kind.capitalize()} {owner.name} may have {most}{unit} of resource {kind.name},"
        f" has {used / kind.unit:.6g}{unit} and asks for {asked / kind.unit:.6g}{unit} more:"
        " give some back, or ask an administrator for a higher limit (updateResourceLimit)"
    )


def _add(session: Session, used: dict[tuple[str, ResourceType], int], amounts: Amounts) -> None:
    """Write the new counts; the rows are locked, so what was read is what is there."""
    session.flush()
    values: dict[str, Any] = {"owners": list({owner: None for owner, _kind in used})}
    for at, (kind, amount) in enumerate(amounts.items()):
        values |= {f"kind{at}": int(kind), f"amount{at}": amount}
    session.connection().execute(_adding(len(amounts)), values)


@lru_cache(maxsize=32)
def _adding(kinds: int) -> Any:
    """To add to so many kinds of some owners' counts.

    Less than nothing would mean that a count was lost; then updateResourceCount corrects it.
    """
    named = [
        (_COUNTS.c.type == bindparam(f"kind{at}"), bindparam(f"amount{at}", type_=BigInteger))
        for at in range(kinds)
    ]
    total = _COUNTS.c.used + case(*named)
    owners = _COUNTS.c.owner_id.in_(bindparam("owners", expanding=True))
    rows = update(_COUNTS).where(owners, or_(*(is_kind for is_kind, _amount in named)))
    return rows.values(used=case((total < 0, 0), else_=total))
