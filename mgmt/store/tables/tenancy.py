"""Projects with their members, and how much an account, a project or a domain may have."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from mgmt.store.tables.base import Base, Identified, unique_live


class Project(Identified, Base, kw_only=True):
    """Resources that several accounts share. They belong to the project's own account, `account_id`."""

    __tablename__ = "project"
    __table_args__ = (unique_live("domain_id", "name"),)
    name: Mapped[str] = mapped_column(String(255), index=True)
    display_text: Mapped[str] = mapped_column(default="")
    domain_id: Mapped[str] = mapped_column(ForeignKey("domain.id"), index=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id"), unique=True)
    state: Mapped[str] = mapped_column(String(16), default="Active")


class ProjectRole(Identified, Base, kw_only=True):
    """What a member may call within a project."""

    __tablename__ = "project_role"
    __table_args__ = (unique_live("project_id", "name"),)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(default="")


class ProjectRolePermission(Identified, Base, kw_only=True):
    """Allow or deny commands that match `rule`; the first match by `position` wins."""

    __tablename__ = "project_role_permission"
    __table_args__ = (unique_live("project_role_id", "rule"),)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"), index=True)
    project_role_id: Mapped[str] = mapped_column(ForeignKey("project_role.id"), index=True)
    rule: Mapped[str] = mapped_column(String(255))
    permission: Mapped[str] = mapped_column(String(5))
    description: Mapped[str] = mapped_column(default="")
    position: Mapped[int]


class ProjectMember(Identified, Base, kw_only=True):
    """An account (all its users) or one user of it in a project; `role` is `Admin` or `Regular`."""

    __tablename__ = "project_member"
    __table_args__ = (Index("ix_project_member_who", "account_id", "project_id"),)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"), index=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id"))
    user_id: Mapped[str | None] = mapped_column(ForeignKey("user.id"), index=True, default=None)
    role: Mapped[str] = mapped_column(String(8), default="Regular")
    project_role_id: Mapped[str | None] = mapped_column(ForeignKey("project_role.id"), default=None)


class ProjectInvitation(Identified, Base, kw_only=True):
    """An account or an e-mail address is asked into a project; of the token only `token_hash` is kept."""

    __tablename__ = "project_invitation"
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"), index=True)
    domain_id: Mapped[str] = mapped_column(ForeignKey("domain.id"), index=True)
    account_id: Mapped[str | None] = mapped_column(ForeignKey("account.id"), index=True, default=None)
    user_id: Mapped[str | None] = mapped_column(ForeignKey("user.id"), default=None)
    email: Mapped[str] = mapped_column(default="")
    role: Mapped[str] = mapped_column(String(8), default="Regular")
    project_role_id: Mapped[str | None] = mapped_column(ForeignKey("project_role.id"), default=None)
    token_hash: Mapped[str] = mapped_column(String(64), default="", repr=False)
    state: Mapped[str] = mapped_column(String(16), default="Pending")
    expires: Mapped[datetime]


class ResourceLimit(Base, kw_only=True):
    """How much an owner may have; -1 is no limit. Without a row, the configuration's default holds.

    `owner_id` is an account's (a project's account too) or a domain's id; `type` is CloudStack's number.
    """

    __tablename__ = "resource_limit"
    owner_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    type: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    most: Mapped[int] = mapped_column(BigInteger)


class ResourceCount(Base, kw_only=True):
    """How much an owner has, changed in the transaction that adds or removes the resource."""

    __tablename__ = "resource_count"
    owner_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    type: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    used: Mapped[int] = mapped_column(BigInteger, default=0)
