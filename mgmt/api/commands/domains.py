"""Domains: the tree that accounts live in."""

import re
from typing import Annotated, Any

from sqlalchemy import ColumnElement, Select, or_, select

from mgmt.api.absent import CustomId
from mgmt.api.access import ADMINS, EVERYONE, Ref, authorize
from mgmt.api.call import Call
from mgmt.api.commands.accounts import refuse_inactive
from mgmt.api.dns_names import NetworkDomain, read_network_domain
from mgmt.api.lists import Equals, ListCommand
from mgmt.api.ownership import in_domain
from mgmt.api.params import NoEffect, wrong_value
from mgmt.api.registry import AsyncCommand, Spec, SyncCommand
from mgmt.api.responses.identity import DOMAIN
from mgmt.model.errors import ParameterError
from mgmt.model.projects import ProjectState
from mgmt.model.states import DomainState
from mgmt.ops import names
from mgmt.ops.tenancy.accounts import shut_out
from mgmt.ops.tenancy.domains import (
    accounts_of,
    domains_of,
    projects_of,
    refuse_while_in_use,
    remove_domain,
)
from mgmt.store.tables import Account, Domain, Job

NAME = re.compile(r"^[^/\\\s]([^/\\]*[^/\\\s])?$")
MOST_PATH = 2048


class ListDomains(ListCommand, kw_only=True, frozen=True):
    """Lists domains."""

    spec = Spec(answer=DOMAIN, access=EVERYONE)
    searched = (Domain.name,)

    name: Annotated[str | None, Equals(Domain.name)] = None
    level: Annotated[int | None, "list only domains this far below ROOT"] = None
    listall: Annotated[bool, NoEffect("all that one may see is listed")] = False
    details: Annotated[str | None, NoEffect("everything is shown")] = None

    def ownership(self, call: Call) -> ColumnElement[bool] | None:
        """Administrators see their subtree, users their own domain."""
        if call.caller.is_root:
            return None
        recursive = call.caller.is_admin
        return in_domain(call.session, Domain.id, call.caller.domain.id, recursive=recursive)

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Domains of one level: their paths have as many names."""
        if self.level is None:
            return query
        shape = "/" + "%/" * self.level
        return query.where(Domain.path.like(shape), Domain.path.not_like(f"{shape}%/"))

    def order(self) -> tuple[Any, ...]:
        """Parents before children."""
        return (Domain.path, Domain.id)


class ListDomainChildren(ListCommand, kw_only=True, frozen=True):
    """Lists the domains below a domain."""

    spec = Spec(answer=DOMAIN, access=ADMINS)
    searched = (Domain.name,)

    id_is_filter = False

    id: Annotated[str | None, Ref(Domain), "the ID of the domain above; the caller's otherwise"] = None
    name: Annotated[str | None, Equals(Domain.name)] = None
    isrecursive: bool = False
    listall: Annotated[bool, NoEffect("all that one may see is listed")] = False

    def ownership(self, call: Call) -> ColumnElement[bool] | None:
        """The children of `id` (not the domain itself), or of the caller's domain."""
        parent = self.id or call.caller.domain.id
        children: ColumnElement[bool] = Domain.parent_id == parent
        if not self.isrecursive:
            return children
        below = in_domain(call.session, Domain.id, parent, recursive=True)
        return or_(children, below & (Domain.id != parent))


