"""The loop on a simulated cloud: what died comes back, what changed is told, what is over goes."""

import dataclasses
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from mgmt.agents.errors import AgentUnreachable
from mgmt.model.configuration import ALERT_PURGE_DAYS, EVENT_PURGE_DAYS
from mgmt.model.errors import ParameterError
from mgmt.model.notices import AlertType
from mgmt.model.states import TemplateState, VmState
from mgmt.ops import names
from mgmt.ops.images.templates import touch_storage, why_stalled
from mgmt.ops.machines.documents import push_router, touch_router
from mgmt.reconcile.alerts import update_alerts
from mgmt.reconcile.loop import FIRST_PAUSE, Reconciler
from mgmt.reconcile.sweep import Sweeper
from mgmt.store.configured import EVERYWHERE, set_value
from mgmt.store.tables import Alert, Event, Host, LoginSession, StoragePool, Template, Vm
from systemvm.spec.appliances import TemplateState as Fetched
from systemvm.spec.appliances import TemplateStatus
from tests.unit.mgmt.small_cloud import SmallCloud
from tests.unit.mgmt.tenant import make_tenant

pytestmark = pytest.mark.unit


@pytest.fixture
def loop(bare_cloud: SmallCloud) -> Iterator[Reconciler]:
    clock = bare_cloud.clock
    loop = Reconciler(bare_cloud.runtime, monotonic=lambda: clock.now.timestamp())
    yield loop
    loop.stop()


def turn(loop: Reconciler, times: int = 1) -> list[str]:
    kinds = [action.kind.value for _ in range(times) for action in _turn(loop)]
    return kinds


def _turn(loop: Reconciler) -> list[object]:
    actions: list[object] = list(loop.tick())
    loop.wait_idle()
    return actions


def kinds(cloud: SmallCloud) -> dict[str, str]:
    return {vm.kind: vm.state for vm in cloud.rows(Vm)}


def test_a_zone_gets_its_system_vms(bare_cloud: SmallCloud, loop: Reconciler) -> None:
    assert turn(loop) == ["make_system_vms"]
    assert sorted(turn(loop)) == ["restart", "restart"]
    assert kinds(bare_cloud) == {"storage": "Running", "console": "Running"}
    assert turn(loop, 3) == []
    assert [vm.reason for vm in bare_cloud.rows(Vm)] == ["", ""]


def test_a_dead_router_comes_back_with_its_rules_and_the_reason(
    bare_cloud: SmallCloud, loop: Reconciler
) -> None:
    turn(loop, 2)
    network = bare_cloud.new_network()
    vm = bare_cloud.new_vm(network)
    bare_cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    router = bare_cloud.router(network)
    before = bare_cloud.document(router.id)
    bare_cloud.simulator.kill(router.id, "killed by signal 9")
    assert turn(loop) == ["restart"]
    again = bare_cloud.row(Vm, router.id)
    assert (again.state, again.healthy) == (VmState.running, True)
    assert again.reason == f"started again, because {router.name} crashed (killed by signal 9)"
    assert bare_cloud.document(router.id).nftables == before.nftables
    assert bare_cloud.document(router.id).interfaces == before.interfaces
    with bare_cloud.runtime.database.reading() as session:
        event = session.scalars(select(Event).where(Event.resource_id == router.id)).one()
    assert event.description == (
        f"starting {router.name} again, because {router.name} crashed (killed by signal 9)"
    )


