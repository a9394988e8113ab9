"""List commands: filters, scope, keyword, paging and tags, declared once and run as a few statements.

A list is one statement for the count, one for the page and the fixed number its entity's builder needs,
however many rows there are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar, get_type_hints

from msgspec import Meta
from msgspec.structs import asdict
from sqlalchemy import ColumnElement, Select, UnaryExpression, false, func, or_, select
from sqlalchemy.sql import operators

from mgmt.api.access import Ref
from mgmt.api.call import Call
from mgmt.api.ownership import OWNER, PROJECT, visible
from mgmt.api.params import NoEffect, parse_hint
from mgmt.api.registry import OWN_ID, Command, Entity, Response
from mgmt.model.errors import ParameterError
from mgmt.store.tables import Domain, Project, Tag
from mgmt.store.tables.base import Identified

MOST = 500
"""The longest page, and the length of the only page of a call without paging."""

UNLIMITED = -1
M = TypeVar("M")


@dataclass(frozen=True, eq=False)
class Equals:
    """Marks a list's parameter as a filter: the column equals the value, or is one of the values."""

    column: Any


@dataclass(frozen=True, eq=False)
class AllAre:
    """Marks a list's parameter as a filter on what is the same for all rows here: another value finds none.

    `AllAre(None)`: no row has it, so any value finds none.
    """

    value: str | bool | None

    def fits(self, wanted: str | bool) -> bool:
        """Whether the rows have what is wanted; words without regard to case."""
        have = self.value
        if isinstance(have, str) and isinstance(wanted, str):
            return have.casefold() == wanted.casefold()
        return have == wanted


ShownToUsers = Annotated[bool | None, "true for what users see: all of it", AllAre(True)]
"""`fordisplay` and its kin: CloudStack can hide things from their owners."""
CountAnyway = Annotated[bool, NoEffect("the count is in the answer beside the rows")]
"""`retrieveonlyresourcecount`."""


class Listing(Command, kw_only=True, frozen=True):
    """Root of all lists."""

    page: Annotated[int | None, Meta(ge=1)] = None
    pagesize: Annotated[int | None, Meta(ge=UNLIMITED)] = None

    def fetch(self, call: Call) -> tuple[int, list[Response]]:
        """The number of all items that match, and the answers of this page."""
        raise NotImplementedError

    def window(self) -> tuple[int, int | None]:
        """Where the page starts, and how long it is; None for all. Raises `ParameterError`."""
        if self.page is not None and self.pagesize is None:
            raise ParameterError('"pagesize" parameter is required when "page" is specified')
        if self.page is None and self.pagesize not in (None, UNLIMITED):
            raise ParameterError('"page" parameter is required when "pagesize" is specified')
        if self.pagesize is not None and self.pagesize > MOST:
            text = f"Invalid value {self.pagesize} for parameter pagesize: expected at most {MOST}"
            raise ParameterError(text)
        if self.pagesize == UNLIMITED:
            return 0, None
        size = MOST if self.pagesize is None else self.pagesize
        return ((self.page or 1) - 1) * size, size


class PlainListCommand(Listing, kw_only=True, frozen=True):
    """A list of what is in no table; its spec names the response and the `key`. A keyword searches all its
    texts."""

    keyword: str | None = None

    def items(self, call: Call) -> Sequence[Response]:
        """All items."""
        raise NotImplementedError

    def fetch(self, call: Call) -> tuple[int, list[Response]]:
        """One page of the items."""
        start, size = self.window()
        wanted = (self.keyword or "").lower()
        items = [item for item in self.items(call) if not wanted or _mentions(item, wanted)]
        return len(items), list(items[start:] if size is None else items[start : start + size])


