"""Which services there are, and the order they declare.

A service is a folder of one package; its modules are imported when a document first needs it, because
the agent must answer within seconds of power-on on an emulated processor.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from graphlib import TopologicalSorter
from typing import Any, Protocol

import msgspec

from systemvm.engine.service import Doors, Service
from systemvm.spec.state import State

Read = Callable[[Doors], Any]
#: Fields of a State that are not the section of a service.
_IDENTITY = ("version", "generation", "machine", "role", "hostname")
#: Names of the sections, which are the names of the services, as the document declares them.
SECTIONS = tuple(field.name for field in msgspec.structs.fields(State) if field.name not in _IDENTITY)


class Services(Protocol):
    """Finds services by name."""

    def names(self) -> tuple[str, ...]:
        """Names of all services there are."""
        ...

    def load(self, name: str) -> Service:
        """The service of that name. Raises LookupError if there is none."""
        ...

    def reads(self, name: str) -> Mapping[str, Read]:
        """What the service offers to be read: path after `/v1/<role>/` to a function of the doors."""
        ...


class ServicePackage:
    """Implements `Services`: every folder of a package is a service, with its `SERVICE` object."""

    def __init__(self, package: str) -> None:
        self._package = package

    def names(self) -> tuple[str, ...]:
        """See Services."""
        spec = importlib.util.find_spec(self._package)
        folders = spec.submodule_search_locations if spec is not None else None
        return tuple(sorted(module.name for module in pkgutil.iter_modules(folders) if module.ispkg))

    def load(self, name: str) -> Service:
        """See Services."""
        try:
            service = importlib.import_module(f"{self._package}.{name}").SERVICE
        except ModuleNotFoundError as missing:
            if missing.name != f"{self._package}.{name}":
                raise
            raise LookupError(f"there is no service {name}") from None
        if not isinstance(service, Service):
            raise TypeError(f"{self._package}.{name}.SERVICE is no Service")
        return service

    def reads(self, name: str) -> Mapping[str, Read]:
        """See Services: `READS` of the service's optional module `reads.py`."""
        module = f"{self._package}.{name}.reads"
        if importlib.util.find_spec(module) is None:
            return {}
        reads: Mapping[str, Read] = importlib.import_module(module).READS
        return reads


def sections_of(state: State | None) -> tuple[str, ...]:
    """Names of the sections that are present in a document."""
    return tuple(name for name in SECTIONS if state is not None and getattr(state, name) is not None)


def in_order(services: Iterable[Service]) -> list[Service]:
    """Services so that each comes after those it names in `after`; otherwise as given.

    Names that are not among them do not bind. Raises CycleError when they wait for each other.
    """
    by_name = {service.name: service for service in services}
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for name, service in by_name.items():
        sorter.add(name, *(before for before in service.after if before in by_name))
    return [by_name[name] for name in sorter.static_order()]


def with_dependents(touched: Iterable[str], services: Iterable[Service]) -> set[str]:
    """The touched services and all that are applied after them: what must be probed again."""
    reached = set(touched)
    for service in in_order(services):
        if reached.intersection(service.after):
            reached.add(service.name)
    return reached
