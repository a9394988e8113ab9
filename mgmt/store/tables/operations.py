"""Jobs, events, alerts, tags, notes, configuration."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from mgmt.model.states import JobStatus
from mgmt.store.tables.base import Base, Identified, Owned, unique_live


class Job(Owned, Base, kw_only=True):
    """An asynchronous job; its id is the workflow's. `result` never holds a secret in clear.

    `workflow` and `arguments` are what to run: they are stored with the job, in the transaction of the
    object it is about, so that a crash before the start loses nothing. `event_type` names its events.

    `step` is what it does now, in words; on failure `error_code` and `error_text` say which step and why.
    Jobs with one `lock_key` (empty: `instance_id`) run one after the other. `handed_over` is set once it
    has begun: rows without it are the workflow engine's, or its outbox when the engine does not know them.
    `number` orders jobs about one object, because clocks go back and servers have different ones: one that
    was asked for after another was committed has a higher number.
    """

    __tablename__ = "job"
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id"))
    command: Mapped[str] = mapped_column(String(64))
    workflow: Mapped[str] = mapped_column(String(64))
    arguments: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)
    number: Mapped[int] = mapped_column(BigInteger, default=0, index=True)
    event_type: Mapped[str | None] = mapped_column(String(64), default=None)
    lock_key: Mapped[str] = mapped_column(String(64), default="")
    handed_over: Mapped[bool] = mapped_column(default=False, index=True)
    status: Mapped[int] = mapped_column(default=JobStatus.pending, index=True)
    step: Mapped[str] = mapped_column(default="")
    instance_type: Mapped[str | None] = mapped_column(default=None)
    instance_id: Mapped[str | None] = mapped_column(String(36), index=True, default=None)
    result: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)
    error_code: Mapped[int | None] = mapped_column(default=None)
    error_text: Mapped[str | None] = mapped_column(default=None)
    completed: Mapped[datetime | None] = mapped_column(default=None)


class Event(Owned, Base, kw_only=True):
    """What happened, to what, by whom."""

    __tablename__ = "event"
    type: Mapped[str] = mapped_column(String(64), index=True)
    description: Mapped[str]
    level: Mapped[str] = mapped_column(default="INFO")
    state: Mapped[str] = mapped_column(default="Completed")
    user_id: Mapped[str | None] = mapped_column(default=None)
    resource_type: Mapped[str | None] = mapped_column(default=None)
    resource_id: Mapped[str | None] = mapped_column(String(36), index=True, default=None)
    parent_id: Mapped[str | None] = mapped_column(default=None)


class Tag(Owned, Base, kw_only=True):
    """A key and value on a resource."""

    __tablename__ = "tag"
    __table_args__ = (unique_live("resource_type", "resource_id", "key"),)
    resource_type: Mapped[str] = mapped_column(String(64))
    resource_id: Mapped[str] = mapped_column(String(36), index=True)
    key: Mapped[str] = mapped_column(String(255))
    value: Mapped[str] = mapped_column(String(255))


class Setting(Base, kw_only=True):
    """A named value of the management server itself (not a tenant's); sealed where it is a secret."""

    __tablename__ = "setting"
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    value: Mapped[str] = mapped_column(repr=False)


class ConfigurationValue(Base, kw_only=True):
    """A configuration item that differs from its default (global), or from the scope above it."""

    __tablename__ = "configuration_value"
    scope: Mapped[str] = mapped_column(String(16), primary_key=True)
    scope_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    value: Mapped[str] = mapped_column(repr=False)


class Detail(Base, kw_only=True):
    """A detail of a resource; `display` False hides it from ordinary users."""

    __tablename__ = "detail"
    resource_type: Mapped[str] = mapped_column(String(64), primary_key=True)
    resource_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    value: Mapped[str]
    display: Mapped[bool] = mapped_column(default=True)


class Alert(Identified, Base, kw_only=True):
    """Something an operator should know; `type` is CloudStack's number. `resolved` once it is over."""

    __tablename__ = "alert"
    type: Mapped[int] = mapped_column(index=True)
    name: Mapped[str] = mapped_column(String(64))
    description: Mapped[str]
    zone_id: Mapped[str | None] = mapped_column(ForeignKey("zone.id"), default=None)
    subject_id: Mapped[str | None] = mapped_column(String(36), index=True, default=None)
    count: Mapped[int] = mapped_column(default=1)
    last_sent: Mapped[datetime]
    resolved: Mapped[datetime | None] = mapped_column(default=None)


class Annotation(Owned, Base, kw_only=True):
    """A note on a resource; one with `admins_only` is not shown to the resource's owner."""

    __tablename__ = "annotation"
    entity_type: Mapped[str] = mapped_column(String(64))
    entity_id: Mapped[str] = mapped_column(String(36), index=True)
    text: Mapped[str]
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id"))
    admins_only: Mapped[bool] = mapped_column(default=False)
