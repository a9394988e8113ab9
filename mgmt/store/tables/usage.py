"""What accounts used and for how long: spans as they happen, records for each finished day."""

from datetime import datetime

from sqlalchemy import BigInteger, Float, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from mgmt.store.tables.base import Base, Owned


class UsageSpan(Owned, Base, kw_only=True):
    """From when to when a resource was used (`ended` is empty while it is). `type` is CloudStack's number.

    `cpus`, `cpu_speed` and `memory` are those of a VM whose offering leaves them to the user.
    """

    __tablename__ = "usage_span"
    __table_args__ = (Index("ix_usage_span_open", "resource_id", "type", "ended"),)
    type: Mapped[int] = mapped_column(index=True)
    zone_id: Mapped[str] = mapped_column(ForeignKey("zone.id"))
    resource_id: Mapped[str] = mapped_column(String(36))
    name: Mapped[str] = mapped_column(default="")
    offering_id: Mapped[str | None] = mapped_column(String(36), default=None)
    template_id: Mapped[str | None] = mapped_column(String(36), default=None)
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    cpus: Mapped[int | None] = mapped_column(default=None)
    cpu_speed: Mapped[int | None] = mapped_column(default=None)
    memory: Mapped[int | None] = mapped_column(default=None)
    started: Mapped[datetime] = mapped_column(index=True)
    ended: Mapped[datetime | None] = mapped_column(default=None, index=True)


class NetworkBytes(Owned, Base, kw_only=True):
    """Bytes of one public address of a network on one day (UTC, as 2026-01-31)."""

    __tablename__ = "network_bytes"
    __table_args__ = (Index(None, "day", "network_id", "address", unique=True),)
    network_id: Mapped[str] = mapped_column(ForeignKey("network.id"))
    zone_id: Mapped[str] = mapped_column(ForeignKey("zone.id"))
    address: Mapped[str] = mapped_column(String(45))
    address_id: Mapped[str | None] = mapped_column(ForeignKey("public_address.id"), default=None)
    day: Mapped[str] = mapped_column(String(10))
    sent: Mapped[int] = mapped_column(BigInteger, default=0)
    received: Mapped[int] = mapped_column(BigInteger, default=0)


class NetworkCounter(Base, kw_only=True):
    """What a router had counted at a public address when it was read last, since it `started`."""

    __tablename__ = "network_counter"
    router_id: Mapped[str] = mapped_column(ForeignKey("vm.id"), primary_key=True)
    address: Mapped[str] = mapped_column(String(45), primary_key=True)
    started: Mapped[datetime | None]
    sent: Mapped[int] = mapped_column(BigInteger)
    received: Mapped[int] = mapped_column(BigInteger)


class UsageRecord(Owned, Base, kw_only=True):
    """Use of one resource within one period; `hours`, or bytes for network use, in `raw`."""

    __tablename__ = "usage_record"
    __table_args__ = (Index("ix_usage_record_period", "account_id", "start", "end"),)
    type: Mapped[int] = mapped_column(index=True)
    zone_id: Mapped[str | None] = mapped_column(ForeignKey("zone.id"), default=None)
    resource_id: Mapped[str | None] = mapped_column(String(36), index=True, default=None)
    name: Mapped[str] = mapped_column(default="")
    description: Mapped[str] = mapped_column(default="")
    offering_id: Mapped[str | None] = mapped_column(String(36), default=None)
    template_id: Mapped[str | None] = mapped_column(String(36), default=None)
    network_id: Mapped[str | None] = mapped_column(String(36), default=None)
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    cpus: Mapped[int | None] = mapped_column(default=None)
    cpu_speed: Mapped[int | None] = mapped_column(default=None)
    memory: Mapped[int | None] = mapped_column(default=None)
    raw: Mapped[float] = mapped_column(Float)
    start: Mapped[datetime] = mapped_column(index=True)
    end: Mapped[datetime]
