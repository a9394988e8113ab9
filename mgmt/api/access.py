"""Who may do what: kinds of callers, and a policy for every table whose ids may be parameters.

Denied by default: a `Ref` to a table without a policy fails when the command is registered.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from mgmt.api.membership import find_membership, is_invited, project_accounts_of, share_project
from mgmt.api.offering_domains import may_use
from mgmt.model.errors import PermissionDenied
from mgmt.model.states import AccountType, AddressState, Allocation, RoleType
from mgmt.store import tables
from mgmt.store.tables import Account, Domain, LoginSession, User
from mgmt.store.tables.base import Identified

Access = frozenset[AccountType]
ROOT: Access = frozenset({AccountType.root_admin})
ADMINS: Access = frozenset({AccountType.root_admin, AccountType.domain_admin})
EVERYONE: Access = frozenset(AccountType) - {AccountType.project}


@dataclass(frozen=True)
class Caller:
    """Who calls: a user with account and domain; `login` is the session, if it is no signed call.

    `roles_version` tells whether what is known of the roles is still true (`mgmt.api.rights`). `command` is
    what is being called and `changes` whether it may change anything: a member's role in a project decides
    by it.
    """

    user: User
    account: Account
    domain: Domain
    roles_version: str = ""
    login: LoginSession | None = None
    command: str = ""
    changes: bool = True

    @property
    def needs_code(self) -> bool:
        """Whether it is a session that must prove the second factor first."""
        wanted = self.user.totp_enabled or self.user.totp_mandated
        return wanted and self.login is not None and self.login.needs_code

    @property
    def type(self) -> AccountType:
        """The kind of account."""
        return AccountType(self.account.type)

    @property
    def is_admin(self) -> bool:
        """Whether the caller administers a domain, or all of them."""
        return self.type in ADMINS

    @property
    def is_root(self) -> bool:
        """Whether the caller may see and do everything."""
        return self.type is AccountType.root_admin

    def covers(self, session: Session, account_id: str | None, domain_id: str | None) -> bool:
        """Whether what this account of this domain owns is the caller's to operate; also as a member of the
        project whose account it is."""
        if self.governs(session, account_id, domain_id):
            return True
        member = find_membership(session, self.user, account_id) if account_id is not None else None
        return member is not None and member.allows(self.command, changes=self.changes)

    def governs(self, session: Session, account_id: str | None, domain_id: str | None) -> bool:
        """Whether the account is the caller's own, or one that the caller administers."""
        if self.is_root or (account_id is not None and account_id == self.account.id):
            return True
        return self.type is AccountType.domain_admin and self.covers_domain(session, domain_id)

    def covers_domain(self, session: Session, domain_id: str | None) -> bool:
        """Whether the domain is in the subtree that the caller administers."""
        if self.is_root:
            return True
        if self.type is not AccountType.domain_admin or domain_id is None:
            return False
        path = session.scalar(select(Domain.path).where(Domain.id == domain_id))
        return path is not None and path.startswith(self.domain.path)


EVERY = "-1"
"""What stands for all rows, where a `Ref` takes that."""


@dataclass(frozen=True)
class Ref:
    """Marks a parameter as the id of a row of `table`; the dispatcher finds and authorizes it.

    `use` asks only for the right to use it (a public template, an offering), not to change it. With `every`
    the command takes `-1` too, for all of them, and sees to the right to that itself.
    """

    table: type[Identified]
    use: bool = False
    every: bool = False


@dataclass(frozen=True)
class InnerRef:
    """Marks a list of maps whose `key` holds the id of a row of `table` (`iptonetworklist[0].networkid`)."""

    key: str
    table: type[Identified]
    use: bool = False


Policy = Callable[[Caller, Session, Any, bool], bool]
"""Caller, session, row, whether only for use: may the caller?"""


def _owned(caller: Caller, session: Session, row: Any, use: bool) -> bool:
    return caller.covers(session, row.account_id, row.domain_id)


def _root(caller: Caller, session: Session, row: Any, use: bool) -> bool:
    return caller.is_root


def _offering(caller: Caller, session: Session, row: Any, use: bool) -> bool:
    return caller.is_root or (use and may_use(session, row.id, caller.domain.path))


def _zone(caller: Caller, session: Session, row: Any, use: bool) -> bool:
    return caller.is_root or (use and row.allocation == Allocation.enabled)


def _template(caller: Caller, session: Session, row: Any, use: bool) -> bool:
    """Anybody may use public ones; those that are shared, the accounts and the projects' members."""
    if use and (row.is_public or row.is_builtin or _is_granted(caller, session, row.id)):
        return True
    return _owned(caller, session, row, use)


def _is_granted(caller: Caller, session: Session, template_id: str) -> bool:
    table = tables.TemplatePermission
    mine = or_(table.account_id == caller.account.id, table.account_id.in_(project_accounts_of(caller.user)))
    query = select(table.account_id).where(table.template_id == template_id, mine)
    return session.scalar(query.limit(1)) is not None


def _domain(caller: Caller, session: Session, row: Any, use: bool) -> bool:
    return (use and row.id == caller.domain.id) or caller.covers_domain(session, row.id)


def _account(caller: Caller, session: Session, row: Any, use: bool) -> bool:
    """A domain administrator rules the accounts of the domain, but never a root administrator's."""
    if row.type == AccountType.root_admin and not caller.is_root:
        return False
    # A project's account goes and comes with its project, never by commands for accounts.
    return row.type != AccountType.project and caller.governs(session, row.id, row.domain_id)


