"""Agents' certificates are renewed in place; what cannot be is told, and started anew before the end."""

import dataclasses
import logging
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from mgmt.agents.certificates import Shown
from mgmt.agents.errors import AgentNotFound, AgentRefused, AgentUnreachable, of_status
from mgmt.api.testing import counted_statements
from mgmt.drivers.simulated_identity import SimulatedIdentity
from mgmt.model.states import VmState
from mgmt.ops import names
from mgmt.ops.endpoints import host_endpoint
from mgmt.pki.authority import Authority
from mgmt.reconcile.certificates import EVENT, Certificates
from mgmt.reconcile.loop import Reconciler
from mgmt.store.tables import Event, Host, Vm
from tests.unit.mgmt.small_cloud import SmallCloud, add_host

pytestmark = pytest.mark.unit
TOO_OLD = AgentNotFound("agent of x", "The method is not allowed for the requested URL.")
CALL = "machine.request_certificate"


@pytest.fixture
def cloud(bare_cloud: SmallCloud, tmp_path: Path) -> SmallCloud:
    """Two system VMs and a host, all with certificates of this moment."""
    authority = Authority(tmp_path / "authority", bare_cloud.clock)
    bare_cloud.runtime = dataclasses.replace(bare_cloud.runtime, authority=authority)
    bare_cloud.run(names.ENSURE_SYSTEM_VMS, zone_id=bare_cloud.zone_id)
    certify_hosts(bare_cloud, authority)
    return bare_cloud


def certify_hosts(cloud: SmallCloud, authority: Authority) -> None:
    for host in cloud.rows(Host):
        own = authority.host_agent(host.id, host.address)
        identity = SimulatedIdentity(f"host {host.name}", own.certificate, own.key)
        cloud.simulator.host(host_endpoint(host)).identity = identity


def shown(cloud: SmallCloud) -> dict[str, Shown]:
    """What each agent shows, by the words for it."""
    names = {vm.id: vm.name for vm in cloud.rows(Vm)}
    machines = {names[key]: machine.identity.shown() for key, machine in cloud.simulator.machines.items()}
    (host,) = (host.identity for host in cloud.simulator.hosts.values())
    assert host is not None
    return {**machines, "host host1": host.shown()}


def told(cloud: SmallCloud, level: str = "INFO") -> list[str]:
    """Descriptions of the events, sorted."""
    with cloud.runtime.database.reading() as session:
        query = select(Event.description).where(Event.type == EVENT, Event.level == level)
        return sorted(session.scalars(query))


def warned(cloud: SmallCloud) -> list[str]:
    return told(cloud, "WARN")


def test_everything_is_renewed_after_two_thirds_of_its_life(cloud: SmallCloud) -> None:
    certificates, before = Certificates(cloud.runtime), shown(cloud)
    cloud.clock.now += timedelta(days=55)
    certificates.look()
    assert shown(cloud) == before
    cloud.clock.now += timedelta(days=10)
    certificates.look()
    after = shown(cloud)
    assert {name: after[name].ends - before[name].ends for name in before} == dict.fromkeys(
        before, timedelta(days=65)
    )
    assert [words.partition(", because")[0] for words in told(cloud)] == [
        f"renewed the certificate of {name} over the connection" for name in sorted(before)
    ]
    assert certificates.unrenewed == {}
    # And so on, without a restart, long after what the config disks have has ended.
    for _ in range(4):
        cloud.clock.now += timedelta(days=65)
        certificates.look()
    assert min(each.left(cloud.clock.now).days for each in shown(cloud).values()) == 90
    loop = Reconciler(cloud.runtime)
    assert {action.kind.value for action in loop.tick()} <= {"push"}
    loop.wait_idle()
    loop.stop()
    assert warned(cloud) == []


def test_an_agent_is_looked_at_once_an_hour(cloud: SmallCloud) -> None:
    certificates = Certificates(cloud.runtime)
    for _ in range(3):
        certificates.look()
    assert cloud.simulator.faults.count("machine.certificate") == 2
    cloud.clock.now += timedelta(hours=1)
    certificates.look()
    assert cloud.simulator.faults.count("machine.certificate") == 4


