"""Providers of network services on physical networks: here the virtual router."""

from collections.abc import Sequence
from typing import Annotated

from sqlalchemy import select

from mgmt.api.access import EVERYONE, ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.commands.zones import refuse_if_used
from mgmt.api.lists import Equals, ListCommand, PlainListCommand
from mgmt.api.params import wrong_value
from mgmt.api.registry import AsyncCommand, Response, Spec
from mgmt.api.responses.providers import (
    PROVIDER,
    CapabilityOfService,
    NamedProvider,
    NetworkServiceResponse,
)
from mgmt.model.errors import ParameterError
from mgmt.model.network_services import CAPABILITIES, PROVIDERS
from mgmt.store.tables import Job, Network, PhysicalNetwork, ServiceProvider

KIND = "PhysicalNetworkServiceProvider"
STATES = ("Enabled", "Disabled")


class ListNetworkServiceProviders(ListCommand, kw_only=True, frozen=True):
    """Lists the providers of network services."""

    spec = Spec(answer=PROVIDER, access=ROOT)
    searched = (ServiceProvider.name,)

    physicalnetworkid: Annotated[
        str | None, Ref(PhysicalNetwork), Equals(ServiceProvider.physical_network_id)
    ] = None
    name: Annotated[str | None, Equals(ServiceProvider.name)] = None
    state: Annotated[str | None, Equals(ServiceProvider.state)] = None


class AddNetworkServiceProvider(AsyncCommand, kw_only=True, frozen=True):
    """Adds a provider of network services to a physical network; it starts disabled."""

    spec = Spec(answer=PROVIDER, access=ROOT, event="SERVICE.PROVIDER.CREATE")
    creates = True

    name: Annotated[str, "VirtualRouter, the only provider here"]
    physicalnetworkid: Annotated[str, Ref(PhysicalNetwork)]
    servicelist: Annotated[list[str] | None, "the services it provides; all of them without"] = None

    def run(self, call: Call) -> Job:
        """Check and insert; once per physical network."""
        physical = call.row(PhysicalNetwork, self.physicalnetworkid)
        if self.name not in PROVIDERS:
            raise wrong_value("name", self.name, f"one of {', '.join(PROVIDERS)}")
        check_services(self.servicelist)
        taken = select(ServiceProvider.id).where(
            ServiceProvider.physical_network_id == physical.id,
            ServiceProvider.name == self.name,
            ServiceProvider.removed.is_(None),
        )
        if call.session.scalar(taken):
            raise ParameterError(f"Physical network {physical.name} has provider {self.name} already")
        row = ServiceProvider(physical_network_id=physical.id, name=self.name, state="Disabled")
        call.session.add(row)
        return call.finish(kind=KIND, about=row)


class UpdateNetworkServiceProvider(AsyncCommand, kw_only=True, frozen=True):
    """Enables or disables a provider: no new network is made with one that is disabled."""

    spec = Spec(answer=PROVIDER, access=ROOT, event="SERVICE.PROVIDER.UPDATE")

    id: Annotated[str, Ref(ServiceProvider)]
    state: Annotated[str | None, "Enabled or Disabled"] = None
    servicelist: Annotated[list[str] | None, "the services it provides"] = None

    def run(self, call: Call) -> Job:
        """Change what was sent."""
        row = call.row(ServiceProvider, self.id)
        check_services(self.servicelist)
        if self.state:
            if self.state.capitalize() not in STATES:
                raise wrong_value("state", self.state, "Enabled or Disabled")
            row.state = self.state.capitalize()
        return call.finish(kind=KIND, about=row)


class DeleteNetworkServiceProvider(AsyncCommand, kw_only=True, frozen=True):
    """Deletes a provider from a physical network that has no networks."""

    spec = Spec(access=ROOT, event="SERVICE.PROVIDER.DELETE")

    id: Annotated[str, Ref(ServiceProvider)]

    def run(self, call: Call) -> Job:
        """Refuse while networks need it."""
        row = call.row(ServiceProvider, self.id)
        physical = call.session.get_one(PhysicalNetwork, row.physical_network_id)
        item = f"The zone of provider {row.name}"
        refuse_if_used(call.session, Network, Network.zone_id == physical.zone_id, item, "networks")
        row.removed = call.now()
        return call.finish(kind=KIND, about=row)


class ListSupportedNetworkServices(PlainListCommand, kw_only=True, frozen=True):
    """Lists the services that networks may have, who provides them, and what they can do."""

    spec = Spec(answer=NetworkServiceResponse, key="networkservice", access=EVERYONE)

    service: Annotated[str | None, "list only the service with this name"] = None
    provider: Annotated[str | None, "list only services of this provider"] = None

    def items(self, call: Call) -> Sequence[Response]:
        """The fixed list, filtered."""
        if self.provider is not None and self.provider not in PROVIDERS:
            return []
        return [
            NetworkServiceResponse(
                name=name,
                capability=[CapabilityOfService(name=key, value=value) for key, value in able.items()],
                provider=[NamedProvider(name=provider) for provider in PROVIDERS],
            )
            for name, able in CAPABILITIES.items()
            if self.service in (None, name)
        ]


def check_services(services: list[str] | None) -> None:
    """Raise `ParameterError` for a list of services that is not all of them: they come together."""
    if services is not None and set(services) != set(CAPABILITIES):
        raise wrong_value("servicelist", ",".join(services), ",".join(sorted(CAPABILITIES)))