def _user(caller: Caller, session: Session, row: Any, use: bool) -> bool:
    """Oneself; others, also of the own account, are for administrators. Members of one project may name each
    other."""
    if row.id == caller.user.id:
        return True
    account = session.get_one(Account, row.account_id)
    if caller.is_admin and _account(caller, session, account, use):
        return True
    return use and share_project(session, caller.user, row)


INVITED = frozenset({"updateProjectInvitation"})
"""What somebody who is invited to a project may call about it."""


def _project(caller: Caller, session: Session, row: Any, use: bool) -> bool:
    """Members see and use it; its administrators change it, and those of its domain. Who is invited is no
    member yet, and can only answer."""
    if use:
        is_answer = caller.command in INVITED and is_invited(session, caller.user, row.id)
        return is_answer or caller.covers(session, row.account_id, row.domain_id)
    return administers(caller, session, row)


def administers(caller: Caller, session: Session, project: Any) -> bool:
    """Whether the caller may change a project, its members and its roles."""
    if caller.governs(session, project.account_id, project.domain_id):
        return True
    member = find_membership(session, caller.user, project.account_id)
    return member is not None and member.is_admin


def _of_project(caller: Caller, session: Session, row: Any, use: bool) -> bool:
    project = session.get(tables.Project, row.project_id)
    return project is not None and _project(caller, session, project, use)


def _invitation(caller: Caller, session: Session, row: Any, use: bool) -> bool:
    """The invited account answers it; whoever administers the project takes it back."""
    is_mine = row.account_id == caller.account.id and row.user_id in (None, caller.user.id)
    return is_mine or _of_project(caller, session, row, False)


def _role(caller: Caller, session: Session, row: Any, use: bool) -> bool:
    """Administrators of domains give out public roles that are not for root administrators."""
    return caller.is_root or (
        use and row.is_public and caller.type is AccountType.domain_admin and row.type != RoleType.admin
    )


def _annotation(caller: Caller, session: Session, row: Any, use: bool) -> bool:
    """Oneself's, or an administrator's; to be read also on what is one's own, unless it is hidden."""
    if row.user_id == caller.user.id:
        return True
    if not caller.is_admin and (not use or row.admins_only):
        return False
    return _owned(caller, session, row, use)


def _member(caller: Caller, session: Session, row: Any, use: bool) -> bool:
    rule = session.get(tables.BalancerRule, row.rule_id)
    return rule is not None and _owned(caller, session, rule, use)


OWNED = (
    tables.Vm,
    tables.VmSnapshot,
    tables.Nic,
    tables.NicAddress,
    tables.AffinityGroup,
    tables.InstanceGroup,
    tables.UserData,
    tables.SshKeyPair,
    tables.Network,
    tables.PublicAddress,
    tables.FirewallRule,
    tables.EgressRule,
    tables.PortForwardingRule,
    tables.BalancerRule,
    tables.Volume,
    tables.Snapshot,
    tables.SnapshotPolicy,
    tables.Job,
    tables.Event,
    tables.Tag,
    tables.UsageRecord,
)
INFRASTRUCTURE = (
    tables.Pod,
    tables.Cluster,
    tables.Host,
    tables.StoragePool,
    tables.ImageStore,
    tables.PhysicalNetwork,
    tables.TrafficType,
    tables.VlanRange,
    tables.Alert,
    tables.ServiceProvider,
    tables.Dedication,
    tables.ManagementServer,
)
OFFERINGS = (tables.ServiceOffering, tables.DiskOffering, tables.NetworkOffering)

POLICIES: dict[type[Identified], Policy] = {
    **dict.fromkeys(OWNED, _owned),
    **dict.fromkeys(INFRASTRUCTURE, _root),
    **dict.fromkeys(OFFERINGS, _offering),
    tables.Zone: _zone,
    tables.Template: _template,
    tables.Domain: _domain,
    tables.Account: _account,
    tables.User: _user,
    tables.Role: _role,
    tables.RolePermission: _root,
    tables.BalancerMember: _member,
    tables.Annotation: _annotation,
    tables.Project: _project,
    tables.ProjectMember: _of_project,
    tables.ProjectRole: _of_project,
    tables.ProjectRolePermission: _of_project,
    tables.ProjectInvitation: _invitation,
}


def may_have(caller: Caller, session: Session, row: Identified, *, use: bool = False) -> bool:
    """Whether the table's policy lets the caller have the row."""
    return POLICIES[type(row)](caller, session, row, use)


def is_gone(caller: Caller, row: Identified) -> bool:
    """Whether a row is there for root administrators only: an address that was released is nobody's, and
    clients look for the words on what does not exist."""
    return isinstance(row, tables.PublicAddress) and row.state == AddressState.free and not caller.is_root


def authorize(caller: Caller, session: Session, row: Identified, *, use: bool) -> None:
    """Raise `PermissionDenied` unless the caller may have the row."""
    if not may_have(caller, session, row, use=use):
        text = (
            f"Account {caller.account.name} does not have permission to"
            f" {'use' if use else 'operate with'} {type(row).__tablename__} {row.id}"  # type: ignore[attr-defined]
        )
        raise PermissionDenied(text)
