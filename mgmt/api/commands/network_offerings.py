"""Network offerings."""

from typing import Annotated, Any

from sqlalchemy import Select

from mgmt.api.absent import Connections, KeepAlive, PhysicalTags, SortKey
from mgmt.api.access import EVERYONE, ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.commands.service_offerings import FOR_ALL, FOR_ALL_NEW
from mgmt.api.lists import AllAre, Equals, ListCommand
from mgmt.api.offering_domains import DOMAIN_WORDS, add_offering, for_domains
from mgmt.api.params import NoEffect, Unsupported, wrong_value
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.offerings import NETWORK_OFFERING
from mgmt.model.errors import ParameterError
from mgmt.store.defaults import ISOLATED_SERVICES, ROUTER
from mgmt.store.tables import Domain, Network, NetworkOffering, Zone

STATES = ("Enabled", "Disabled")


AVAILABILITIES = ("Optional", "Required")


class ListNetworkOfferings(ListCommand, kw_only=True, frozen=True):
    """Lists network offerings."""

    spec = Spec(answer=NETWORK_OFFERING, access=EVERYONE)
    searched = (NetworkOffering.name, NetworkOffering.display_text)

    name: Annotated[str | None, Equals(NetworkOffering.name)] = None
    state: Annotated[str | None, "Enabled or Disabled", Equals(NetworkOffering.state)] = None
    isdefault: Annotated[bool | None, "true for the default ones", Equals(NetworkOffering.is_default)] = None
    availability: Annotated[str | None, "Required or Optional", Equals(NetworkOffering.availability)] = None
    traffictype: Annotated[str | None, "Guest, or a system one", Equals(NetworkOffering.traffic_type)] = None
    guestiptype: Annotated[str | None, "Isolated", Equals(NetworkOffering.guest_type)] = None
    displaytext: Annotated[str | None, Equals(NetworkOffering.display_text)] = None
    supportedservices: Annotated[list[str] | None, "list only those with all these services"] = None
    sourcenatsupported: Annotated[bool | None, "true for those with source NAT"] = None
    forvpc: Annotated[bool | None, "true for those of VPC tiers: none yet", AllAre(False)] = None
    specifyvlan: Annotated[bool | None, "true for those that take a VLAN: none", AllAre(False)] = None
    specifyipranges: Annotated[
        bool | None, "true for those whose networks have ranges of their own: none", AllAre(False)
    ] = None
    istagged: Annotated[bool | None, "true for those with tags: none", AllAre(False)] = None
    tags: Annotated[str | None, "the tag of the physical network: none has one", AllAre(None)] = None
    networkid: Annotated[str | None, Ref(Network), NoEffect("a network keeps its offering")] = None
    zoneid: Annotated[str | None, Ref(Zone, use=True), FOR_ALL] = None
    domainid: Annotated[str | None, Ref(Domain, use=True), "list only those for this domain"] = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Guests' offerings; system ones by id or traffic type, for root only."""
        query = for_domains(call, query, NetworkOffering.id, self.domainid)
        shows_system = call.caller.is_root and (self.traffictype is not None or self.id is not None)
        if not shows_system:
            query = query.where(NetworkOffering.traffic_type == "Guest")
        if not call.caller.is_root:
            query = query.where(NetworkOffering.state == "Enabled")
        wanted = [*(self.supportedservices or []), *(["SourceNat"] if self.sourcenatsupported else [])]
        for service in wanted:
            query = query.where(NetworkOffering.services[service].as_string().is_not(None))
        return query


