"""What the server says of itself: capabilities, hypervisors, OS types, limits, servers."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session

from mgmt.api.access import EVERYONE, ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.lists import PlainListCommand
from mgmt.api.params import NoEffect, unknown_entity
from mgmt.api.registry import DONE, REGISTRY, Response, Spec, SyncCommand
from mgmt.api.responses.discovery import (
    CapabilityResponse,
    EventTypeResponse,
    HostTagResponse,
    HypervisorResponse,
    OsCategoryResponse,
    OsTypeResponse,
    PlannerResponse,
    ServerMetricsResponse,
    ServerResponse,
    StorageTagResponse,
)
from mgmt.api.responses.lookup import wire_time
from mgmt.model.configuration import PUBLIC_TEMPLATES_ALLOWED, Scope
from mgmt.model.configuration.items import PLANNERS
from mgmt.model.configuration.projects import INVITATION_REQUIRED, USERS_MAKE_PROJECTS
from mgmt.model.errors import ParameterError
from mgmt.model.os_types import CATEGORIES, OS_TYPES, category_id
from mgmt.model.states import JobStatus
from mgmt.store.configured import configured_items
from mgmt.store.database import is_sqlite
from mgmt.store.events import RECONCILED
from mgmt.store.servers import UP
from mgmt.store.tables import Host, Job, LoginSession, ManagementServer, StoragePool, Zone

HYPERVISORS = ("KVM",)


class ListCapabilities(SyncCommand, kw_only=True, frozen=True):
    """Lists what this cloud can do."""

    spec = Spec(answer=CapabilityResponse, key="capability", access=EVERYONE)

    def run(self, call: Call) -> Response:
        """The version clients compare with, and flags; what the configuration decides is read there."""
        of_caller = {Scope.account: call.caller.account.id, Scope.domain: call.caller.domain.id}
        items = (PUBLIC_TEMPLATES_ALLOWED, USERS_MAKE_PROJECTS, INVITATION_REQUIRED)
        values = configured_items(call.session, items, of_caller)
        return CapabilityResponse(
            cloudstackversion=call.context.config.version,
            userpublictemplateenabled=values[PUBLIC_TEMPLATES_ALLOWED.name],
            allowusercreateprojects=values[USERS_MAKE_PROJECTS.name],
            projectinviterequired=values[INVITATION_REQUIRED.name],
        )


class ListHypervisors(PlainListCommand, kw_only=True, frozen=True):
    """Lists hypervisors."""

    spec = Spec(answer=HypervisorResponse, key="hypervisor", access=EVERYONE)

    zoneid: Annotated[str | None, Ref(Zone, use=True), NoEffect("all zones have the same")] = None

    def items(self, call: Call) -> Sequence[Response]:
        """Those with a driver."""
        return [HypervisorResponse(name=name) for name in HYPERVISORS]


class ListDeploymentPlanners(PlainListCommand, kw_only=True, frozen=True):
    """Lists the ways to choose a host: values of vm.allocation.algorithm."""

    spec = Spec(answer=PlannerResponse, key="deploymentPlanner", access=ROOT)

    def items(self, call: Call) -> Sequence[Response]:
        """Those that the configuration takes."""
        return [PlannerResponse(name=name) for name in PLANNERS]


class ListHostTags(PlainListCommand, kw_only=True, frozen=True):
    """Lists the tags of hosts, which service offerings can ask for; each once."""

    spec = Spec(answer=HostTagResponse, key="hosttag", access=ROOT)

    def items(self, call: Call) -> Sequence[Response]:
        """Those that some host has."""
        return [HostTagResponse(name=tag) for tag in _tags(call.session, Host)]


class ListStorageTags(PlainListCommand, kw_only=True, frozen=True):
    """Lists the tags of storage pools, which offerings can ask for; each once."""

    spec = Spec(answer=StorageTagResponse, key="storagetag", access=ROOT)

    def items(self, call: Call) -> Sequence[Response]:
        """Those that some pool has."""
        return [StorageTagResponse(name=tag) for tag in _tags(call.session, StoragePool)]


def _tags(session: Session, table: type[Host] | type[StoragePool]) -> list[str]:
    """All tags of a table's rows; as text, because PostgreSQL compares no JSON: many rows have the same."""
    text = cast(table.tags, Text)
    sets = session.scalars(select(text).where(table.removed.is_(None)).distinct())
    return sorted({tag for one in sets for tag in json.loads(one)})