class ListCommand(Listing, kw_only=True, frozen=True):
    """A list of an entity's rows.

    Subclasses declare filters as parameters marked `Equals(column)`, name the columns a keyword searches
    in `searched`, and override `narrow` for what is not an equality.
    """

    searched: ClassVar[tuple[Any, ...]] = ()
    shows_removed: ClassVar[bool] = False
    id_is_filter: ClassVar[bool] = True

    id: Annotated[str | None, OWN_ID] = None
    ids: Annotated[list[str] | None, OWN_ID] = None
    keyword: str | None = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Conditions of this list alone."""
        return query

    def ownership(self, call: Call) -> ColumnElement[bool] | None:
        """The condition on owners; None where the table has none."""
        return None

    def order(self) -> Sequence[Any]:
        """The order of rows."""
        table = self.entity().table
        return (table.created, table.id)

    def entity(self) -> Entity[Any, Any]:
        """The entity listed."""
        entity = self.spec.entity
        assert entity is not None, f"{type(self).__name__}: the spec of a list names an entity"  # noqa: S101
        return entity

    def fetch(self, call: Call) -> tuple[int, list[Response]]:
        """The number of all rows that match, and the answers of this page."""
        total, rows = self._rows(call, self._query(call))
        return total, self.entity().build(call, rows) if total else []

    def _rows(self, call: Call, query: Select[Any]) -> tuple[int, list[Any]]:
        """The number of all rows, and those of this page. A first page that is not full is all there is."""
        start, size = self.window()
        if start == 0:
            rows = list(call.session.scalars(query.order_by(*self.order()).limit(size)))
            return (self._count(call, query) if len(rows) == size else len(rows)), rows
        total = self._count(call, query)
        return total, self._later_page(call, query, total) if start < total else []

    def _count(self, call: Call, query: Select[Any]) -> int:
        """The number of rows; `narrow` adds conditions only, so the columns need not be read."""
        return call.session.scalar(query.with_only_columns(func.count(), maintain_column_froms=True)) or 0

    def _later_page(self, call: Call, query: Select[Any], total: int) -> list[Any]:
        """Rows of the second half are counted from the end, because a database sorts as many rows as it must
        skip."""
        start, size = self.window()
        assert size is not None  # noqa: S101 (there is no later page of all)
        skipped = max(total - start - size, 0)
        if start <= skipped:
            return list(call.session.scalars(query.order_by(*self.order()).offset(start).limit(size)))
        backwards = query.order_by(*(_reversed(column) for column in self.order()))
        return list(call.session.scalars(backwards.offset(skipped).limit(min(size, total - start))))[::-1]

    def _query(self, call: Call) -> Select[Any]:
        table: type[Identified] = self.entity().table
        query = _all_of(table, self.shows_removed)
        if self.id is not None and self.id_is_filter:
            query = query.where(table.id == self.id)
        if self.ids is not None and self.id_is_filter:
            query = query.where(table.id.in_(self.ids))
        for name, mark in _marked(type(self), Equals):
            query = _filter(query, mark.column, getattr(self, name))
        if any(not mark.fits(value) for mark, value in self._sent_constants()):
            query = query.where(false())
        if self.keyword and self.searched:
            found = (column.icontains(self.keyword, autoescape=True) for column in self.searched)
            query = query.where(or_(*found))
        scope = self.ownership(call)
        return self.narrow(call, query if scope is None else query.where(scope))

    def _sent_constants(self) -> Iterator[tuple[AllAre, Any]]:
        for name, mark in _marked(type(self), AllAre):
            value = getattr(self, name)
            if value not in (None, ""):
                yield mark, value


class OwnedListCommand(ListCommand, kw_only=True, frozen=True):
    """A list of what accounts own: the caller's, another account's, a domain's, or all that is visible.

    `tag_type` is the `resourcetype` under which the entity is tagged (`UserVm`).
    """

    tag_type: ClassVar[str | None] = None

    account: Annotated[str | None, OWNER, "list only what this account of the domain owns"] = None
    domainid: Annotated[str | None, Ref(Domain, use=True), "list only what belongs to this domain"] = None
    projectid: Annotated[
        str | None, PROJECT, Ref(Project, use=True), "list only what belongs to this project; -1 for all"
    ] = None
    listall: bool = False
    isrecursive: bool = False
    tags: Annotated[dict[str, str] | None, "list only what has all these tags"] = None

    def known_as(self) -> Any:
        """The column of the ids that tags name."""
        return self.entity().table.id

    def ownership(self, call: Call) -> ColumnElement[bool] | None:
        """What the caller asked for and may see."""
        return visible(
            call.session,
            call.caller,
            self.entity().table,
            account=self.account,
            domain_id=self.domainid,
            project_id=self.projectid,
            list_all=self.listall,
            recursive=self.isrecursive,
            by_id=self.id is not None or self.ids is not None,
        )

    def _query(self, call: Call) -> Select[Any]:
        return tagged(super()._query(call), self.known_as(), self.tag_type, self.tags)


def tagged(
    query: Select[Any], known_as: Any, tag_type: str | None, tags: dict[str, str] | None
) -> Select[Any]:
    """Narrow a query to what has all these tags; `known_as` is the column of the ids that tags name."""
    for key, value in (tags or {}).items():
        having = select(Tag.resource_id).where(
            Tag.resource_type == tag_type, Tag.key == key, Tag.value == value, Tag.removed.is_(None)
        )
        query = query.where(known_as.in_(having))
    return query


@cache
def _all_of(table: type[Identified], shows_removed: bool) -> Select[Any]:
    """Made once for each table: making a statement takes longer than running it."""
    return select(table) if shows_removed else select(table).where(table.removed.is_(None))


def _mentions(item: Response, text: str) -> bool:
    """Whether a field of an answer holds `text`, which is in lower case."""
    return any(text in value.lower() for value in asdict(item).values() if isinstance(value, str))


def _reversed(column: Any) -> Any:
    """The other direction of a column, or of `column.desc()`."""
    is_descending = isinstance(column, UnaryExpression) and column.modifier is operators.desc_op
    return column.element if is_descending else column.desc()


@cache
def _marked(command: type[Command], kind: type[M]) -> list[tuple[str, M]]:
    """The names of the command's parameters with such a mark, and the mark."""
    hints = get_type_hints(command, include_extras=True)
    names = [name for name in command.__struct_fields__ if name in hints]
    parsed = [parse_hint(name, hints[name], required=False) for name in names]
    return [(item.name, mark) for item in parsed if (mark := item.mark(kind)) is not None]


def _filter(query: Select[Any], column: Any, value: Any) -> Select[Any]:
    if value is None:
        return query
    return query.where(column.in_(value) if isinstance(value, list) else column == value)