class CreateNetworkOffering(SyncCommand, kw_only=True, frozen=True):
    """Creates a network offering of isolated networks."""

    spec = Spec(answer=NETWORK_OFFERING, access=ROOT, event="NETWORK.OFFERING.CREATE")

    name: str
    guestiptype: Annotated[str, "Isolated"]
    traffictype: Annotated[str, "Guest"]
    supportedservices: Annotated[list[str], "the services, comma separated"]
    displaytext: str | None = None
    serviceproviderlist: Annotated[
        list[dict[str, str]] | None, "the provider of each service; VirtualRouter for all"
    ] = None
    egressdefaultpolicy: Annotated[bool, "true to let guests out unless a rule forbids it"] = False
    availability: Annotated[str, "Optional or Required"] = "Optional"
    enable: Annotated[bool, "true: users may choose it at once; else updateNetworkOffering enables it"] = (
        False
    )
    domainid: Annotated[list[str] | None, Ref(Domain), DOMAIN_WORDS] = None
    conservemode: Annotated[bool, NoEffect("one address may serve rules of all kinds")] = True
    networkrate: Annotated[int | None, Unsupported("NICs are not throttled")] = None
    ispersistent: Annotated[bool, Unsupported("a network's router starts with its first VM")] = False
    specifyvlan: Annotated[bool, Unsupported("networks take their VXLAN ids from the physical network")] = (
        False
    )
    specifyipranges: Annotated[bool, Unsupported("isolated networks have one CIDR")] = False
    forvpc: Annotated[bool, Unsupported("there are no VPCs")] = False
    serviceofferingid: Annotated[
        str | None, Unsupported("changeServiceForRouter gives a router its size")
    ] = None
    tags: Annotated[str | None, Unsupported("a zone has one physical network for guests")] = None
    zoneid: Annotated[list[str] | None, FOR_ALL_NEW] = None
    maxconnections: Connections = None
    keepaliveenabled: KeepAlive = False

    def run(self, call: Call) -> NetworkOffering:
        """Check and insert; disabled as in the original, unless asked otherwise."""
        if self.guestiptype.capitalize() != "Isolated":
            raise wrong_value("guestiptype", self.guestiptype, "Isolated, the only type supported")
        if self.traffictype.capitalize() != "Guest":
            raise wrong_value("traffictype", self.traffictype, "Guest")
        for service in self.supportedservices:
            if service not in ISOLATED_SERVICES:
                expected = f"services among {', '.join(sorted(ISOLATED_SERVICES))}"
                raise wrong_value("supportedservices", service, expected)
        for entry in self.serviceproviderlist or []:
            if entry.get("provider", ROUTER) != ROUTER:
                raise wrong_value("serviceproviderlist", entry["provider"], f"{ROUTER}, the only provider")
        offering = NetworkOffering(
            name=self.name,
            display_text=self.displaytext or self.name,
            services=dict.fromkeys(self.supportedservices, ROUTER),
            egress_default=self.egressdefaultpolicy,
            availability=_read_availability(self.availability),
            state="Enabled" if self.enable else "Disabled",
        )
        return add_offering(call.session, offering, self.domainid)


class UpdateNetworkOffering(SyncCommand, kw_only=True, frozen=True):
    """Updates a network offering's words and state."""

    spec = Spec(answer=NETWORK_OFFERING, access=ROOT, event="NETWORK.OFFERING.EDIT")

    id: Annotated[str, Ref(NetworkOffering)]
    name: str | None = None
    displaytext: str | None = None
    state: Annotated[str | None, "Enabled or Disabled"] = None
    availability: Annotated[str | None, "Optional or Required"] = None
    maxconnections: Connections = None
    keepaliveenabled: KeepAlive = False
    tags: PhysicalTags = None
    sortkey: SortKey = None

    def run(self, call: Call) -> NetworkOffering:
        """Change what was sent."""
        offering = call.row(NetworkOffering, self.id)
        if self.state:
            if self.state.capitalize() not in STATES:
                raise wrong_value("state", self.state, "Enabled or Disabled")
            offering.state = self.state.capitalize()
        if self.availability:
            offering.availability = _read_availability(self.availability)
        offering.name = self.name or offering.name
        offering.display_text = self.displaytext or offering.display_text
        return offering


class DeleteNetworkOffering(SyncCommand, kw_only=True, frozen=True):
    """Deletes a network offering; networks that have it keep it."""

    spec = Spec(access=ROOT, event="NETWORK.OFFERING.DELETE")

    id: Annotated[str, Ref(NetworkOffering)]

    def run(self, call: Call) -> Response:
        """The default ones stay."""
        offering = call.row(NetworkOffering, self.id)
        if offering.is_default or offering.traffic_type != "Guest":
            raise ParameterError(f"Network offering {offering.name} is a default one; it cannot be deleted")
        offering.removed = call.now()
        return DONE


def _read_availability(text: str) -> str:
    if text.capitalize() not in AVAILABILITIES:
        raise wrong_value("availability", text, " or ".join(AVAILABILITIES))
    return text.capitalize()
