"""Members of projects: found, added, given other roles. Counts of projects follow: see mgmt.alloc.counted."""

from sqlalchemy import select

from mgmt.alloc.limits import release, reserve
from mgmt.api.call import Call
from mgmt.api.params import wrong_value
from mgmt.model.errors import ParameterError
from mgmt.model.projects import MemberRole
from mgmt.model.resources import ResourceType
from mgmt.model.states import AccountType
from mgmt.ops.tenancy.projects import members_of, memberships_of, remove_member
from mgmt.store.tables import Account, Project, ProjectMember, ProjectRole, User


def read_role(text: str | None) -> MemberRole:
    """`Admin` or `Regular` (without a text), however it is spelled. Raises `ParameterError`."""
    for role in MemberRole:
        if (text or MemberRole.regular).lower() == role.lower():
            return role
    raise wrong_value("roletype", text or "", " or ".join(MemberRole))


def account_named(call: Call, project: Project, name: str) -> Account:
    """An account of the project's domain. Raises `ParameterError`."""
    found = call.session.scalar(
        select(Account).where(
            Account.name == name,
            Account.domain_id == project.domain_id,
            Account.type != AccountType.project,
            Account.removed.is_(None),
        )
    )
    if found is None:
        raise wrong_value("account", name, f"the name of an account in the domain of project {project.name}")
    return found


def user_named(call: Call, project: Project, name: str) -> User:
    """A user of an account of the project's domain. Raises `ParameterError`."""
    query = (
        select(User)
        .join(Account, Account.id == User.account_id)
        .where(User.username == name, User.removed.is_(None))
        .where(Account.domain_id == project.domain_id, Account.removed.is_(None))
    )
    found = call.session.scalar(query)
    if found is None:
        raise wrong_value("username", name, f"the name of a user in the domain of project {project.name}")
    return found


def find_member(
    call: Call, project: Project, account_id: str, user_id: str | None = None
) -> ProjectMember | None:
    """The membership of a whole account, or of one user of it."""
    return next(
        (
            member
            for member in members_of(call.session, project.id)
            if member.account_id == account_id and member.user_id == user_id
        ),
        None,
    )


def add_member(
    call: Call, project: Project, account: Account, user: User | None, role: MemberRole, role_id: str | None
) -> ProjectMember:
    """Let an account or a user in. Raises `ParameterError` for a member, `LimitReached`."""
    user_id = user.id if user else None
    if find_member(call, project, account.id, user_id) is not None:
        who = f"User {user.username}" if user else f"Account {account.name}"
        raise ParameterError(f"{who} is a member of project {project.name} already")
    if role is MemberRole.admin:
        _count_admin(call, project, account)
    member = ProjectMember(
        project_id=project.id, account_id=account.id, user_id=user_id, role=role, project_role_id=role_id
    )
    call.session.add(member)
    call.session.flush()
    return member


def set_role(call: Call, project: Project, member: ProjectMember, role: MemberRole) -> None:
    """Make a member an administrator, or one no more. Raises `LimitReached`."""
    if member.role == role:
        return
    account = call.session.get_one(Account, member.account_id)
    if role is MemberRole.admin:
        _count_admin(call, project, account)
        member.role = role
        return
    member.role = role
    if not _admins(call, project, account.id):
        release(call.session, account, ResourceType.project)


def check_admin_remains(call: Call, project: Project, leaving: ProjectMember) -> None:
    """Raise `ParameterError` if nobody else administers the project."""
    if leaving.role == MemberRole.admin and len(_admins(call, project)) == 1:
        raise ParameterError(
            f"It is the only administrator of project {project.name}; make another member one first"
        )


def leave_projects(call: Call, user: User) -> None:
    """End the memberships of a user. Raises `ParameterError` if a project would have no administrator."""
    for member in memberships_of(call.session, user.account_id, user.id):
        check_admin_remains(call, call.session.get_one(Project, member.project_id), member)
        remove_member(call.session, member)


def project_role(call: Call, project: Project, role_id: str | None) -> ProjectRole | None:
    """The role of a parameter, which must be the project's own. Raises `ParameterError`."""
    role = call.row_or_none(ProjectRole, role_id)
    if role is not None and role.project_id != project.id:
        raise wrong_value("projectroleid", role.id, f"the ID of a role of project {project.name}")
    return role


def _admins(call: Call, project: Project, account_id: str | None = None) -> list[ProjectMember]:
    return [
        member
        for member in members_of(call.session, project.id)
        if member.role == MemberRole.admin and account_id in (None, member.account_id)
    ]


def _count_admin(call: Call, project: Project, account: Account) -> None:
    """An account has a project once, however many of its users administer it."""
    if not _admins(call, project, account.id):
        reserve(call.session, account, ResourceType.project)
