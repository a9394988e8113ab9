"""Projects, their members, invitations and roles on the wire."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import select

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.identity import vm_powers
from mgmt.api.responses.limits import LimitFields, limit_fields
from mgmt.api.responses.lookup import TagResponse, domain_path, rows_by_id, tags_of, wire_time
from mgmt.model.projects import InvitationState, MemberRole
from mgmt.model.resources import OwnerKind
from mgmt.store.tables import (
    Account,
    Domain,
    Project,
    ProjectInvitation,
    ProjectMember,
    ProjectRole,
    ProjectRolePermission,
    User,
)


class ProjectResponse(LimitFields):
    """A project; `owner` are its administrators: `account`, and `userid` and `user` if it is one user."""

    id: str
    name: str
    displaytext: str
    domain: str
    domainid: str
    state: str
    projectaccountname: str
    created: str | None
    owner: list[dict[str, str]]
    tags: list[TagResponse]
    vmrunning: int
    vmstopped: int


def project_responses(call: Call, rows: Sequence[Project]) -> list[ProjectResponse]:
    """Projects on the wire."""
    account_ids = [row.account_id for row in rows]
    query = select(Account, Domain).join(Domain, Domain.id == Account.domain_id)
    homes = {
        account.id: (account, domain)
        for account, domain in call.session.execute(query.where(Account.id.in_(account_ids)))
    }
    limits = limit_fields(call, [(account_id, OwnerKind.project) for account_id in account_ids], set())
    powers, tags, owners = vm_powers(call, account_ids), tags_of(call, "Project", rows), _owners(call, rows)
    return [
        ProjectResponse(
            id=row.id,
            name=row.name,
            displaytext=row.display_text,
            domain=homes[row.account_id][1].name,
            domainid=row.domain_id,
            state=row.state,
            projectaccountname=homes[row.account_id][0].name,
            created=wire_time(row.created),
            owner=owners[row.id],
            tags=tags[row.id],
            **powers[row.account_id],
            **limits[row.account_id],
        )
        for row in rows
    ]


def _owners(call: Call, rows: Sequence[Project]) -> dict[str, list[dict[str, str]]]:
    query = (
        select(ProjectMember.project_id, Account.name, User.id, User.username)
        .join(Account, Account.id == ProjectMember.account_id)
        .outerjoin(User, User.id == ProjectMember.user_id)
        .where(ProjectMember.project_id.in_([row.id for row in rows]), ProjectMember.removed.is_(None))
        .where(ProjectMember.role == MemberRole.admin)
        .order_by(ProjectMember.created, ProjectMember.id)
    )
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    for project_id, account, user_id, username in call.session.execute(query):
        user = {"userid": user_id, "user": username} if user_id else {}
        found[project_id].append({"account": account, **user})
    return found


PROJECT = Entity(Project, ProjectResponse, "project", project_responses)


class ProjectAccountResponse(Response):
    """A member of a project: an account, or one user of it."""

    projectid: str
    project: str
    accountid: str
    account: str
    accounttype: int
    role: str
    domain: str
    domainid: str
    userid: str | None = None
    username: str | None = None
    projectroleid: str | None = None


def member_responses(call: Call, rows: Sequence[ProjectMember]) -> list[ProjectAccountResponse]:
    """Members on the wire."""
    projects = rows_by_id(call, Project, (row.project_id for row in rows))
    accounts = rows_by_id(call, Account, (row.account_id for row in rows))
    domains = rows_by_id(call, Domain, (account.domain_id for account in accounts.values()))
    users = rows_by_id(call, User, (row.user_id for row in rows))
    return [
        ProjectAccountResponse(
            projectid=row.project_id,
            project=projects[row.project_id].name,
            accountid=row.account_id,
            account=accounts[row.account_id].name,
            accounttype=int(accounts[row.account_id].type),
            role=row.role,
            domain=domains[accounts[row.account_id].domain_id].name,
            domainid=accounts[row.account_id].domain_id,
            userid=row.user_id,
            username=users[row.user_id].username if row.user_id else None,
            projectroleid=row.project_role_id,
        )
        for row in rows
    ]


PROJECT_ACCOUNT = Entity(ProjectMember, ProjectAccountResponse, "projectaccount", member_responses)


class ProjectInvitationResponse(Response):
    """An invitation of an account or a user to a project."""

    id: str
    projectid: str
    project: str
    domain: str
    domainid: str
    domainpath: str
    state: str
    account: str | None = None
    userid: str | None = None


def invitation_responses(call: Call, rows: Sequence[ProjectInvitation]) -> list[ProjectInvitationResponse]:
    """Invitations on the wire."""
    projects = rows_by_id(call, Project, (row.project_id for row in rows))
    accounts = rows_by_id(call, Account, (row.account_id for row in rows))
    domains = rows_by_id(call, Domain, (row.domain_id for row in rows))
    return [
        ProjectInvitationResponse(
            id=row.id,
            projectid=row.project_id,
            project=projects[row.project_id].name,
            domain=domains[row.domain_id].name,
            domainid=row.domain_id,
            domainpath=domain_path(domains[row.domain_id]),
            state=InvitationState.expired if is_late(call, row) else row.state,
            account=accounts[row.account_id].name if row.account_id else None,
            userid=row.user_id,
        )
        for row in rows
    ]


def is_late(call: Call, row: ProjectInvitation) -> bool:
    """Whether an invitation was not answered in time."""
    return row.state == InvitationState.pending and row.expires <= call.now()


PROJECT_INVITATION = Entity(
    ProjectInvitation, ProjectInvitationResponse, "projectinvitation", invitation_responses
)


class ProjectRoleResponse(Response):
    """A role that members of a project may have."""

    id: str
    name: str
    description: str
    projectid: str
    ispublic: bool = True


def role_responses(call: Call, rows: Sequence[ProjectRole]) -> list[ProjectRoleResponse]:
    """Roles on the wire."""
    return [
        ProjectRoleResponse(id=row.id, name=row.name, description=row.description, projectid=row.project_id)
        for row in rows
    ]


PROJECT_ROLE = Entity(ProjectRole, ProjectRoleResponse, "projectrole", role_responses)


class ProjectRolePermissionResponse(Response):
    """A rule of a project role: `permission` is allow or deny."""

    id: str
    projectid: str
    projectroleid: str
    projectrolename: str
    rule: str
    permission: str
    description: str


def permission_responses(
    call: Call, rows: Sequence[ProjectRolePermission]
) -> list[ProjectRolePermissionResponse]:
    """Rules on the wire."""
    roles = rows_by_id(call, ProjectRole, (row.project_role_id for row in rows))
    return [
        ProjectRolePermissionResponse(
            id=row.id,
            projectid=row.project_id,
            projectroleid=row.project_role_id,
            projectrolename=roles[row.project_role_id].name,
            rule=row.rule,
            permission=row.permission,
            description=row.description,
        )
        for row in rows
    ]


PROJECT_ROLE_PERMISSION = Entity(
    ProjectRolePermission, ProjectRolePermissionResponse, "projectrolepermission", permission_responses
)
