"""Certificates in documents are renewed by themselves."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mgmt.ops import names
from mgmt.pki.authority import Authority
from mgmt.reconcile.loop import Reconciler
from mgmt.reconcile.renew import renew
from mgmt.store.tables import Vm
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit


def test_documents_with_a_certificate_that_is_due_are_sent_again(
    bare_cloud: SmallCloud, tmp_path: Path
) -> None:
    clock = bare_cloud.clock
    bare_cloud.runtime = dataclasses.replace(bare_cloud.runtime, authority=Authority(tmp_path / "pki", clock))
    clock.now = datetime.now(UTC)
    bare_cloud.run(names.ENSURE_SYSTEM_VMS, zone_id=bare_cloud.zone_id)
    machines = {vm.kind: vm for vm in bare_cloud.rows(Vm)}
    before = {kind: bare_cloud.document(vm.id) for kind, vm in machines.items()}
    clock.now += timedelta(days=50)
    assert renew(bare_cloud.runtime) == []
    clock.now += timedelta(days=15)
    due = renew(bare_cloud.runtime)
    assert "console-client" in due
    assert f"machines/{machines['storage'].id}/storage" in due
    loop = Reconciler(bare_cloud.runtime)
    assert sorted(action.kind.value for action in loop.tick()) == ["push", "push"]
    loop.wait_idle()
    loop.stop()
    storage, console = (bare_cloud.document(machines[kind].id) for kind in ("storage", "console"))
    assert storage.storage.certificate != before["storage"].storage.certificate
    assert console.console.certificate != before["console"].console.certificate
    assert console.console.client_certificate != before["console"].console.client_certificate
    left = renew(bare_cloud.runtime)
    assert left == sorted(f"machines/{vm.id}/agent" for vm in machines.values())
