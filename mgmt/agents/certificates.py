"""The certificate of an agent: what it shows, and how it is renewed over the running connection."""

from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from ssl import cert_time_to_seconds
from typing import Protocol

import httpx
from msgspec import Struct

from mgmt.agents.wire import Wire
from systemvm.spec.certificate import CertificateRequest, CertificateTaken, SignedCertificate


class Shown(Struct, frozen=True, kw_only=True):
    """The certificate that a server shows in a handshake; `serial` in hexadecimal, times in UTC."""

    serial: str
    began: datetime
    ends: datetime

    def left(self, now: datetime) -> timedelta:
        """How long it is still valid."""
        return self.ends - now

    def share_left(self, now: datetime) -> float:
        """How much of its life it still has: 1 at its beginning, 0 or less at its end."""
        return self.left(now) / (self.ends - self.began)


class Certified(Protocol):
    """An agent whose certificate can be renewed. Every method raises `AgentError`."""

    def certificate(self) -> Shown:
        """What it shows now, read from a handshake: agents of every age answer."""

    def request_certificate(self) -> CertificateRequest:
        """Let it make a key. AgentNotFound when the agent is too old for that."""

    def put_certificate(self, signed: SignedCertificate) -> CertificateTaken:
        """Answer its request; the next connection shows the new certificate."""


class CertifiedCalls(ABC):
    """`Certified` over HTTPS."""

    @abstractmethod
    def _client(self) -> httpx.Client:
        """A new connection."""

    @abstractmethod
    def _wire(self, client: httpx.Client) -> Wire:
        """Requests over it."""

    def certificate(self) -> Shown:
        """See Certified."""
        with self._client() as client:
            return shown_to(self._wire(client))

    def request_certificate(self) -> CertificateRequest:
        """See Certified."""
        with self._client() as client:
            return self._wire(client).ask("POST", "/v1/certificate/request", CertificateRequest)

    def put_certificate(self, signed: SignedCertificate) -> CertificateTaken:
        """See Certified."""
        with self._client() as client:
            return self._wire(client).ask("PUT", "/v1/certificate", CertificateTaken, body=signed)


def shown_to(wire: Wire) -> Shown:
    """What the server at the other end shows."""
    facts = wire.peer_certificate()
    return Shown(
        serial=facts["serialNumber"], began=_moment(facts["notBefore"]), ends=_moment(facts["notAfter"])
    )


def _moment(text: str) -> datetime:
    """As ssl.getpeercert() writes it: `Jan  5 09:34:43 2026 GMT`."""
    return datetime.fromtimestamp(cert_time_to_seconds(text), UTC)
