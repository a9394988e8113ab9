"""Domains: the tree that accounts live in."""

import re
from typing import Annotated, Any

from sqlalchemy import ColumnElement, Select, or_, select

from mgmt.api.access import ADMINS, EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.commands.zones import refuse_if_used
from mgmt.api.dns_names import NetworkDomain, read_network_domain
from mgmt.api.lists import Equals, ListCommand
from mgmt.api.ownership import in_domain
from mgmt.api.params import wrong_value
from mgmt.api.registry import AsyncCommand, Spec, SyncCommand
from mgmt.api.responses.identity import DOMAIN
from mgmt.model.errors import ParameterError
from mgmt.store.tables import Account, Domain, Job

NAME = re.compile(r"^[^/\\\s]([^/\\]*[^/\\\s])?$")
MOST_PATH = 2048


class ListDomains(ListCommand, kw_only=True, frozen=True):
    """Lists domains."""

    spec = Spec(answer=DOMAIN, access=EVERYONE)
    searched = (Domain.name,)

    name: Annotated[str | None, Equals(Domain.name)] = None
    level: Annotated[int | None, "list only domains this far below ROOT"] = None
    listall: bool = False
    details: Annotated[str | None, "accepted and not needed: everything is shown"] = None

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
    listall: bool = False

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

    def run(self, call: Call) -> Domain:
        """Check the name among its siblings, and insert."""
        if not NAME.match(self.name) or self.name.upper() == "ROOT":
            raise wrong_value("name", self.name, "a name without slashes or spaces at its ends, not ROOT")
        parent = call.row_or_none(Domain, self.parentdomainid)
        if parent is None:
            parent = call.session.get_one(Domain, call.caller.domain.id)
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
    """Deletes a domain that has neither accounts nor domains below it."""

    spec = Spec(access=ADMINS, event="DOMAIN.DELETE")

    id: Annotated[str, Ref(Domain)]
    cleanup: Annotated[bool, "true to delete what is in it; not supported"] = False

    def run(self, call: Call) -> Job:
        """Refuse while anything is in it."""
        domain = call.row(Domain, self.id)
        if domain.parent_id is None or domain.id == call.caller.domain.id:
            raise ParameterError(f"Domain {domain.name} is yours or ROOT; it cannot be deleted")
        if self.cleanup:
            raise ParameterError("cleanup=true is not supported; delete the domain's accounts first")
        item = f"Domain {domain.name}"
        refuse_if_used(call.session, Account, Account.domain_id == domain.id, item, "accounts")
        refuse_if_used(call.session, Domain, Domain.parent_id == domain.id, item, "domains")
        domain.removed = call.now()
        return call.finish(kind="Domain", about=domain)