def test_a_router_that_dies_before_it_has_its_document_is_started_without_delay(
    bare_cloud: SmallCloud, loop: Reconciler
) -> None:
    """Whoever asks a dead machine for long keeps the loop from starting it."""
    turn(loop, 2)
    network = bare_cloud.new_network()
    bare_cloud.run(names.DEPLOY_VM, vm_id=bare_cloud.new_vm(network).id)
    router = bare_cloud.router(network)
    with bare_cloud.runtime.database.writing() as session:
        wanted = touch_router(session, network.id)
    bare_cloud.simulator.faults.fail("machine.put_state", AgentUnreachable(router.name, "no answer"))
    begun = bare_cloud.clock.now
    assert turn(loop) == ["push"]
    assert bare_cloud.row(Vm, router.id).applied < wanted
    bare_cloud.simulator.kill(router.id)
    assert turn(loop) == ["restart"]
    assert (bare_cloud.clock.now - begun).total_seconds() < FIRST_PAUSE
    after = bare_cloud.row(Vm, router.id)
    assert (after.state, after.applied >= wanted) == (VmState.running, True)


def test_what_fails_is_tried_again_later_and_later(bare_cloud: SmallCloud, loop: Reconciler) -> None:
    turn(loop, 2)
    storage = next(vm for vm in bare_cloud.rows(Vm) if vm.kind == "storage")
    bare_cloud.simulator.kill(storage.id)
    silent = AgentUnreachable("agent", "no answer")
    bare_cloud.simulator.faults.fail("put_domain", silent, times=3)
    assert turn(loop) == ["restart"]
    assert bare_cloud.row(Vm, storage.id).state != VmState.running
    assert "no answer" in bare_cloud.row(Vm, storage.id).reason
    assert turn(loop) == []
    bare_cloud.clock.sleep(FIRST_PAUSE)
    assert turn(loop) == ["restart"]
    bare_cloud.clock.sleep(FIRST_PAUSE)
    assert turn(loop) == []
    bare_cloud.clock.sleep(FIRST_PAUSE)
    turn(loop)
    bare_cloud.clock.sleep(FIRST_PAUSE * 4)
    turn(loop)
    assert bare_cloud.row(Vm, storage.id).state == VmState.running


def test_a_silent_agent_is_restarted(bare_cloud: SmallCloud, loop: Reconciler) -> None:
    turn(loop, 2)
    console = next(vm for vm in bare_cloud.rows(Vm) if vm.kind == "console")
    bare_cloud.simulator.machines.pop(console.id)
    assert "restart" in turn(loop, 40)
    assert bare_cloud.row(Vm, console.id).healthy
    assert "did not answer" in bare_cloud.row(Vm, console.id).reason


def test_a_guest_that_powers_off_is_stopped_with_the_hosts_words(
    bare_cloud: SmallCloud, loop: Reconciler
) -> None:
    turn(loop, 2)
    vm = bare_cloud.new_vm(bare_cloud.new_network())
    bare_cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    bare_cloud.simulator.kill(vm.id, "panicked")
    assert turn(loop) == ["mark_stopped"]
    row = bare_cloud.row(Vm, vm.id)
    assert (row.state, row.reason) == (VmState.stopped, "VM web crashed (panicked)")
    bare_cloud.run(names.START_VM, vm_id=vm.id)
    assert bare_cloud.row(Vm, vm.id).state == VmState.running


def test_after_a_reboot_of_the_host_all_that_ran_comes_back_by_itself(
    bare_cloud: SmallCloud, loop: Reconciler
) -> None:
    """Nobody types anything, and nobody's VM starts that was off."""
    turn(loop, 2)
    network = bare_cloud.new_network()
    guest, off, left = (bare_cloud.new_vm(network, name) for name in ("web", "off", "left"))
    for vm in guest, off, left:
        bare_cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    bare_cloud.run(names.STOP_VM, vm_id=off.id)
    bare_cloud.simulator.kill(left.id, "panicked")
    assert turn(loop) == ["mark_stopped"]
    rules = bare_cloud.document(bare_cloud.router(network).id).nftables
    host = bare_cloud.simulator.hosts["172.31.240.1"]
    host.is_down = True
    assert turn(loop, 3) == []
    bare_cloud.simulator.reboot(host.address)
    host.is_down = False
    assert sorted(turn(loop, 8)) == ["restart", "restart", "restart", "start_again"]
    rows = {vm.name: vm for vm in bare_cloud.rows(Vm) if vm.kind == "user"}
    assert {name: vm.state for name, vm in rows.items()} == {
        "web": VmState.running, "off": VmState.stopped, "left": VmState.stopped
    }  # fmt: skip
    assert rows["web"].reason == "started again, because VM web ran when its host rebooted"
    events = [row.description for row in bare_cloud.rows(Event) if row.type == "VM.START"]
    assert events == ["starting VM web again, because VM web ran when its host rebooted"]
    assert all(vm.healthy and vm.state == VmState.running for vm in bare_cloud.rows(Vm) if vm.kind != "user")
    assert bare_cloud.document(bare_cloud.router(network).id).nftables == rules


