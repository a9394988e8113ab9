"""Domains, accounts, users and their sessions."""

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from mgmt.model.states import AccountType
from mgmt.store.tables.base import Base, Identified, unique_live


class Domain(Identified, Base, kw_only=True):
    """A node of the tenancy tree. `path` is `/` for ROOT and `/a/b/` below, so that a prefix is a subtree."""

    __tablename__ = "domain"
    __table_args__ = (unique_live("path"),)
    name: Mapped[str] = mapped_column(String(255))
    path: Mapped[str] = mapped_column(String(2048))
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("domain.id"), default=None)
    state: Mapped[str] = mapped_column(default="Active")


class Account(Identified, Base, kw_only=True):
    """Owner of resources."""

    __tablename__ = "account"
    __table_args__ = (unique_live("domain_id", "name"),)
    name: Mapped[str] = mapped_column(String(255), index=True)
    domain_id: Mapped[str] = mapped_column(ForeignKey("domain.id"), index=True)
    type: Mapped[int] = mapped_column(default=AccountType.user)
    state: Mapped[str] = mapped_column(default="enabled")


class User(Identified, Base, kw_only=True):
    """Somebody who logs in. `password` is an argon2 hash; `secret_key` is sealed (see mgmt.store.sealing)."""

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


class LoginSession(Base, kw_only=True):
    """A session of a browser or CLI; only hashes of its two secrets are stored."""

    __tablename__ = "login_session"
    id_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_hash: Mapped[str] = mapped_column(String(64))
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id"), index=True)
    expires: Mapped[datetime] = mapped_column(index=True)
