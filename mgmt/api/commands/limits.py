"""Resource limits and counts of accounts, projects and domains."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from mgmt.alloc.counted import correct_account, correct_domain
from mgmt.alloc.limits import counts_of, limits_of, owner_kind
from mgmt.api.access import ADMINS, EVERYONE
from mgmt.api.call import Call
from mgmt.api.lists import PlainListCommand
from mgmt.api.ownership import OwnerAccount, OwnerDomain, OwnerProject
from mgmt.api.params import NoEffect, Unsupported, wrong_value
from mgmt.api.registry import Command, Response, Spec, SyncCommand
from mgmt.api.responses.limits import ResourceCountResponse, ResourceLimitResponse
from mgmt.api.responses.lookup import Owners, domain_path
from mgmt.model.errors import ParameterError, PermissionDenied
from mgmt.model.resources import UNLIMITED, OwnerKind, ResourceType
from mgmt.model.states import AccountType
from mgmt.store.tables import Account, Domain, ResourceLimit

LARGEST = 2**53
TYPES = (
    "0 VMs, 1 public addresses, 2 volumes, 3 snapshots, 4 templates, 5 projects, 6 networks, 7 VPCs,"
    " 8 CPU cores, 9 memory, 10 primary storage, 11 secondary storage"
)


@dataclass(frozen=True)
class Subject:
    """Whose limits a call is about: an account (a project's too) or, without one, a domain."""

    domain: Domain
    account: Account | None

    @property
    def id(self) -> str:
        """Under which id its limits and counts are kept."""
        return self.account.id if self.account else self.domain.id

    @property
    def kind(self) -> OwnerKind:
        """Which defaults hold for it."""
        return owner_kind(self.account) if self.account else OwnerKind.domain

    @property
    def is_unlimited(self) -> bool:
        """Root administrators and ROOT have no limits."""
        if self.account is not None:
            return self.account.type == AccountType.root_admin
        return self.domain.parent_id is None

    def names(self, call: Call) -> dict[str, Any]:
        """`account` or `project`, and the domain's fields."""
        domain = {
            "domain": self.domain.name,
            "domainid": self.domain.id,
            "domainpath": domain_path(self.domain),
        }
        if self.account is None:
            return domain
        row = _Row(account_id=self.account.id, domain_id=self.domain.id)
        return Owners(call, [row]).names(row)


@dataclass(frozen=True)
class _Row:
    account_id: str
    domain_id: str


class ListResourceLimits(PlainListCommand, kw_only=True, frozen=True):
    """Lists the limits of an account, a project or a domain; those of the caller's account otherwise."""

    spec = Spec(answer=ResourceLimitResponse, key="resourcelimit", access=EVERYONE)

    resourcetype: Annotated[int | None, TYPES] = None
    resourcetypename: Annotated[str | None, "the name of the resource, as user_vm"] = None
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None
    listall: Annotated[bool, NoEffect("the limits of one owner are listed")] = False
    isrecursive: Annotated[bool, NoEffect("the limits of one owner are listed")] = False
    id: Annotated[int | None, Unsupported("a limit is known by its owner and resourcetype")] = None

    def items(self, call: Call) -> Sequence[Response]:
        """One per resource."""
        subject = find_subject(call, self)
        limits = limits_of(call.session, [(subject.id, subject.kind)])[subject.id]
        kinds = [read_type(self.resourcetype)] if self.resourcetype is not None else list(ResourceType)
        if self.resourcetypename is not None:
            kinds = [kind for kind in kinds if kind.name == self.resourcetypename]
        names = subject.names(call)
        return [
            limit_response(kind, UNLIMITED if subject.is_unlimited else limits.get(kind, UNLIMITED), names)
            for kind in kinds
        ]


class UpdateResourceLimit(SyncCommand, kw_only=True, frozen=True):
    """Sets a limit of an account, a project or a domain."""

    spec = Spec(
        answer=ResourceLimitResponse, key="resourcelimit", access=ADMINS, event="RESOURCE.LIMIT.UPDATE"
    )

    resourcetype: Annotated[int, TYPES]
    max: Annotated[int, "the limit; -1 for none", Meta(ge=UNLIMITED, le=LARGEST)] = UNLIMITED
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None

    def run(self, call: Call) -> Response:
        """Nobody widens the own limits, and no domain gets more than the one above it."""
        kind, subject = read_type(self.resourcetype), find_subject(call, self)
        if self.account is None and self.projectid is None and self.domainid is None:
            raise ParameterError("Send account and domainid, projectid, or domainid: whose limit it is")
        self._check(call, kind, subject)
        call.session.merge(ResourceLimit(owner_id=subject.id, type=int(kind), most=self.max))
        return limit_response(kind, self.max, subject.names(call))

    def _check(self, call: Call, kind: ResourceType, subject: Subject) -> None:
        own = call.caller.account.id if subject.account else call.caller.domain.id
        if subject.id == own and not call.caller.is_root:
            raise PermissionDenied("Your own limits are set by an administrator above you")
        if subject.is_unlimited and self.max != UNLIMITED:
            raise ParameterError("Root administrators and the ROOT domain have no limits: only -1 is allowed")
        parent_id = subject.domain.parent_id
        if subject.account is not None or parent_id is None:
            return
        parent = call.session.get_one(Domain, parent_id)
        most = limits_of(call.session, [(parent.id, OwnerKind.domain)])[parent.id][kind]
        if parent.parent_id is not None and most != UNLIMITED and not 0 <= self.max <= most:
            raise wrong_value("max", self.max, f"at most {most}, the limit of domain {parent.name} above it")


class UpdateResourceCount(PlainListCommand, kw_only=True, frozen=True):
    """Counts anew what an account, a project, or a domain with all below it has."""

    spec = Spec(answer=ResourceCountResponse, key="resourcecount", access=ADMINS)

    resourcetype: Annotated[int | None, TYPES] = None
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None

    def items(self, call: Call) -> Sequence[Response]:
        """Correct what is stored, and show it."""
        if self.account is None and self.projectid is None and self.domainid is None:
            raise ParameterError("Send domainid, with account for one account, or projectid: what to count")
        kinds = [read_type(self.resourcetype)] if self.resourcetype is not None else list(ResourceType)
        subject = find_subject(call, self)
        if subject.account is None:
            correct_domain(call.session, subject.domain)
        else:
            correct_account(call.session, subject.account)
        counts, names = counts_of(call.session, [subject.id])[subject.id], subject.names(call)
        return [
            ResourceCountResponse(
                resourcetype=str(int(kind)), resourcetypename=kind.name, resourcecount=counts[kind], **names
            )
            for kind in kinds
        ]


def find_subject(call: Call, command: Command) -> Subject:
    """Whose limits are meant, authorized. Raises `PermissionDenied` for a domain the caller does not rule."""
    domain_id = getattr(command, "domainid", None)
    if domain_id is None or call.owner.account.id != call.caller.account.id:
        return Subject(call.owner.domain, call.owner.account)
    if getattr(command, "account", None) is not None:
        return Subject(call.owner.domain, call.owner.account)
    if not call.caller.covers_domain(call.session, domain_id):
        raise PermissionDenied(f"Domain {domain_id} is not yours; leave domainid away for your own limits")
    return Subject(call.row(Domain, domain_id), None)


def read_type(number: int) -> ResourceType:
    """The resource of a number. Raises `ParameterError`."""
    if number not in set(ResourceType):
        raise wrong_value("resourcetype", number, f"0 to {max(ResourceType):d}")
    return ResourceType(number)


def limit_response(kind: ResourceType, most: int, names: dict[str, Any]) -> ResourceLimitResponse:
    """A limit on the wire."""
    return ResourceLimitResponse(resourcetype=str(int(kind)), resourcetypename=kind.name, max=most, **names)