def test_a_guest_that_cannot_start_after_a_reboot_is_tried_again(
    bare_cloud: SmallCloud, loop: Reconciler
) -> None:
    turn(loop, 2)
    guest = bare_cloud.new_vm(bare_cloud.new_network())
    bare_cloud.run(names.DEPLOY_VM, vm_id=guest.id)
    bare_cloud.simulator.reboot("172.31.240.1")
    host = bare_cloud.row(Host, bare_cloud.host_id)
    with bare_cloud.runtime.database.writing() as session:
        session.get_one(Host, host.id).resource_state = "Disabled"
    assert "start_again" in turn(loop, 2)
    row = bare_cloud.row(Vm, guest.id)
    assert (row.state, row.desired_power) == (VmState.stopped, "running")
    assert host.name in row.reason
    with bare_cloud.runtime.database.writing() as session:
        session.get_one(Host, host.id).resource_state = "Enabled"
    bare_cloud.clock.now += timedelta(seconds=2 * FIRST_PAUSE)
    assert "start_again" in turn(loop, 4)
    assert bare_cloud.row(Vm, guest.id).state == VmState.running
    assert turn(loop, 4) == []


def test_a_guest_that_is_tried_again_can_be_stopped_for_good(
    bare_cloud: SmallCloud, loop: Reconciler, tmp_path: Path
) -> None:
    turn(loop, 2)
    tenant = make_tenant(bare_cloud, tmp_path)
    guest = bare_cloud.row(Vm, tenant.deploy(tenant.network())["id"])
    bare_cloud.simulator.reboot("172.31.240.1")
    with bare_cloud.runtime.database.writing() as session:
        session.get_one(Host, bare_cloud.host_id).resource_state = "Disabled"
    assert "start_again" in turn(loop, 4)
    row = bare_cloud.row(Vm, guest.id)
    assert (row.state, row.desired_power) == (VmState.stopped, "running")
    tenant.call("stopVirtualMachine", id=guest.id)
    with bare_cloud.runtime.database.writing() as session:
        session.get_one(Host, bare_cloud.host_id).resource_state = "Enabled"
    bare_cloud.clock.now += timedelta(hours=1)
    assert "start_again" not in turn(loop, 6)
    row = bare_cloud.row(Vm, guest.id)
    assert (row.state, row.desired_power) == (VmState.stopped, "stopped")
    with pytest.raises(ParameterError, match="only a Running one can be stopped"):
        tenant.call("stopVirtualMachine", id=guest.id)


def test_a_job_about_a_guest_and_the_loop_take_turns(bare_cloud: SmallCloud, loop: Reconciler) -> None:
    turn(loop, 2)
    guest = bare_cloud.new_vm(bare_cloud.new_network())
    bare_cloud.run(names.DEPLOY_VM, vm_id=guest.id)
    held, done = threading.Event(), threading.Event()

    def job() -> None:
        with bare_cloud.runtime.locks.hold(f"job:{guest.id}"):
            held.set()
            done.wait(60)

    thread = threading.Thread(target=job)
    thread.start()
    assert held.wait(60)
    bare_cloud.simulator.reboot("172.31.240.1")
    turn(loop, 3)
    assert bare_cloud.simulator.hosts["172.31.240.1"].status[guest.id].state == "stopped"
    done.set()
    thread.join()
    turn(loop, 2)
    assert bare_cloud.simulator.hosts["172.31.240.1"].status[guest.id].state == "running"