class CreateDomain(SyncCommand, kw_only=True, frozen=True):
    """Creates a domain."""

    spec = Spec(answer=DOMAIN, access=ADMINS, event="DOMAIN.CREATE")

    name: str
    parentdomainid: Annotated[str | None, Ref(Domain), "the ID of the domain above; ROOT otherwise"] = None
    networkdomain: NetworkDomain = None
    domainid: CustomId = None

    def run(self, call: Call) -> Domain:
        """Check the name among its siblings, and insert."""
        if not NAME.match(self.name) or self.name.upper() == "ROOT":
            raise wrong_value("name", self.name, "a name without slashes or spaces at its ends, not ROOT")
        parent = call.row_or_none(Domain, self.parentdomainid)
        if parent is None:
            parent = call.session.get_one(Domain, call.caller.domain.id)
        refuse_inactive(parent)
        path = f"{parent.path}{self.name}/"
        if len(path) > MOST_PATH:
            raise ParameterError(f"The path of domain {self.name} has more than {MOST_PATH} characters")
        if call.session.scalar(select(Domain.id).where(Domain.path == path, Domain.removed.is_(None))):
            raise ParameterError(
                f"Domain {parent.name} already has a domain {self.name}; choose another name"
            )
        domain = Domain(name=self.name, path=path, parent_id=parent.id)
        domain.network_domain = read_network_domain(self.networkdomain)
        call.session.add(domain)
        return domain


class UpdateDomain(SyncCommand, kw_only=True, frozen=True):
    """Renames a domain, or changes the DNS domain of its networks."""

    spec = Spec(answer=DOMAIN, access=ADMINS, event="DOMAIN.UPDATE")

    id: Annotated[str, Ref(Domain)]
    name: str | None = None
    networkdomain: NetworkDomain = None

    def run(self, call: Call) -> Domain:
        """Change what was sent."""
        domain = call.row(Domain, self.id)
        if self.networkdomain is not None:
            domain.network_domain = read_network_domain(self.networkdomain)
        if self.name and self.name != domain.name:
            self._rename(call, domain, self.name)
        return domain

    def _rename(self, call: Call, domain: Domain, name: str) -> None:
        """Give it and everything below it a new path."""
        if domain.parent_id is None:
            raise ParameterError("The ROOT domain cannot be renamed")
        if not NAME.match(name) or name.upper() == "ROOT":
            raise wrong_value("name", name, "a name without slashes or spaces at its ends, not ROOT")
        old = domain.path
        new = old.removesuffix(f"{domain.name}/") + f"{name}/"
        if call.session.scalar(select(Domain.id).where(Domain.path == new, Domain.removed.is_(None))):
            raise ParameterError(f"A domain {name} already exists there; choose another name")
        below = select(Domain).where(Domain.path.startswith(old, autoescape=True), Domain.removed.is_(None))
        for row in call.session.scalars(below):
            row.path = new + row.path.removeprefix(old)
        domain.name = name


class DeleteDomain(AsyncCommand, kw_only=True, frozen=True):
    """Deletes a domain; with cleanup all projects, accounts and domains in it, with what they own."""

    spec = Spec(access=ADMINS, event="DOMAIN.DELETE", governs=True)

    id: Annotated[str, Ref(Domain)]
    cleanup: Annotated[bool, "true: delete all that is in it first, for good"] = False

    def run(self, call: Call) -> Job:
        """Nothing new comes into it from now on; one that is empty goes at once."""
        domain = call.row(Domain, self.id)
        if domain.parent_id is None or call.caller.domain.path.startswith(domain.path):
            raise ParameterError(f"Domain {domain.name} is yours, or above yours; it cannot be deleted")
        if not self.cleanup:
            refuse_while_in_use(call.session, domain, "send cleanup=true, or delete them first")
            remove_domain(call.session, domain)
            return call.finish(kind="Domain", about=domain)
        self._close(call, domain)
        return call.submit(names.DELETE_DOMAIN, {"domain_id": domain.id}, kind="Domain", about=domain)

    def _close(self, call: Call, domain: Domain) -> None:
        """Each account must be the caller's to govern; `rank` compares those that are named here."""
        accounts = accounts_of(call.session, domain)
        for account in accounts:
            authorize(call.caller, call.session, account, use=False)
            call.rows[Account, account.id] = account
        shut_out(call.session, accounts)
        for project in projects_of(call.session, domain):
            project.state = ProjectState.suspended
        for below in domains_of(call.session, domain):
            below.state = DomainState.inactive
