"""Items of the configuration on the wire. They have no number, so there is no `id`."""

from typing import Any

from mgmt.api.registry import Response
from mgmt.model.configuration import Item, Scope


class ConfigurationResponse(Response):
    """An item and its value; `scope` lists where it may be set."""

    name: str
    value: str
    defaultvalue: str
    description: str
    displaytext: str
    category: str
    group: str
    component: str
    type: str
    scope: str
    isdynamic: bool
    options: str | None = None


def configuration_response(item: Item[Any], value: Any, scope: Scope | None = None) -> ConfigurationResponse:
    """An item with its value at one place; `scope` is that place's, None for everywhere."""
    return ConfigurationResponse(
        name=item.name,
        value=item.write(value),
        defaultvalue=item.write(item.default),
        description=item.description,
        displaytext=item.name.replace(".", " ").capitalize(),
        category=item.category,
        group=item.group,
        component="management-server",
        type=item.kind,
        scope=",".join(item.scopes) if scope is None else scope.value,
        isdynamic=item.dynamic,
        options=",".join(item.options) or None,
    )


class ConfigurationGroupResponse(Response):
    """Items that belong together."""

    name: str
    description: str
    precedence: int