class ListOsTypes(PlainListCommand, kw_only=True, frozen=True):
    """Lists kinds of guest operating systems."""

    spec = Spec(answer=OsTypeResponse, key="ostype", access=EVERYONE)

    id: Annotated[str | None, "list only the one with this ID"] = None
    oscategoryid: Annotated[str | None, "list only those of this category"] = None
    description: Annotated[str | None, "list only the one with this description"] = None
    keyword: str | None = None

    def items(self, call: Call) -> Sequence[Response]:
        """The fixed list, filtered."""
        if self.id is not None and self.id not in {item.id for item in OS_TYPES}:
            raise unknown_entity("id", self.id)
        return [
            OsTypeResponse(
                id=item.id,
                name=item.description,
                description=item.description,
                oscategoryid=item.category_id,
                oscategoryname=item.category,
            )
            for item in OS_TYPES
            if self.id in (None, item.id)
            and self.oscategoryid in (None, item.category_id)
            and self.description in (None, item.description)
            and (self.keyword or "").lower() in item.description.lower()
        ]


class ListOsCategories(PlainListCommand, kw_only=True, frozen=True):
    """Lists families of guest operating systems."""

    spec = Spec(answer=OsCategoryResponse, key="oscategory", access=EVERYONE)

    id: Annotated[str | None, "list only the one with this ID"] = None
    name: Annotated[str | None, "list only the one with this name"] = None

    def items(self, call: Call) -> Sequence[Response]:
        """The fixed list, filtered."""
        found = [OsCategoryResponse(id=category_id(name), name=name) for name in CATEGORIES]
        return [item for item in found if self.id in (None, item.id) and self.name in (None, item.name)]


class ListManagementServersMetrics(PlainListCommand, kw_only=True, frozen=True):
    """Lists the management servers and how they are."""

    spec = Spec(answer=ServerMetricsResponse, key="managementserver", access=ROOT)

    id: Annotated[str | None, "list only the one with this ID"] = None
    name: Annotated[str | None, "list only the one with this name"] = None

    def items(self, call: Call) -> Sequence[Response]:
        """All that share the database."""
        shared = _metrics(call)
        rows = _servers(call, self.id, self.name)
        return [
            ServerMetricsResponse(**_server(row), availableprocessors=row.processors, **shared)
            for row in rows
        ]


class ListManagementServers(PlainListCommand, kw_only=True, frozen=True):
    """Lists the management servers."""

    spec = Spec(answer=ServerResponse, key="managementserver", access=ROOT)

    id: Annotated[str | None, "list only the one with this ID"] = None
    name: Annotated[str | None, "list only the one with this name"] = None

    def items(self, call: Call) -> Sequence[Response]:
        """All that share the database; those that are dead for long are forgotten."""
        return [ServerResponse(**_server(row)) for row in _servers(call, self.id, self.name)]


class RemoveManagementServer(SyncCommand, kw_only=True, frozen=True):
    """Removes a management server that is down from the list; one that starts again is in it again."""

    spec = Spec(access=ROOT, event="MANAGEMENT.SERVER.REMOVE")

    id: Annotated[str, Ref(ManagementServer)]

    def run(self, call: Call) -> Response:
        """Its jobs went on elsewhere when it was found dead."""
        row = call.row(ManagementServer, self.id)
        if row.state == UP:
            raise ParameterError(f"Management server {row.name} is Up; stop it first")
        row.removed = call.now()
        return DONE


class ListEventTypes(PlainListCommand, kw_only=True, frozen=True):
    """Lists the types of events."""

    spec = Spec(answer=EventTypeResponse, key="eventtype", access=EVERYONE)

    def items(self, call: Call) -> Sequence[Response]:
        """Those of all commands, and of what is done without one."""
        names = {item.spec.event for item in REGISTRY.all() if item.spec.event} | set(RECONCILED)
        return [EventTypeResponse(name=name) for name in sorted(names)]


def _servers(call: Call, server_id: str | None, name: str | None) -> Sequence[ManagementServer]:
    query = select(ManagementServer).where(ManagementServer.removed.is_(None))
    if server_id is not None:
        query = query.where(ManagementServer.id == server_id)
    if name is not None:
        query = query.where(ManagementServer.name == name)
    return call.session.scalars(query.order_by(ManagementServer.state.desc(), ManagementServer.name)).all()


def _server(row: ManagementServer) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "state": row.state,
        "version": row.version,
        "ipaddress": row.address,
        "serviceip": row.address,
        "kernelversion": row.kernel,
        "lastserverstart": wire_time(row.started) or "",
    }


def _metrics(call: Call) -> dict[str, Any]:
    """What is the same for all, because they share hosts, jobs and sessions."""
    pending = select(func.count()).select_from(Job).where(Job.status == JobStatus.pending)
    hosts = select(func.count()).select_from(Host).where(Host.removed.is_(None))
    sessions = select(func.count()).select_from(LoginSession).where(LoginSession.expires > call.now())
    return {
        "agentcount": call.session.scalar(hosts) or 0,
        "pendingjobscount": call.session.scalar(pending) or 0,
        "sessions": call.session.scalar(sessions) or 0,
        "dbislocal": is_sqlite(call.context.config.database_url),
        "usageislocal": False,
        "collectiontime": wire_time(call.now()) or "",
    }
