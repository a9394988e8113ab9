"""Network services and their providers on the wire."""

from collections.abc import Sequence

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.model.network_services import CAPABILITIES
from mgmt.store.tables import ServiceProvider


class ProviderResponse(Response):
    """A provider of network services on a physical network."""

    id: str
    name: str
    state: str
    physicalnetworkid: str
    servicelist: list[str]
    canenableindividualservice: bool = True


def provider_responses(call: Call, rows: Sequence[ServiceProvider]) -> list[ProviderResponse]:
    """Providers on the wire."""
    return [
        ProviderResponse(
            id=row.id,
            name=row.name,
            state=row.state,
            physicalnetworkid=row.physical_network_id,
            servicelist=sorted(CAPABILITIES),
        )
        for row in rows
    ]


PROVIDER = Entity(ServiceProvider, ProviderResponse, "networkserviceprovider", provider_responses)


class RouterElementResponse(Response):
    """The virtual router of a provider; its ID is the provider's."""

    id: str
    nspid: str
    enabled: bool


def router_element_responses(call: Call, rows: Sequence[ServiceProvider]) -> list[RouterElementResponse]:
    """Virtual routers on the wire."""
    return [RouterElementResponse(id=row.id, nspid=row.id, enabled=row.state == "Enabled") for row in rows]


ROUTER_ELEMENT = Entity(
    ServiceProvider, RouterElementResponse, "virtualrouterelement", router_element_responses
)


class CapabilityOfService(Response):
    """Something that a service can do."""

    name: str
    value: str
    canchooseservicecapability: bool = False


class NamedProvider(Response):
    """A provider by its name."""

    name: str


class NetworkServiceResponse(Response):
    """A service that guest networks may have."""

    name: str
    capability: list[CapabilityOfService]
    provider: list[NamedProvider]
