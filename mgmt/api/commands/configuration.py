"""The configuration: what an operator may change while the cloud runs, everywhere or at one place."""

from collections.abc import Sequence
from typing import Annotated, Any

from mgmt.api.access import ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.lists import PlainListCommand
from mgmt.api.registry import Command, Response, Spec, SyncCommand
from mgmt.api.responses.configuration import (
    ConfigurationGroupResponse,
    ConfigurationResponse,
    configuration_response,
)
from mgmt.model.configuration import ITEMS, Item, Scope, WrongValue
from mgmt.model.errors import ParameterError
from mgmt.store.configured import EVERYWHERE, Place, configured_items, reset_value, set_value
from mgmt.store.tables import Account, Cluster, Domain, StoragePool, Zone

AtZone = Annotated[str | None, Ref(Zone), "the zone the value is for"]
AtCluster = Annotated[str | None, Ref(Cluster), "the cluster the value is for"]
AtPool = Annotated[str | None, Ref(StoragePool), "the storage pool the value is for"]
AtDomain = Annotated[str | None, Ref(Domain), "the domain the value is for"]
AtAccount = Annotated[str | None, Ref(Account), "the account the value is for"]

PARAMETERS = {
    "zoneid": Scope.zone,
    "clusterid": Scope.cluster,
    "storageid": Scope.pool,
    "domainid": Scope.domain,
    "accountid": Scope.account,
}
"""The parameter that names a place, and its scope."""


class ListConfigurations(PlainListCommand, kw_only=True, frozen=True):
    """Lists items of the configuration: all, or those that may differ at one place, with its values."""

    spec = Spec(answer=ConfigurationResponse, key="configuration", access=ROOT)

    name: Annotated[str | None, "list only the item with this name"] = None
    category: Annotated[str | None, "list only items of this category"] = None
    group: Annotated[str | None, "list only items of this group"] = None
    keyword: str | None = None
    zoneid: AtZone = None
    clusterid: AtCluster = None
    storageid: AtPool = None
    domainid: AtDomain = None
    accountid: AtAccount = None

    def items(self, call: Call) -> Sequence[Response]:
        """Those that match, each with the value that holds at the place."""
        scope, at = read_place(self)
        found = [item for item in ITEMS.values() if scope in item.scopes and self._matches(item)]
        values = configured_items(call.session, found, {scope: at or None})
        shown = None if scope is Scope.everywhere else scope
        return [configuration_response(item, values[item.name], shown) for item in found]

    def _matches(self, item: Item[Any]) -> bool:
        return (
            self.name in (None, item.name)
            and self.category in (None, item.category)
            and self.group in (None, item.group)
            and (self.keyword or "").lower() in f"{item.name} {item.description}".lower()
        )


class ListConfigurationGroups(PlainListCommand, kw_only=True, frozen=True):
    """Lists the groups of the configuration's items."""

    spec = Spec(answer=ConfigurationGroupResponse, key="configurationgroup", access=ROOT)

    group: Annotated[str | None, "list only the group with this name"] = None

    def items(self, call: Call) -> Sequence[Response]:
        """Each group once."""
        names = sorted({item.group for item in ITEMS.values()})
        return [
            ConfigurationGroupResponse(name=name, description=f"{name} configuration", precedence=at)
            for at, name in enumerate(names, start=1)
            if self.group in (None, name)
        ]


class UpdateConfiguration(SyncCommand, kw_only=True, frozen=True):
    """Sets an item of the configuration, everywhere or at one place."""

    spec = Spec(
        answer=ConfigurationResponse, key="configuration", access=ROOT, event="CONFIGURATION.VALUE.EDIT"
    )

    name: Annotated[str, "the name of the item"]
    value: Annotated[str | None, "the value"] = None
    zoneid: AtZone = None
    clusterid: AtCluster = None
    storageid: AtPool = None
    domainid: AtDomain = None
    accountid: AtAccount = None

    def run(self, call: Call) -> Response:
        """Check the value and the place, then set it; without a value nothing changes."""
        item = find(self.name)
        place = check_place(item, read_place(self))
        if self.value is not None:
            set_value(call.session, item, place, read_value(item, self.value))
        return _changed(call, item, place)


class ResetConfiguration(SyncCommand, kw_only=True, frozen=True):
    """Resets an item of the configuration to its default, or at one place to what holds above it."""

    spec = Spec(
        answer=ConfigurationResponse, key="configuration", access=ROOT, event="CONFIGURATION.VALUE.EDIT"
    )

    name: Annotated[str, "the name of the item"]
    zoneid: AtZone = None
    clusterid: AtCluster = None
    storageid: AtPool = None
    domainid: AtDomain = None
    accountid: AtAccount = None

    def run(self, call: Call) -> Response:
        """Forget the value at the place."""
        item = find(self.name)
        place = check_place(item, read_place(self))
        reset_value(call.session, item, place)
        return _changed(call, item, place)


def read_place(command: Command) -> Place:
    """The place that a command's parameters name; at most one. Raises `ParameterError`."""
    named = [(name, getattr(command, name)) for name in PARAMETERS if getattr(command, name) is not None]
    if len(named) > 1:
        names = " and ".join(name for name, _ in named)
        raise ParameterError(f"A value is for one place, and {names} name several; send one of them")
    return (PARAMETERS[named[0][0]], named[0][1]) if named else EVERYWHERE


def find(name: str) -> Item[Any]:
    """The item of a name. Raises `ParameterError`."""
    if name not in ITEMS:
        raise ParameterError(f"There is no configuration item {name}; listConfigurations shows all of them")
    return ITEMS[name]


def check_place(item: Item[Any], place: Place) -> Place:
    """The place, if the item may be set there. Raises `ParameterError`."""
    if place[0] not in item.scopes:
        raise ParameterError(
            f"Configuration item {item.name} cannot be set for a {place[0]}; its scopes are"
            f" {', '.join(item.scopes)}"
        )
    return place


def read_value(item: Item[Any], text: str) -> Any:
    """The value that a text stands for. Raises `ParameterError` naming item, value and what is allowed."""
    try:
        return item.read(text)
    except WrongValue as error:
        raise ParameterError(f"Configuration item {item.name} cannot be {text}: expected {error}") from error


def _changed(call: Call, item: Item[Any], place: Place) -> Response:
    """The item as it is now; the event says so, too, for whoever asks later who changed what."""
    scope = Scope(place[0])
    value = configured_items(call.session, (item,), {scope: place[1] or None})[item.name]
    where = " ".join(part for part in place if part)
    call.told = f"{call.command}: {item.name} is {item.write(value)}, {where}"
    return configuration_response(item, value, None if scope is Scope.everywhere else scope)