@pytest.mark.parametrize("call", ["request_certificate", CALL], ids=["hosts", "system VMs"])
def test_many_agents_take_turns(cloud: SmallCloud, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.setattr("mgmt.reconcile.certificates.MOST", 1)
    add_host(cloud)
    certify_hosts(cloud, cloud.runtime.authority)
    certificates = Certificates(cloud.runtime)
    cloud.clock.now += timedelta(days=80)
    counts = []
    for _ in range(3):
        certificates.look()
        counts.append(cloud.simulator.faults.count(call))
    assert counts == [1, 2, 2], "one in each look, none twice within the hour"


def test_a_look_costs_as_many_statements_for_two_machines_as_for_one(cloud: SmallCloud) -> None:
    looked = []
    for machines in (2, 1):
        with counted_statements(cloud.runtime.database) as statements:
            Certificates(cloud.runtime).look()
        looked.append((cloud.simulator.faults.count("machine.certificate"), len(statements)))
        with cloud.runtime.database.writing() as session:
            session.get_one(Vm, cloud.rows(Vm)[machines - 1].id).state = VmState.stopped
    (first, of_two), (both, of_one) = looked
    assert (first, both - first) == (2, 1)
    assert of_two == of_one


def test_an_agent_that_is_too_old_is_started_anew_ten_days_before_the_end(
    cloud: SmallCloud, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.simulator.faults.fail(CALL, TOO_OLD, times=1000)
    loop, before = Reconciler(cloud.runtime), shown(cloud)
    machines = {vm.name for vm in cloud.rows(Vm)}
    with caplog.at_level(logging.WARNING):
        for days in (59, *(1,) * 21):
            cloud.clock.now += timedelta(days=days)
            assert set(_round(loop)) <= {"push"}
    said = [record.message for record in caplog.records if "was not renewed" in record.message]
    assert len(said) == 2 * 21  # once a day for each, since the 60th
    assert all("is too old to be renewed over the connection" in words for words in said)
    cloud.clock.now += timedelta(days=1)
    assert [kind for kind in _round(loop) + _round(loop) if kind != "push"] == ["restart"] * 2
    loop.stop()
    after = shown(cloud)
    assert {
        name for name in machines if after[name].ends - before[name].ends == timedelta(days=81)
    } == machines
    assert all("ends in 9 days and could not be renewed in place" in vm.reason for vm in cloud.rows(Vm))


def _round(loop: Reconciler) -> list[str]:
    """As many ticks as it takes to look at everything, certificates first; the kinds of what was started."""
    started = []
    for _ in range(6):
        started += loop.tick()
        loop.wait_idle()
    return [action.kind.value for action in started]


def test_what_could_not_be_renewed_is_told_daily_with_what_to_do(cloud: SmallCloud) -> None:
    faults = cloud.simulator.faults
    faults.fail("request_certificate", AgentUnreachable("host host1", "no answer"), times=1000)
    faults.fail("machine.put_certificate", AgentRefused("agent of x", "its names are y"), times=1000)
    certificates, ends = Certificates(cloud.runtime), shown(cloud)["host host1"].ends
    cloud.clock.now += timedelta(days=70)
    certificates.look()
    assert warned(cloud) == []
    assert {each.days_left for each in certificates.unrenewed.values()} == {20}
    cloud.clock.now += timedelta(days=12)
    for _ in range(3):
        certificates.look()
        cloud.clock.now += timedelta(hours=1)
    words = warned(cloud)
    assert len(words) == 3
    assert (
        f"the certificate of host host1 ends on {ends:%Y-%m-%d %H:%M} UTC and was not renewed: host host1: "
        "no answer; run `pileus up` on it, which brings it a new one"
    ) in words
    assert sum("its names are y; reboot " in each for each in words) == 2
    cloud.clock.now += timedelta(days=1)
    certificates.look()
    assert len(warned(cloud)) == 6


def test_an_expired_one_is_told(cloud: SmallCloud) -> None:
    """As after months without a management server."""
    words = "no answer to GET /: [SSL: CERTIFICATE_VERIFY_FAILED] certificate has expired (_ssl.c:1000)"
    cloud.simulator.faults.fail("machine.certificate", AgentUnreachable("agent of x", words), times=2)
    Certificates(cloud.runtime).look()
    assert warned(cloud) == sorted(
        f"the certificate of {vm.name} has expired, so it cannot be reached: reboot {vm.name}, "
        "which brings it a new one"
        for vm in cloud.rows(Vm)
    )


def test_an_agent_of_before_the_routes_is_too_old() -> None:
    """A system VM's answers 405, because it reads `/v1/<role>/<path>`; a host's 404."""
    assert {of_status(status) for status in (404, 405)} == {AgentNotFound}


def test_a_relay_that_does_not_follow_is_told(cloud: SmallCloud) -> None:
    certificates = Certificates(cloud.runtime)
    (host,) = cloud.simulator.hosts.values()
    host.relay = shown(cloud)["host host1"]
    cloud.clock.now += timedelta(days=65)
    certificates.look()
    assert warned(cloud) == []
    cloud.clock.now += timedelta(days=20)
    certificates.look()
    (words,) = warned(cloud)
    assert words.startswith("the relay of host host1 shows a certificate that ends on ")
    assert words.endswith("restart pileus-relay there")


def test_our_own_certificate_is_renewed_and_the_roots_end_is_told(cloud: SmallCloud) -> None:
    authority, certificates = cloud.runtime.authority, Certificates(cloud.runtime)
    first = authority.management()
    cloud.clock.now += timedelta(days=65)
    certificates.look()
    assert authority.management().expires() - first.expires() == timedelta(days=65)
    assert warned(cloud) == []
    for host in cloud.simulator.hosts.values():
        host.is_down = True
    cloud.clock.now += timedelta(days=3650 - 65 - 300)
    certificates.look()
    roots = warned(cloud)
    assert [words.partition(" ends on ")[0].rpartition("/")[2] for words in roots] == [
        "root-client.pem",
        "root-server.pem",
    ]
    assert all("run `pileus up` and restart the system VMs" in words for words in roots)
