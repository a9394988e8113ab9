"""Members of projects: accounts with all their users, or single users."""

from typing import Annotated, Any

from sqlalchemy import ColumnElement, Select, select

from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.lists import Equals, ListCommand
from mgmt.api.params import Unsupported, wrong_value
from mgmt.api.project_invitations import invite
from mgmt.api.project_members import (
    account_named,
    add_member,
    check_admin_remains,
    find_member,
    project_role,
    read_role,
    user_named,
)
from mgmt.api.registry import AsyncCommand, Spec
from mgmt.api.responses.projects import PROJECT_ACCOUNT
from mgmt.model.configuration.projects import INVITATION_REQUIRED
from mgmt.model.errors import ParameterError
from mgmt.ops.tenancy.projects import remove_member
from mgmt.store.configured import configured
from mgmt.store.tables import Account, Job, Project, ProjectMember, ProjectRole, User

KIND = "Project"
NO_MAIL = "This cloud sends no mail: send {} instead of email"


class ListProjectAccounts(ListCommand, kw_only=True, frozen=True):
    """Lists the members of a project."""

    spec = Spec(answer=PROJECT_ACCOUNT, access=EVERYONE)

    projectid: Annotated[str, Ref(Project, use=True), Equals(ProjectMember.project_id)]
    account: Annotated[str | None, "list only the members of this account"] = None
    userid: Annotated[
        str | None, Ref(User, use=True), "list only this user", Equals(ProjectMember.user_id)
    ] = None
    role: Annotated[str | None, "Admin or Regular", Equals(ProjectMember.role)] = None
    projectroleid: Annotated[
        str | None,
        Ref(ProjectRole, use=True),
        "list only members with this project role",
        Equals(ProjectMember.project_role_id),
    ] = None

    def ownership(self, call: Call) -> ColumnElement[bool] | None:
        """The project was authorized."""
        return None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Members by the name of their account, or a part of it."""
        accounts = select(Account.id)
        if self.account is not None:
            query = query.where(ProjectMember.account_id.in_(accounts.where(Account.name == self.account)))
        if self.keyword:
            found = Account.name.icontains(self.keyword, autoescape=True)
            query = query.where(ProjectMember.account_id.in_(accounts.where(found)))
        return query


class AddAccountToProject(AsyncCommand, kw_only=True, frozen=True):
    """Makes an account of the project's domain a member, or invites it where the cloud asks for that."""

    spec = Spec(access=EVERYONE, event="PROJECT.ACCOUNT.ADD")

    projectid: Annotated[str, Ref(Project)]
    account: Annotated[str | None, "the name of the account"] = None
    email: Annotated[str | None, Unsupported("this server sends no mail, name the account instead")] = None
    projectroleid: Annotated[str | None, Ref(ProjectRole, use=True), "its project role"] = None
    roletype: Annotated[str | None, "Admin or Regular"] = None

    def run(self, call: Call) -> Job:
        """Check and insert."""
        project = call.row(Project, self.projectid)
        if self.account is None:
            raise ParameterError(NO_MAIL.format("account"))
        account = account_named(call, project, self.account)
        role, special = read_role(self.roletype), project_role(call, project, self.projectroleid)
        let_in = invite if configured(call.session, INVITATION_REQUIRED) else add_member
        let_in(call, project, account, None, role, special.id if special else None)
        return call.finish(kind=KIND, about=project)


class AddUserToProject(AsyncCommand, kw_only=True, frozen=True):
    """Makes a user of the project's domain a member, or invites the user where the cloud asks for that."""

    spec = Spec(access=EVERYONE, event="PROJECT.USER.ADD")

    projectid: Annotated[str, Ref(Project)]
    username: Annotated[str | None, "the name of the user"] = None
    email: Annotated[str | None, Unsupported("name the user")] = None
    projectroleid: Annotated[str | None, Ref(ProjectRole, use=True), "its project role"] = None
    roletype: Annotated[str | None, "Admin or Regular"] = None

    def run(self, call: Call) -> Job:
        """Check and insert."""
        project = call.row(Project, self.projectid)
        if self.username is None:
            raise ParameterError(NO_MAIL.format("username"))
        user = user_named(call, project, self.username)
        account = call.session.get_one(Account, user.account_id)
        role, special = read_role(self.roletype), project_role(call, project, self.projectroleid)
        let_in = invite if configured(call.session, INVITATION_REQUIRED) else add_member
        let_in(call, project, account, user, role, special.id if special else None)
        return call.finish(kind=KIND, about=project)


class DeleteAccountFromProject(AsyncCommand, kw_only=True, frozen=True):
    """Removes an account from a project; what it made there is the project's and stays."""

    spec = Spec(access=EVERYONE, event="PROJECT.ACCOUNT.REMOVE")

    projectid: Annotated[str, Ref(Project)]
    account: Annotated[str, "the name of the account"]

    def run(self, call: Call) -> Job:
        """Refuse for the only administrator."""
        project = call.row(Project, self.projectid)
        account = account_named(call, project, self.account)
        member = find_member(call, project, account.id)
        if member is None:
            raise wrong_value("account", account.name, f"the name of a member of project {project.name}")
        check_admin_remains(call, project, member)
        remove_member(call.session, member)
        return call.finish(kind=KIND, about=project)


class DeleteUserFromProject(AsyncCommand, kw_only=True, frozen=True):
    """Removes a user from a project; the user's account may still be in it."""

    spec = Spec(access=EVERYONE, event="PROJECT.USER.REMOVE")

    projectid: Annotated[str, Ref(Project)]
    userid: Annotated[str, Ref(User, use=True), "the ID of the user"]

    def run(self, call: Call) -> Job:
        """Refuse for the only administrator."""
        project, user = call.row(Project, self.projectid), call.row(User, self.userid)
        member = find_member(call, project, user.account_id, user.id)
        if member is None:
            raise wrong_value("userid", user.id, f"the ID of a user in project {project.name}")
        check_admin_remains(call, project, member)
        remove_member(call.session, member)
        return call.finish(kind=KIND, about=project)
