"""Certificates of agents are renewed over the running connection; none ends before somebody was told.

What an agent shows is read from a handshake, so it is true of agents of every age. Whose certificate has less
than a third of its life left makes a new key, and we sign. What cannot be renewed that way is in `unrenewed`:
a system VM is started anew before its end (`decide.LEAST_DAYS`), anything else needs a person.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import select

from mgmt.agents.certificates import Certified, Shown
from mgmt.agents.errors import AgentError, AgentNotFound
from mgmt.agents.host import HostCertificates
from mgmt.model.errors import CloudError
from mgmt.model.states import VmKind, VmState
from mgmt.ops.endpoints import HOST_COLUMNS, driver_of, host_endpoint, machine_agent
from mgmt.ops.machines.system_vms import SYSTEM_ACCOUNT
from mgmt.ops.runtime import Runtime
from mgmt.store.events import record_event
from mgmt.store.tables import Account, Host, User, Vm
from systemvm.spec.certificate import SignedCertificate

log = logging.getLogger(__name__)

#: Share of its life that a certificate has left when it is renewed, and when a person is told.
RENEW_SHARE, WARN_SHARE = 1 / 3, 1 / 10
#: Pauses until an agent that is well, or one that did not answer or could not be renewed, is looked at again.
PAUSE, PAUSE_AFTER_FAILURE = timedelta(hours=1), timedelta(minutes=10)
#: Hosts in one look, and as many system VMs; the rest have their turn in the next, half a minute later.
MOST = 1000
#: How often the same is said again.
REPEAT = timedelta(days=1)
#: How OpenSSL says that a server's certificate has (X509_verify_cert_error_string).
EXPIRED = "certificate has expired"
EVENT = "CA.CERTIFICATE.PROVISION"


@dataclass(frozen=True)
class _Subject:
    """An agent: `sign` answers its request, `remedy` is what a person can do if all fails.

    `relay` tells what the relay beside it shows.
    """

    id: str
    words: str
    agent: Certified
    sign: Callable[[str], str]
    remedy: str
    resource: str
    owner: tuple[str, str] | None = None
    relay: Callable[[], Shown] | None = None


@dataclass(frozen=True)
class Unrenewed:
    """How many days a certificate had left when it could not be renewed, and when that was."""

    days_left: int
    seen: datetime


class _NotRenewed(Exception):
    """Why, in words."""


class Certificates:
    """Looks at each agent about once an hour; `unrenewed` by id: those that could not be renewed."""

    def __init__(self, runtime: Runtime) -> None:
        self.unrenewed: dict[str, Unrenewed] = {}
        self._runtime = runtime
        self._next: dict[str, datetime] = {}
        self._said: dict[tuple[str, str], datetime] = {}

    def look(self) -> None:
        """Look at whoever's turn it is, and renew what is due."""
        now = self._runtime.now()
        machines, hosts = self._machines(), self._hosts()
        self._forget({item.id for item in (*machines, *hosts)})
        # Nobody's turn is further away than a pause, whatever the clock was when it was noted.
        waiting = {subject for subject, due in self._next.items() if now < due <= now + PAUSE}
        turn = self._agents_of([vm.id for vm in islice(_due(machines, waiting), MOST)])
        turn += self._subjects(islice(_due(hosts, waiting), MOST))
        with ThreadPoolExecutor(max_workers=4, thread_name_prefix="certificates") as pool:
            for _ in pool.map(self._look_at, turn):
                pass
        self._look_at_ourselves(now)

    def _look_at(self, subject: _Subject) -> None:
        now = self._runtime.now()
        self._next[subject.id] = now + PAUSE_AFTER_FAILURE
        try:
            shown = subject.agent.certificate()
        except (AgentError, CloudError) as error:
            self._note_silence(subject, str(error))
            return
        if shown.share_left(now) < RENEW_SHARE:
            try:
                shown = self._renew(subject, shown)
            except _NotRenewed as reason:
                self._note_failure(subject, shown, str(reason))
                return
        self.unrenewed.pop(subject.id, None)
        self._next[subject.id] = now + PAUSE
        if subject.relay is not None:
            self._look_at_relay(subject, subject.relay)

    def _renew(self, subject: _Subject, old: Shown) -> Shown:
        try:
            request = subject.agent.request_certificate()
            certificate = subject.sign(request.csr)
            authority = self._runtime.authority.server_ca
            taken = subject.agent.put_certificate(
                SignedCertificate(certificate=certificate, authority=authority)
            )
            shown = subject.agent.certificate()
        except AgentNotFound:
            raise _NotRenewed("its agent is too old to be renewed over the connection") from None
        except (AgentError, CloudError, ValueError) as error:
            raise _NotRenewed(str(error)) from error
        if shown.serial != taken.serial:
            raise _NotRenewed(f"it took certificate {taken.serial} and still shows {shown.serial}")
        self._say(
            subject,
            f"renewed the certificate of {subject.words} over the connection, because the old one would have "
            f"ended on {old.ends:%Y-%m-%d}; this one ends on {shown.ends:%Y-%m-%d}",
        )
        return shown

    def _note_silence(self, subject: _Subject, reason: str) -> None:
        """Other silence than this is watched elsewhere; what was known of the certificate still holds."""
        if EXPIRED in reason:
            words = f"the certificate of {subject.words} has expired, so it cannot be reached"
            self._say(subject, f"{words}: {subject.remedy}", level="WARN")

    def _note_failure(self, subject: _Subject, shown: Shown, reason: str) -> None:
        now = self._runtime.now()
        self.unrenewed[subject.id] = Unrenewed(shown.left(now).days, now)
        words = (
            f"the certificate of {subject.words} ends on {shown.ends:%Y-%m-%d %H:%M} UTC and was not renewed"
        )
        if shown.share_left(now) < WARN_SHARE:
            self._say(subject, f"{words}: {reason}; {subject.remedy}", level="WARN")
        elif self._is_news(subject.id, "due"):
            log.warning("%s: %s", words, reason)

    def _look_at_relay(self, host: _Subject, relay: Callable[[], Shown]) -> None:
        """The relay reads the agent's certificate again by itself; if it does not, a person is told."""
        try:
            shown = relay()
        except (AgentError, CloudError) as error:
            if EXPIRED in str(error):
                words = f"the relay of {host.words} shows an expired certificate: restart pileus-relay there"
                self._tell(f"relay {host.id}", words, "WARN", "Host", host.id, None)
            return
        if shown.share_left(self._runtime.now()) < WARN_SHARE:
            words = (
                f"the relay of {host.words} shows a certificate that ends on {shown.ends:%Y-%m-%d}: "
                "restart pileus-relay there"
            )
            self._tell(f"relay {host.id}", words, "WARN", "Host", host.id, None)

    def _look_at_ourselves(self, now: datetime) -> None:
        """Our own certificate is renewed by every use of it; the roots are not, and all ends with them."""
        authority = self._runtime.authority
        authority.management()
        for path, (began, ends) in authority.roots().items():
            if Shown(serial="", began=began, ends=ends).share_left(now) < WARN_SHARE:
                words = (
                    f"the root {path} ends on {ends:%Y-%m-%d}, and every certificate under it: plan an "
                    f"interruption, move {path.parent} away, run `pileus up` and restart the system VMs"
                )
                self._tell(str(path), words, "WARN", None, None, None)

    def _machines(self) -> Sequence[Any]:
        query = select(Vm.id).where(Vm.kind != VmKind.user, Vm.removed.is_(None), Vm.state == VmState.running)
        with self._runtime.database.reading() as session:
            return session.execute(query.order_by(Vm.id)).all()

    def _agents_of(self, ids: Sequence[str]) -> list[_Subject]:
        """Of system VMs, in one statement: the session has the hosts then. One on none is started anew."""
        runtime, found = self._runtime, []
        query = select(Vm, Host).join(Host, Host.id == Vm.host_id).where(Vm.id.in_(ids)).order_by(Vm.id)
        with runtime.database.reading() as session:
            for vm, _host_row in session.execute(query).all():
                try:
                    agent = machine_agent(runtime, session, vm)
                except CloudError:
                    continue  # a driver that this server does not have
                found.append(_machine(runtime, vm, agent))
        return found

    def _hosts(self) -> Sequence[Any]:
        with self._runtime.database.reading() as session:
            return session.execute(select(*HOST_COLUMNS).where(Host.removed.is_(None))).all()

    def _subjects(self, hosts: Iterable[Any]) -> Iterator[_Subject]:
        for host in hosts:
            try:
                agent = driver_of(self._runtime, host).certificates(host_endpoint(host))
            except CloudError:
                continue  # a driver that this server does not have; its state says so
            yield _host(self._runtime, host, agent)

    def _say(self, subject: _Subject, words: str, level: str = "INFO") -> None:
        self._tell(subject.id, words, level, subject.resource, subject.id, subject.owner)

    def _tell(
        self,
        about: str,
        words: str,
        level: str,
        resource: str | None,
        resource_id: str | None,
        owner: tuple[str, str] | None,
    ) -> None:
        """One line in the log and one event; a warning about the same only once a day."""
        if level == "WARN" and not self._is_news(about, level):
            return
        log.log(logging.WARNING if level == "WARN" else logging.INFO, "%s", words)
        with self._runtime.database.writing() as session:
            system = session.scalars(
                select(User)
                .join(Account, Account.id == User.account_id)
                .where(Account.name == SYSTEM_ACCOUNT)
            ).one()
            account = session.get_one(Account, system.account_id)
            account_id, domain_id = owner or (account.id, account.domain_id)
            record_event(
                session,
                EVENT,
                words,
                user_id=system.id,
                account_id=account_id,
                domain_id=domain_id,
                level=level,
                resource_type=resource,
                resource_id=resource_id,
            )

    def _is_news(self, about: str, what: str) -> bool:
        now = self._runtime.now()
        if now - self._said.get((about, what), datetime.min.replace(tzinfo=now.tzinfo)) < REPEAT:
            return False
        self._said[about, what] = now
        return True

    def _forget(self, there: set[str]) -> None:
        for gone in self._next.keys() - there:
            del self._next[gone]
            self.unrenewed.pop(gone, None)


def _due(rows: Iterable[Any], waiting: set[str]) -> Iterator[Any]:
    return (row for row in rows if row.id not in waiting)


def _machine(runtime: Runtime, vm: Vm, agent: Certified) -> _Subject:
    return _Subject(
        id=vm.id,
        words=vm.name,
        agent=agent,
        sign=lambda csr: runtime.authority.renew_machine_agent(csr, vm.id, vm.linklocal_address or ""),
        remedy=f"reboot {vm.name}, which brings it a new one",
        resource="VirtualMachine",
        owner=(vm.account_id, vm.domain_id),
    )


def _host(runtime: Runtime, host: Any, agent: HostCertificates) -> _Subject:
    return _Subject(
        id=host.id,
        words=f"host {host.name}",
        agent=agent,
        sign=lambda csr: runtime.authority.renew_host_agent(csr, host.id, host.address),
        remedy="run `pileus up` on it, which brings it a new one",
        resource="Host",
        relay=agent.relay_certificate,
    )
