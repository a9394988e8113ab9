"""Domains, accounts, users, their sessions, and the roles that say which commands they may call."""

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from mgmt.model.states import AccountType, DomainState
from mgmt.store.tables.base import Base, Identified, unique_live


class Domain(Identified, Base, kw_only=True):
    """A node of the tenancy tree. `path` is `/` for ROOT and `/a/b/` below, so that a prefix is a subtree.
    `network_domain` is the DNS domain of networks that are made without one; the owner's goes before."""

    __tablename__ = "domain"
    __table_args__ = (unique_live("path"),)
    name: Mapped[str] = mapped_column(String(255))
    path: Mapped[str] = mapped_column(String(2048))
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("domain.id"), default=None)
    network_domain: Mapped[str | None] = mapped_column(default=None)
    state: Mapped[str] = mapped_column(default=DomainState.active)


class Account(Identified, Base, kw_only=True):
    """Owner of resources."""

    __tablename__ = "account"
    __table_args__ = (unique_live("domain_id", "name"),)
    name: Mapped[str] = mapped_column(String(255), index=True)
    domain_id: Mapped[str] = mapped_column(ForeignKey("domain.id"), index=True)
    type: Mapped[int] = mapped_column(default=AccountType.user)
    state: Mapped[str] = mapped_column(default="enabled")
    role_id: Mapped[str | None] = mapped_column(ForeignKey("role.id"), index=True, default=None)
    network_domain: Mapped[str | None] = mapped_column(default=None)


class User(Identified, Base, kw_only=True):
    """Somebody who logs in. `password` is an argon2 hash; `secret_key` and `totp_secret` are sealed (see
    mgmt.store.sealing). Codes are asked for once `totp_enabled`, that is after the first right one;
    `totp_mandated` says that the user must set them up. `totp_step` is the time step of the last code used,
    which is not taken again."""

    __tablename__ = "user"
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id"), index=True)
    username: Mapped[str] = mapped_column(String(255), index=True)
    password: Mapped[str] = mapped_column(repr=False)
    firstname: Mapped[str] = mapped_column(default="")
    lastname: Mapped[str] = mapped_column(default="")
    email: Mapped[str] = mapped_column(default="")
    timezone: Mapped[str] = mapped_column(default="UTC")
    state: Mapped[str] = mapped_column(default="enabled")
    api_key: Mapped[str | None] = mapped_column(String(128), unique=True, default=None)
    secret_key: Mapped[str | None] = mapped_column(default=None, repr=False)
    totp_secret: Mapped[str | None] = mapped_column(default=None, repr=False)
    totp_enabled: Mapped[bool] = mapped_column(default=False)
    totp_mandated: Mapped[bool] = mapped_column(default=False)
    totp_step: Mapped[int] = mapped_column(default=0)


class LoginSession(Base, kw_only=True):
    """A session of a browser or CLI; only hashes of its two secrets are stored."""

    __tablename__ = "login_session"
    id_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_hash: Mapped[str] = mapped_column(String(64))
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id"), index=True)
    expires: Mapped[datetime] = mapped_column(index=True)
    needs_code: Mapped[bool] = mapped_column(default=False)


class FailedLogIn(Base, kw_only=True):
    """Who failed to log in lately: `times` in seconds since 1970; see `mgmt.api.throttle`."""

    __tablename__ = "failed_log_in"
    key_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    times: Mapped[list[float]]
    failures: Mapped[int]
    last: Mapped[datetime] = mapped_column(index=True)


class Role(Identified, Base, kw_only=True):
    """Which commands an account may call: `type` is the kind of account it is for, its permissions decide.
    A role that is not enabled allows nothing."""

    __tablename__ = "role"
    __table_args__ = (unique_live("name"),)
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(default="")
    type: Mapped[str] = mapped_column(String(16))
    is_default: Mapped[bool] = mapped_column(default=False)
    is_public: Mapped[bool] = mapped_column(default=True)
    is_enabled: Mapped[bool] = mapped_column(default=True)


class RolePermission(Identified, Base, kw_only=True):
    """Allow or deny commands that match `rule` (`listHosts`, `list*`, `*`); the first by `position` wins."""

    __tablename__ = "role_permission"
    __table_args__ = (unique_live("role_id", "rule"),)
    role_id: Mapped[str] = mapped_column(ForeignKey("role.id"), index=True)
    rule: Mapped[str] = mapped_column(String(255))
    permission: Mapped[str] = mapped_column(String(5))
    description: Mapped[str] = mapped_column(default="")
    position: Mapped[int]
