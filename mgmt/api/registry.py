"""Commands: one typed class each, found by name, described by their own hints.

A class is registered when it is defined. Its name is the command's with a capital first letter
(`ListZones` is `listZones`), its docstring the description, its fields the parameters. Whatever the
dispatcher, `listApis` and the permission check need is in its `spec`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_origin, get_type_hints

import msgspec

from mgmt.api.access import POLICIES, Access, Ref
from mgmt.api.params import Parameter, parse_hint
from mgmt.store.tables.base import Identified

if TYPE_CHECKING:
    from mgmt.api.call import Call
    from mgmt.store.tables import Job

Row = TypeVar("Row", bound=Identified)
Answer = TypeVar("Answer", bound="Response")


class Response(msgspec.Struct, kw_only=True):
    """Root of all answers: what is None is not sent (`plain`), everything else is, defaults too."""


def plain(response: Response) -> dict[str, Any]:
    """A response as JSON values, absent fields left out."""
    return _without_none(msgspec.to_builtins(response, enc_hook=str))


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _inner(item) if isinstance(item, dict | list) else item
        for key, item in values.items()
        if item is not None
    }


def _inner(value: Any) -> Any:
    if isinstance(value, dict):
        return _without_none(value)
    return [_inner(item) for item in value] if isinstance(value, list) else value


class Success(Response):
    """The answer of commands that return nothing else."""

    success: bool
    displaytext: str | None = None


DONE = Success(success=True)


@dataclass(frozen=True)
class Entity(Generic[Row, Answer]):
    """How rows of a table look on the wire: `build` turns any number of them into answers at once.

    `key` is the name in envelopes; `build` keeps the rows' order and uses a fixed number of statements.
    """

    table: type[Row]
    response: type[Answer]
    key: str
    build: "Callable[[Call, Sequence[Row]], list[Answer]]"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Facts of a command.

    `answer` is the entity or plain response it gives; `key` overrides the entity's; `envelope` is the
    response's name where it is not `<command>response`; `event` the type of its events; `listed` puts the
    one object into a list, as some commands do. `call.session` may write if `writes` (None: unless the
    name says list, get or query); a command that talks to a host sets it to False and opens its own
    `call.context.database.writing()` afterwards, so that no lock is held over the network. `wakes` has the
    reconcile loop look at once, for changes that only it carries out. `governs` is for commands that decide
    who may do what (see `mgmt.api.rank`), `before_code` for those of a session that lacks its second factor,
    `simulated` for those that are offered only where simulated hosts are allowed.
    """

    answer: Entity[Any, Any] | type[Response] = Success
    access: Access
    event: str | None = None
    key: str | None = None
    envelope: str | None = None
    writes: bool | None = None
    listed: bool = False
    wakes: bool = False
    governs: bool = False
    before_code: bool = False
    simulated: bool = False

    @property
    def entity(self) -> Entity[Any, Any] | None:
        """The entity it answers with, if it is one."""
        return self.answer if isinstance(self.answer, Entity) else None

    @property
    def response(self) -> type[Response]:
        """The struct of the answer."""
        return self.answer.response if isinstance(self.answer, Entity) else self.answer

    @property
    def response_key(self) -> str | None:
        """The name of the object in the envelope; None if its fields stand there themselves."""
        return self.key or (self.answer.key if isinstance(self.answer, Entity) else None)


class Command(msgspec.Struct, kw_only=True, frozen=True):
    """Root of all commands; see `SyncCommand`, `AsyncCommand`, `mgmt.api.lists.ListCommand`."""

    spec: ClassVar[Spec]
    is_async: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        """Register classes that have a `spec` of their own."""
        super().__init_subclass__(**options)
        if "spec" in vars(cls):
            REGISTRY.add(cls)


class SyncCommand(Command, kw_only=True, frozen=True):
    """A command that is done when it answers."""

    def run(self, call: "Call") -> Identified | Response | list[Identified]:
        """Do it; return the row (of the spec's entity) or the response to answer with. A command whose answer
        is `listed` may return several rows."""
        raise NotImplementedError