def test_documents_that_are_behind_are_pushed(bare_cloud: SmallCloud, loop: Reconciler) -> None:
    turn(loop, 2)
    network = bare_cloud.new_network()
    bare_cloud.run(names.DEPLOY_VM, vm_id=bare_cloud.new_vm(network).id)
    with bare_cloud.runtime.database.writing() as session:
        wanted = touch_router(session, network.id)
    assert turn(loop) == ["push"]
    assert bare_cloud.document(bare_cloud.router(network).id).generation == wanted


def test_templates_follow_the_storage_vm(bare_cloud: SmallCloud, loop: Reconciler) -> None:
    turn(loop, 2)
    storage = next(vm for vm in bare_cloud.rows(Vm) if vm.kind == "storage")
    machine = bare_cloud.simulator.machines[storage.id]
    machine.templates[bare_cloud.template_id] = TemplateStatus(
        id=bare_cloud.template_id, state=Fetched.downloading, percent=42
    )
    with bare_cloud.runtime.database.writing() as session:
        template = session.get_one(Template, bare_cloud.template_id)
        template.state = TemplateState.downloading
        touch_storage(session, bare_cloud.zone_id)
    assert turn(loop) == ["push"]
    document = bare_cloud.document(storage.id).storage
    assert document.allowed_networks == ("172.31.240.1/32", "172.31.241.0/24")
    turn(loop)
    row = bare_cloud.row(Template, template.id)
    assert (row.state, row.percent) == (TemplateState.downloading, 42)
    machine.templates[template.id] = TemplateStatus(
        id=template.id, state=Fetched.failed, error="HTTP 404 at the third redirect"
    )
    turn(loop)
    row = bare_cloud.row(Template, template.id)
    assert (row.state, row.reason) == (TemplateState.failed, "HTTP 404 at the third redirect")
    turn(loop)
    assert bare_cloud.document(storage.id).storage.allowed_networks == ("172.31.241.0/24",)


def test_a_template_without_room_waits_with_a_word_and_an_alert(
    bare_cloud: SmallCloud, loop: Reconciler
) -> None:
    turn(loop, 2)
    storage = next(vm for vm in bare_cloud.rows(Vm) if vm.kind == "storage")
    machine = bare_cloud.simulator.machines[storage.id]
    machine.is_full = True
    machine.templates.clear()
    with bare_cloud.runtime.database.writing() as session:
        session.get_one(Template, bare_cloud.template_id).state = TemplateState.downloading
        touch_storage(session, bare_cloud.zone_id)
    turn(loop, 2)
    update_alerts(bare_cloud.runtime, {})
    row = bare_cloud.row(Template, bare_cloud.template_id)
    assert row.state == TemplateState.downloading
    assert why_stalled(row).startswith("the data disk has no room: it needs")
    (alert,) = (each for each in bare_cloud.rows(Alert) if each.type == AlertType.secondary_storage)
    assert alert.description == f"template {row.name} waits, and is tried again: {row.reason}"
    machine.is_full = False
    turn(loop)
    update_alerts(bare_cloud.runtime, {})
    row = bare_cloud.row(Template, bare_cloud.template_id)
    assert (row.state, row.reason, why_stalled(row)) == (TemplateState.ready, "", "")
    assert bare_cloud.row(Alert, alert.id).resolved is not None


