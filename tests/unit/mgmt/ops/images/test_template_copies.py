"""One template in two zones: fetched by one storage VM from the other, and deleted zone by zone."""

from typing import Any

import pytest

from mgmt.ops import names
from mgmt.ops.images.template_copies import insert_copy
from mgmt.ops.images.template_zones import in_zone, zone_rows
from mgmt.store.tables import Template, Vm
from tests.unit.mgmt.doctor.copy_scenarios import copy_to_make, second_zone
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit


def listed(cloud: SmallCloud, zone_id: str) -> dict[str, Any]:
    storage = next(vm for vm in cloud.rows(Vm) if vm.kind == "storage" and vm.zone_id == zone_id)
    return {source.id: source for source in cloud.document(storage.id).storage.templates}


def zones_of(cloud: SmallCloud) -> dict[str, str]:
    with cloud.runtime.database.reading() as session:
        rows = zone_rows(session, session.get_one(Template, cloud.template_id))
        return {row.zone_id: row.state for row in rows}


def test_a_copy_comes_from_the_other_storage_vm_and_its_source_never_changes(cloud: SmallCloud) -> None:
    (copy_id,) = copy_to_make(cloud)["copy_ids"]
    cloud.run(names.COPY_TEMPLATE, copy_ids=[copy_id])
    copy = cloud.row(Template, copy_id)
    assert (copy.state, copy.home_id, copy.copied_from) == ("Ready", cloud.template_id, cloud.template_id)
    source = listed(cloud, copy.zone_id)[copy_id]
    assert source.url.startswith("https://172.31.241.")
    assert source.url.endswith(f"/{cloud.template_id}.qcow2")
    assert source.authorities == cloud.runtime.authority.server_ca
    assert source.checksum == "sha256:" + "0" * 64

    with cloud.runtime.database.writing() as session:
        storage = next(vm for vm in cloud.rows(Vm) if vm.kind == "storage" and vm.zone_id == copy.zone_id)
        session.get_one(Vm, storage.id).generation += 1
    cloud.clock.sleep(3600)
    cloud.run(names.REBOOT_SYSTEM_VM, vm_id=storage.id)
    assert listed(cloud, copy.zone_id)[copy_id] == source


def test_it_is_deleted_zone_by_zone_and_its_id_stays_until_the_last(cloud: SmallCloud) -> None:
    first = cloud.zone_id
    arguments = copy_to_make(cloud)
    cloud.run(names.COPY_TEMPLATE, **arguments)
    second = cloud.row(Template, arguments["copy_ids"][0]).zone_id
    assert zones_of(cloud) == {first: "Ready", second: "Ready"}

    cloud.run(names.DELETE_TEMPLATE, template_id=cloud.template_id, zone_id=first)
    assert zones_of(cloud) == {second: "Ready"}
    assert cloud.row(Template, cloud.template_id).removed is None
    assert cloud.template_id not in listed(cloud, first)
    with cloud.runtime.database.reading() as session:
        assert in_zone(session, session.get_one(Template, cloud.template_id), second) is not None

    cloud.run(names.DELETE_TEMPLATE, template_id=cloud.template_id)
    assert zones_of(cloud) == {}
    assert cloud.row(Template, cloud.template_id).removed is not None


def test_a_template_that_a_volume_still_needs_stays_in_that_zone_only(cloud: SmallCloud) -> None:
    arguments = copy_to_make(cloud)
    cloud.run(names.COPY_TEMPLATE, **arguments)
    second = cloud.row(Template, arguments["copy_ids"][0]).zone_id
    cloud.new_vm(cloud.new_network())
    with pytest.raises(Exception, match="is needed by volume"):
        cloud.run(names.DELETE_TEMPLATE, template_id=cloud.template_id, zone_id=cloud.zone_id)
    cloud.run(names.DELETE_TEMPLATE, template_id=cloud.template_id, zone_id=second)
    assert zones_of(cloud) == {cloud.zone_id: "Ready"}


def test_a_zone_without_a_storage_vm_is_no_source(cloud: SmallCloud) -> None:
    second = second_zone(cloud)
    storage = next(vm for vm in cloud.rows(Vm) if vm.kind == "storage" and vm.zone_id == cloud.zone_id)
    cloud.run(names.STOP_SYSTEM_VM, vm_id=storage.id)
    with (
        pytest.raises(Exception, match="storage VM is not running"),
        cloud.runtime.database.writing() as session,
    ):
        insert_copy(session, session.get_one(Template, cloud.template_id), second)
    assert zones_of(cloud) == {cloud.zone_id: "Ready"}
