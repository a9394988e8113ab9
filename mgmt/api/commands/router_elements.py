"""The virtual router as an element of its provider: one each, on exactly while its provider is."""

from typing import Annotated, Any

from sqlalchemy import ColumnElement, Select

from mgmt.api.access import ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.lists import Equals, ListCommand
from mgmt.api.registry import AsyncCommand, Spec
from mgmt.api.responses.providers import ROUTER_ELEMENT
from mgmt.store.tables import Job, ServiceProvider

ROUTER = "VirtualRouter"


class ListVirtualRouterElements(ListCommand, kw_only=True, frozen=True):
    """Lists the virtual routers of providers."""

    spec = Spec(answer=ROUTER_ELEMENT, access=ROOT)

    nspid: Annotated[
        str | None, Ref(ServiceProvider), "the ID of its provider", Equals(ServiceProvider.id)
    ] = None
    enabled: Annotated[bool | None, "list only those that are on, or off"] = None

    def ownership(self, call: Call) -> ColumnElement[bool]:
        """Other providers have other elements."""
        return ServiceProvider.name == ROUTER

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Those that are on, or off."""
        if self.enabled is None:
            return query
        is_on = ServiceProvider.state == "Enabled"
        return query.where(is_on if self.enabled else ~is_on)


class ConfigureVirtualRouterElement(AsyncCommand, kw_only=True, frozen=True):
    """Switches a virtual router, which is its provider, on or off."""

    spec = Spec(answer=ROUTER_ELEMENT, access=ROOT, event="NETWORK.ELEMENT.CONFIGURE")

    id: Annotated[str, Ref(ServiceProvider)]
    enabled: Annotated[bool, "false: no new network is made with it"]

    def run(self, call: Call) -> Job:
        """Networks that exist keep their routers."""
        row = call.row(ServiceProvider, self.id)
        row.state = "Enabled" if self.enabled else "Disabled"
        return call.finish(kind="VirtualRouterElement", about=row)