def test_a_host_that_is_away_is_in_alert_and_its_vms_are_left_alone(
    bare_cloud: SmallCloud, loop: Reconciler
) -> None:
    turn(loop, 2)
    host = bare_cloud.simulator.hosts["172.31.240.1"]
    host.is_down = True
    assert turn(loop, 3) == []
    assert bare_cloud.row(Host, bare_cloud.host_id).state == "Alert"
    assert kinds(bare_cloud) == {"storage": "Running", "console": "Running"}
    host.is_down = False
    host.memory_mib, host.pools = 4096, {"primary": (500, 400)}
    turn(loop, 6)
    row = bare_cloud.row(Host, bare_cloud.host_id)
    assert (row.state, row.memory_mib) == ("Up", 4096)
    assert bare_cloud.row(StoragePool, bare_cloud.pool_id).used == 100


def test_old_rows_go(bare_cloud: SmallCloud, loop: Reconciler) -> None:
    turn(loop, 2)
    vm = bare_cloud.new_vm(bare_cloud.new_network())
    bare_cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    bare_cloud.run(names.DESTROY_VM, vm_id=vm.id)
    bare_cloud.add(
        LoginSession(id_hash="x", key_hash="y", user_id=bare_cloud.user_id, expires=bare_cloud.clock.now)
    )
    with bare_cloud.runtime.database.writing() as session:
        session.get_one(Vm, vm.id).created = bare_cloud.clock.now
    bare_cloud.clock.now += timedelta(hours=23)
    turn(loop, 6)
    assert bare_cloud.row(Vm, vm.id).removed is None
    with bare_cloud.runtime.database.reading() as session:
        assert session.scalars(select(LoginSession)).all() == []
    bare_cloud.clock.now += timedelta(hours=2)
    turn(loop, 6)
    assert bare_cloud.row(Vm, vm.id).removed is not None


def test_a_rule_waits_for_its_dead_router_to_come_back(bare_cloud: SmallCloud, loop: Reconciler) -> None:
    turn(loop, 2)
    network = bare_cloud.new_network()
    bare_cloud.run(names.DEPLOY_VM, vm_id=bare_cloud.new_vm(network).id)
    router = bare_cloud.router(network)
    bare_cloud.simulator.kill(router.id)

    def sleep(seconds: float) -> None:
        loop.tick()
        threading.Event().wait(0.05)

    slow = dataclasses.replace(bare_cloud.runtime, sleep=sleep)
    with slow.database.writing() as session:
        wanted = touch_router(session, network.id)
    push_router(slow, network.id, wanted)
    loop.wait_idle()
    assert bare_cloud.row(Vm, router.id).state == VmState.running
    assert bare_cloud.document(router.id).generation >= wanted


def test_events_and_alerts_go_after_their_days(bare_cloud: SmallCloud) -> None:
    mine = {"account_id": bare_cloud.account_id, "domain_id": bare_cloud.domain_id}
    moment = bare_cloud.clock.now
    for days in (1, 14, 16):
        created = moment - timedelta(days=days)
        bare_cloud.add(Event(type=f"DAYS.{days}", description="x", created=created, **mine))
        alert = Alert(type=7, name="x", description=f"{days}", created=created, last_sent=created)
        alert.resolved = created
        bare_cloud.add(alert)
    bare_cloud.add(Alert(type=7, name="x", description="lasts", last_sent=moment - timedelta(days=99)))
    sweeper = Sweeper(bare_cloud.runtime, bare_cloud.clock.seconds)
    sweeper.sweep()
    assert sorted(row.type for row in bare_cloud.rows(Event)) == ["DAYS.1", "DAYS.14"]
    assert len(bare_cloud.rows(Alert)) == 4, "0 is for ever"
    with bare_cloud.runtime.database.writing() as session:
        set_value(session, EVENT_PURGE_DAYS, EVERYWHERE, 2)
        set_value(session, ALERT_PURGE_DAYS, EVERYWHERE, 15)
    sweeper.sweep()
    assert len(bare_cloud.rows(Event)) == 2, "it looks once an hour"
    bare_cloud.clock.sleep(3600)
    sweeper.sweep()
    assert [row.type for row in bare_cloud.rows(Event)] == ["DAYS.1"]
    assert sorted(row.description for row in bare_cloud.rows(Alert)) == ["1", "14", "lasts"]
