"""A command as its reader needs it: from the registry, the words of listApis, and its example."""

import inspect
import sys
from dataclasses import dataclass
from functools import cache

from mgmt.api.access import ADMINS, EVERYONE, ROOT, Access, InnerRef, Ref
from mgmt.api.commands.apis import describe_command
from mgmt.api.ownership import OWNER
from mgmt.api.reference.examples import Example, examples
from mgmt.api.registry import REGISTRY, Registered
from mgmt.api.responses.discovery import ApiResponse
from mgmt.model import errors

CALLERS: dict[Access, str] = {
    ROOT: "root administrators",
    ADMINS: "root and domain administrators",
    EVERYONE: "everybody",
}
#: What any command can be refused with, and what its parameters and its job add.
ALWAYS, CHECKED, GUARDED, RUNNING = (401, 432), (431,), (531,), (530, 532, 533, 534)


@dataclass(frozen=True)
class Described:
    """A command with all that is said about it; `codes` are those of `refusals`."""

    name: str
    callers: str
    words: ApiResponse
    key: str | None
    codes: tuple[int, ...]
    example: Example | None


@dataclass(frozen=True)
class Group:
    """Commands of one kind; `name` is part of the address of its page."""

    name: str
    title: str
    commands: tuple[Described, ...]


@cache
def groups() -> tuple[Group, ...]:
    """All commands, grouped as they are written, by title."""
    modules: dict[str, list[Registered]] = {}
    for item in REGISTRY.all():
        modules.setdefault(item.command.__module__, []).append(item)
    found = [_group(module, items) for module, items in modules.items()]
    return tuple(sorted(found, key=lambda group: group.title))


def described(name: str) -> Described | None:
    """A command by its name, in any case."""
    names = {item.name.lower(): item.name for item in REGISTRY.all()}
    found = REGISTRY.find(names.get(name.lower(), ""))
    return None if found is None else _describe(found)


@cache
def refusals() -> dict[int, str]:
    """What each code means."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    first = {
        kind.code: (kind.__doc__ or "").split("\n")[0]
        for kind in kinds
        if issubclass(kind, errors.CloudError) and kind is not errors.LoginRefused
        if errors.CloudError in kind.__bases__
    }
    return dict(sorted({**first, errors.CloudError.code: "Something failed inside."}.items()))


def _group(module: str, items: list[Registered]) -> Group:
    title = (sys.modules[module].__doc__ or module).split("\n")[0].split(":")[0].rstrip(".")
    return Group(module.rpartition(".")[2], title, tuple(map(_describe, items)))


def _describe(item: Registered) -> Described:
    guarded = any(
        OWNER in each.marks or each.mark(Ref) is not None or each.mark(InnerRef) is not None
        for each in item.parameters
    )
    codes = (
        *ALWAYS,
        *(CHECKED if item.parameters else ()),
        *(GUARDED if guarded else ()),
        *(RUNNING if item.command.is_async else ()),
    )
    return Described(
        name=item.name,
        callers=CALLERS[item.spec.access],
        words=describe_command(item.name),
        key=item.spec.response_key,
        codes=tuple(sorted(codes)),
        example=examples().get(item.name),
    )
