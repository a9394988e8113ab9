"""Every list command of the registry: few statements, and as few for many rows as for one."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mgmt.api.access import Ref
from mgmt.api.app import load_commands
from mgmt.api.dispatch import dispatch
from mgmt.api.lists import AllAre, ListCommand, Listing
from mgmt.api.params import Form, Parameter
from mgmt.api.registry import REGISTRY, Registered
from mgmt.api.testing import Api, open_api
from mgmt.model.states import ImageKind, TemplateState, VmKind
from mgmt.store import tables
from tests.unit.mgmt.api.matrix.people import Person, populate
from tests.unit.mgmt.api.matrix.rows import Rows
from tests.unit.mgmt.frozen_cloud import NewDatabase

pytestmark = pytest.mark.unit
load_commands()
LISTS = [
    item for item in REGISTRY.all() if issubclass(item.command, Listing) and item.name.startswith("list")
]

#: Statements of a list itself; who calls is found by one more.
MOST = 8
#: Sums of a whole cloud, which are not about rows of one table: each kind of capacity has a statement.
SUMS = {"listCapacity": 12}
#: More rows than statements are allowed, so that one statement for each row is one too many.
MANY = 14
HALF = MANY // 2
SINGLE = {tables.Account, tables.Domain, tables.User, tables.Project, tables.ProjectMember}
#: Parameters that must be sent and are no ids.
CHOICES = {
    "templatefilter": "all",
    "isofilter": "all",
    "resourcetype": "UserVm",
    "type": "primary",
    "startdate": "2026-01-01",
    "enddate": "2026-02-28",
}


@dataclass
class World:
    """An API whose tables all have many rows of the root administrator's."""

    api: Api
    root: Person
    rows: dict[type[Any], str]

    def statements(self, registered: Registered, size: int, **more: str) -> tuple[int, list[str]]:
        """How many rows a page of this size has, and its statements; `more` parameters are sent."""
        sent = {"page": "1", "pagesize": str(size), **more}
        for parameter in registered.parameters:
            ref = parameter.mark(Ref)
            if parameter.name == "listall":
                sent["listall"] = "true"
            elif parameter.required and ref is not None:
                sent[parameter.name] = self.rows[ref.table]
            elif parameter.required:
                choices = {**CHOICES, "resourceid": self.rows[tables.Vm]}
                sent[parameter.name] = choices[parameter.name]
        if registered.name == "listLoadBalancerRuleInstances":
            sent["id"] = self.rows[tables.BalancerRule]
        context = self.api.context
        caller = replace(self.root.caller, roles_version="1")
        context.roles.of(caller)  # what roles may is read once, not by every list
        with self.api.counted() as counted:
            body = dispatch(context, caller, registered, Form(sent))
        items = body.get(str(registered.spec.response_key), [])
        return len(items), [text for text in counted if not text.startswith("BEGIN")]


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, fresh_store: Path, new_database: NewDatabase
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("statements")
    with open_api(folder, like=fresh_store, url=new_database()) as api:
        with api.context.database.writing() as session:
            people = populate(session)
            rows, root, made = Rows(session, people), people["root"], {}
            for table in _tables():
                for _ in range(1 if table in SINGLE else MANY):
                    made[table] = rows.of(table, root) if table in SINGLE else rows.another(table, root)
            for kind in (VmKind.router, VmKind.console):
                for _ in range(MANY):
                    session.get_one(tables.Vm, rows.another(tables.Vm, root)).kind = kind
            for _ in range(MANY):
                iso = session.get_one(tables.Template, rows.another(tables.Template, root))
                iso.kind, iso.state = ImageKind.iso, TemplateState.ready
        yield World(api, root, made)


def _tables() -> list[type[Any]]:
    """The tables of all lists and of all ids that they take, those that others refer to first."""
    wanted = {item.spec.entity.table for item in LISTS if item.spec.entity is not None}
    wanted |= {ref.table for item in LISTS for each in item.parameters if (ref := each.mark(Ref))}
    order = [table.name for table in tables.Base.metadata.sorted_tables]
    return sorted(
        (table for table in wanted if hasattr(table, "removed")),
        key=lambda table: order.index(table.__tablename__),
    )


@pytest.mark.parametrize("registered", LISTS, ids=lambda item: item.name)
def test_a_list_runs_few_statements_however_long_it_is(world: World, registered: Registered) -> None:
    few, first = world.statements(registered, HALF)
    _many, all_of_them = world.statements(registered, 500)
    assert few <= HALF
    most = SUMS.get(registered.name, MOST)
    # A first page that is not full needs no count.
    assert len(first) - 1 <= len(all_of_them) <= len(first) <= most, "\n".join(all_of_them)


@pytest.mark.parametrize("name", ["listZones", "listZonesMetrics", "listPods", "listClusters"])
def test_capacities_are_summed_up_once_for_all_places(world: World, name: str) -> None:
    registered = REGISTRY.find(name)
    assert registered is not None
    _few, plain = world.statements(registered, HALF)
    few, first = world.statements(registered, HALF, showcapacities="true")
    many, all_of_them = world.statements(registered, 500, showcapacities="true")
    assert few < many
    names = 2  # of pods and clusters, where a page has any with capacities: rows of one moment have no order
    most = len(plain) + SUMS["listCapacity"] + names
    assert len(plain) < len(first) <= most
    assert len(all_of_them) <= most, "\n".join(all_of_them)


CONSTANTS = [
    pytest.param(item, each, mark.value, id=f"{item.name} {each.name}")
    for item in LISTS
    for each in item.parameters
    if (mark := each.mark(AllAre)) is not None
]


@pytest.mark.parametrize(("registered", "parameter", "value"), CONSTANTS)
def test_what_is_the_same_for_all_rows_finds_all_of_them_or_none(
    world: World, registered: Registered, parameter: Parameter, value: str | bool | None
) -> None:
    """No filter that CloudStack knows is passed over: its list would be of something else."""
    assert issubclass(registered.command, ListCommand), "other lists do not look at the mark"
    ref = parameter.mark(Ref)
    other = "another" if ref is None else world.rows[ref.table]
    if isinstance(value, bool):
        other = str(not value)
    there, _statements = world.statements(registered, 500)
    assert there
    assert world.statements(registered, 500, **{parameter.name: other})[0] == 0
    if value is not None:
        assert world.statements(registered, 500, **{parameter.name: str(value)})[0] == there


def test_most_lists_have_rows_to_be_slow_with(world: World) -> None:
    empty = {item.name for item in LISTS if world.statements(item, 500)[0] < MANY and _is_long(item)}
    assert len(empty) < len(LISTS) / 4, empty


def _is_long(registered: Registered) -> bool:
    entity = registered.spec.entity
    return entity is not None and entity.table not in SINGLE
