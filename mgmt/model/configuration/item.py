"""What an item of the configuration is: a name, a type, a default, where it may differ, what is allowed."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T", bool, int, float, str)


class Scope(StrEnum):
    """Where a value may be set; each is more specific than those before it."""

    everywhere = "global"
    zone = "zone"
    cluster = "cluster"
    pool = "storagepool"
    domain = "domain"
    account = "account"


GLOBAL: tuple[Scope, ...] = (Scope.everywhere,)
ZONE = (Scope.everywhere, Scope.zone)
CLUSTER = (Scope.everywhere, Scope.zone, Scope.cluster)
POOL = (Scope.everywhere, Scope.zone, Scope.pool)
OWNER = (Scope.everywhere, Scope.domain, Scope.account)

KINDS: dict[type, str] = {bool: "Boolean", int: "Number", float: "Decimal", str: "String"}
"""CloudStack's names of the types."""


class WrongValue(ValueError):
    """A value that an item cannot have; the text says what it may be."""


@dataclass(frozen=True, kw_only=True)
class Item(Generic[T]):
    """One item. `low` and `high` bound numbers, `options` lists all texts that are allowed (empty: any).

    `dynamic` items take effect at once, the others when the management server starts.
    """

    name: str
    default: T
    category: str
    group: str
    description: str
    scopes: tuple[Scope, ...] = GLOBAL
    options: tuple[str, ...] = ()
    low: float = 0
    high: float = math.inf
    dynamic: bool = True

    @property
    def kind(self) -> str:
        """The type, as clients know it."""
        return "Select" if self.options else KINDS[type(self.default)]

    @property
    def expected(self) -> str:
        """What a value may be, in words."""
        if self.options:
            return f"one of {', '.join(self.options)}"
        if isinstance(self.default, bool):
            return "true or false"
        if isinstance(self.default, str):
            return "a text"
        kind = "a whole number" if isinstance(self.default, int) else "a number"
        return (
            f"{kind} of {self.low:g} or more"
            if math.isinf(self.high)
            else (f"{kind} from {self.low:g} to {self.high:g}")
        )

    def read(self, text: str) -> T:
        """The value that a text stands for. Raises `WrongValue`."""
        default: T = self.default
        if isinstance(default, bool):
            if text.lower() not in ("true", "false"):
                raise WrongValue(self.expected)
            return text.lower() == "true"
        if isinstance(default, str):
            if self.options and text not in self.options:
                raise WrongValue(self.expected)
            return text
        return self._number(type(default), text)

    def _number(self, kind: type[T], text: str) -> T:
        try:
            number = kind(text)
        except ValueError as error:
            raise WrongValue(self.expected) from error
        if not self.low <= float(number) <= self.high or not math.isfinite(float(number)):
            raise WrongValue(self.expected)
        return number

    def write(self, value: T) -> str:
        """A value as it is stored and shown."""
        return str(value).lower() if isinstance(value, bool) else str(value)
