"""What the server says of itself on the wire: capabilities, OS types, limits, management servers, APIs."""

from typing import Any

from mgmt.api.registry import Response


class CapabilityResponse(Response, kw_only=True):
    """What this cloud can do."""

    cloudstackversion: str
    securitygroupsenabled: bool = False
    dynamicrolesenabled: bool = True
    userpublictemplateenabled: bool
    kvmsnapshotenabled: bool = True
    allowusercreateprojects: bool
    projectinviterequired: bool
    regionsecondaryenabled: bool = False
    kubernetesserviceenabled: bool = False
    kubernetesclusterexperimentalfeaturesenabled: bool = False
    allowuserviewdestroyedvm: bool = True
    allowuserexpungerecovervm: bool = True
    allowuserexpungerecovervolume: bool = False
    allowuserviewalldomainaccounts: bool = False
    dynamicscalingenabled: bool = False
    instanceleaseenabled: bool = False
    customdiskofferingminsize: int = 1
    customdiskofferingmaxsize: int = 1024
    defaultuipagesize: int = 20
    supportELB: str = "false"  # noqa: N815 (the wire's name)


class HypervisorResponse(Response):
    """A hypervisor."""

    name: str


class PlannerResponse(Response):
    """A way of choosing hosts."""

    name: str


class HostTagResponse(Response):
    """A tag that hosts have."""

    name: str
    isimplicit: bool = False


class StorageTagResponse(Response):
    """A tag that storage pools have."""

    name: str


class OsTypeResponse(Response):
    """A kind of guest operating system."""

    id: str
    name: str
    description: str
    oscategoryid: str
    oscategoryname: str
    isuserdefined: bool = False


class OsCategoryResponse(Response):
    """A family of operating systems."""

    id: str
    name: str


class ServerResponse(Response):
    """A management server."""

    id: str
    name: str
    state: str
    version: str
    ipaddress: str
    serviceip: str
    kernelversion: str
    lastserverstart: str


class ServerMetricsResponse(ServerResponse):
    """A management server and how it is."""

    availableprocessors: int
    agentcount: int
    pendingjobscount: int
    sessions: int
    dbislocal: bool
    usageislocal: bool
    collectiontime: str


class DatabaseMetricsResponse(Response, kw_only=True):
    """The database; `connections` and `uptime` in seconds where it is a server of its own."""

    hostname: str
    version: str
    versioncomment: str
    connections: int | None
    uptime: int | None
    collectiontime: str


class UsageServerMetricsResponse(Response, kw_only=True):
    """The summing up of usage; `lastsuccessfuljob` is the last day that is done."""

    state: str
    lastsuccessfuljob: str | None
    collectiontime: str


class EventTypeResponse(Response):
    """A type of events."""

    name: str


class ApiParameter(Response):
    """A parameter of a command, as the CLIs want it; all of them always there."""

    name: str
    description: str
    type: str
    length: int
    required: bool
    related: str | None = None


class ApiField(Response):
    """A field of an answer."""

    name: str
    description: str
    type: str
    response: list[dict[str, Any]] | None = None


class ApiResponse(Response):
    """A command."""

    name: str
    description: str
    isasync: bool
    params: list[ApiParameter]
    response: list[ApiField]
    since: str | None = None
    related: str | None = None
