"""Who may use a template or an ISO besides its owner: everybody, or single accounts and projects."""

from typing import Annotated

from sqlalchemy import delete, select

from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.images import check_public, image
from mgmt.api.params import wrong_value
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.model.errors import ParameterError, PermissionDenied
from mgmt.model.states import AccountType, ImageKind
from mgmt.ops.images.template_zones import spread
from mgmt.store.tables import Account, Project, Template, TemplatePermission

OPERATIONS = ("add", "remove", "reset")


class ImagePermissionResponse(Response, kw_only=True):
    """Who may use a template or an ISO."""

    id: str
    ispublic: bool
    domainid: str
    account: list[str]
    projectids: list[str]


class _UpdatePermissions(SyncCommand, kw_only=True, frozen=True):
    """What both commands do; `op` is about accounts and projects, the flags are set for themselves."""

    id: Annotated[str, Ref(Template)]
    op: Annotated[str | None, "add or remove the accounts and projects, or reset: nobody but the owner"] = (
        None
    )
    accounts: Annotated[list[str] | None, "names of accounts in the owner's domain"] = None
    projectids: Annotated[list[str] | None, Ref(Project, use=True), "the IDs of projects"] = None
    ispublic: bool | None = None
    isfeatured: bool | None = None
    isextractable: Annotated[
        bool | None, "true: who may use it may download it; by root administrators only"
    ] = None

    def change(self, call: Call, row: Template) -> Response:
        """Check everything, then change it."""
        if self.op is not None and self.op not in OPERATIONS:
            raise wrong_value("op", self.op, f"one of {', '.join(OPERATIONS)}")
        accounts = self._accounts(call, row)
        if accounts and self.op not in ("add", "remove"):
            raise ParameterError("Send op=add or op=remove with accounts or projectids")
        if self.isfeatured is not None and not call.caller.is_root:
            raise PermissionDenied(
                "Only root administrators feature templates and ISOs; leave isfeatured away"
            )
        if self.isextractable is not None and not call.caller.is_root:
            raise PermissionDenied(
                "Only root administrators change isextractable of what exists; leave it away"
            )
        if self.ispublic:
            check_public(call, row.account_id)
        if self.op == "reset":
            row.is_public = row.is_featured = False
        row.is_public = row.is_public if self.ispublic is None else self.ispublic
        row.is_featured = row.is_featured if self.isfeatured is None else self.isfeatured
        row.is_extractable = row.is_extractable if self.isextractable is None else self.isextractable
        spread(call.session, row)
        self._grant(call, row, accounts)
        return DONE

    def _accounts(self, call: Call, row: Template) -> set[str]:
        """Ids of the accounts, and of the projects' accounts."""
        names = set(self.accounts or [])
        query = select(Account.id, Account.name).where(
            Account.name.in_(names),
            Account.domain_id == row.domain_id,
            Account.type != AccountType.project,
            Account.removed.is_(None),
        )
        found = {name: account_id for account_id, name in call.session.execute(query)}
        if missing := sorted(names - found.keys()):
            raise wrong_value("accounts", missing[0], "the name of an account in the owner's domain")
        projects = [call.row(Project, project_id).account_id for project_id in self.projectids or []]
        return {*found.values(), *projects} - {row.account_id}

    def _grant(self, call: Call, row: Template, accounts: set[str]) -> None:
        here = TemplatePermission.template_id == row.id
        if self.op == "reset":
            call.session.execute(delete(TemplatePermission).where(here))
        elif self.op == "remove":
            call.session.execute(
                delete(TemplatePermission).where(here, TemplatePermission.account_id.in_(accounts))
            )
        else:
            there = set(call.session.scalars(select(TemplatePermission.account_id).where(here)))
            call.session.add_all(
                TemplatePermission(template_id=row.id, account_id=account_id)
                for account_id in sorted(accounts - there)
            )


class UpdateTemplatePermissions(_UpdatePermissions, kw_only=True, frozen=True):
    """Updates who may use a template. VMs that exist keep their disks."""

    spec = Spec(access=EVERYONE, event="TEMPLATE.UPDATE")

    def run(self, call: Call) -> Response:
        """For templates only."""
        return self.change(call, image(call, ImageKind.template, self.id))


class UpdateIsoPermissions(_UpdatePermissions, kw_only=True, frozen=True):
    """Updates who may use an ISO. It stays in drives that it is in."""

    spec = Spec(access=EVERYONE, event="ISO.UPDATE")

    def run(self, call: Call) -> Response:
        """For ISOs only."""
        return self.change(call, image(call, ImageKind.iso, self.id))


class ListTemplatePermissions(SyncCommand, kw_only=True, frozen=True):
    """Lists the accounts and projects that may use a template besides its owner."""

    spec = Spec(answer=ImagePermissionResponse, key="templatepermission", access=EVERYONE)

    id: Annotated[str, Ref(Template)]

    def run(self, call: Call) -> Response:
        """One object, as clients expect."""
        return _permissions(call, image(call, ImageKind.template, self.id))


class ListIsoPermissions(SyncCommand, kw_only=True, frozen=True):
    """Lists the accounts and projects that may use an ISO besides its owner."""

    spec = Spec(answer=ImagePermissionResponse, key="templatepermission", access=EVERYONE)

    id: Annotated[str, Ref(Template)]

    def run(self, call: Call) -> Response:
        """Called templatepermission too, as clients expect."""
        return _permissions(call, image(call, ImageKind.iso, self.id))


def _permissions(call: Call, row: Template) -> ImagePermissionResponse:
    query = (
        select(Account.name, Project.id)
        .join(TemplatePermission, TemplatePermission.account_id == Account.id)
        .outerjoin(Project, Project.account_id == Account.id)
        .where(TemplatePermission.template_id == row.id, Account.removed.is_(None))
        .order_by(Account.name)
    )
    found = call.session.execute(query).all()
    return ImagePermissionResponse(
        id=row.id,
        ispublic=row.is_public,
        domainid=row.domain_id,
        account=[name for name, project_id in found if project_id is None],
        projectids=[project_id for _name, project_id in found if project_id is not None],
    )