class AsyncCommand(Command, kw_only=True, frozen=True):
    """A command that answers with a job. Its `run` checks, writes rows and ends with `call.submit(…)`.

    `creates` says that the first answer carries the id of the object made.
    """

    is_async: ClassVar[bool] = True
    creates: ClassVar[bool] = False

    def run(self, call: "Call") -> "Job":
        """Check everything, write what must be there at once, submit the rest."""
        raise NotImplementedError

    @classmethod
    def result(cls, call: "Call", job: "Job", answer: Response) -> Response:
        """Last touch to the job's result, for commands that return more than the entity."""
        return answer


@dataclass(frozen=True)
class Registered:
    """A command and its parameters."""

    name: str
    command: type[Command]
    parameters: tuple[Parameter, ...]

    @property
    def spec(self) -> Spec:
        """The command's spec."""
        return self.command.spec

    @cached_property
    def description(self) -> str:
        """The first paragraph of the docstring, on one line."""
        return " ".join((self.command.__doc__ or "").split("\n\n")[0].split())

    @cached_property
    def envelope(self) -> str:
        """The one top-level name of its answers."""
        return self.spec.envelope or f"{self.name.lower()}response"

    @cached_property
    def writes(self) -> bool:
        """Whether its transaction is a writing one."""
        return self.changes if self.spec.writes is None else self.spec.writes

    @cached_property
    def changes(self) -> bool:
        """Whether it may change anything."""
        return self.spec.writes is True or not self.name.startswith(("list", "get", "query", "find"))


class Registry:
    """All commands by name."""

    def __init__(self) -> None:
        self._classes: dict[str, type[Command]] = {}
        self._ready: dict[str, Registered] = {}

    def add(self, command: type[Command]) -> None:
        """Take a command in; twice the same name is a mistake of the programmer."""
        name = command.__name__[0].lower() + command.__name__[1:]
        if name in self._classes and self._classes[name].__module__ != command.__module__:
            raise TypeError(f"two classes are called {name}: rename one of them")
        self._classes[name] = command
        self._ready.pop(name, None)

    def find(self, name: str) -> Registered | None:
        """The command of a name."""
        if name not in self._ready and name in self._classes:
            self._ready[name] = _examine(name, self._classes[name])
        return self._ready.get(name)

    def all(self) -> list[Registered]:
        """All commands, sorted by name."""
        return [found for name in sorted(self._classes) if (found := self.find(name))]


def _examine(name: str, command: type[Command]) -> Registered:
    hints = get_type_hints(command, include_extras=True)
    parameters = []
    for item in msgspec.structs.fields(command):
        parameter = parse_hint(item.name, hints[item.name], required=item.required)
        parameters.append(_own_id(parameter, command.spec))
    for parameter in parameters:
        _check(name, parameter)
    return Registered(name=name, command=command, parameters=tuple(parameters))


def _own_id(parameter: Parameter, spec: Spec) -> Parameter:
    """Let the shared `id` and `ids` of lists point at the table that is listed."""
    if OWN_ID not in parameter.marks or spec.entity is None:
        return parameter
    marks = (*parameter.marks, Ref(spec.entity.table, use=True))
    return Parameter(parameter.name, parameter.base, parameter.required, marks)


def _check(name: str, parameter: Parameter) -> None:
    ref = parameter.mark(Ref)
    if ref is not None and ref.table not in POLICIES:
        raise TypeError(f"{name}: {parameter.name} refers to {ref.table.__name__}, which has no policy")
    if ref is not None and (get_origin(parameter.base) or parameter.base) not in (str, list):
        raise TypeError(f"{name}: {parameter.name} is a Ref, so its type must be str or list[str]")


class _OwnId:
    """Marks the `id` parameters of lists: the id of what is listed."""


OWN_ID = _OwnId()
REGISTRY = Registry()
