"""Volumes that come and go through the storage VM, with the loop that looks after them, on the simulator."""

from datetime import timedelta
from typing import Any

import pytest

from mgmt.alloc.counted import recount
from mgmt.alloc.limits import counts_of
from mgmt.doctor.examine import examine
from mgmt.model.resources import ResourceType
from mgmt.ops import names
from mgmt.ops.storage.exports import expire_exports
from mgmt.reconcile.watch import watch_templates
from mgmt.store.tables import Vm, Volume, VolumeExport, VolumeUpload
from systemvm.spec.appliances import TemplateState, TemplateStatus
from tests.unit.mgmt.doctor.transfer_scenarios import brought_volume, exported_volume
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit


def storage(cloud: SmallCloud) -> Any:
    return next(vm for vm in cloud.rows(Vm) if vm.kind == "storage")


def listed(cloud: SmallCloud) -> dict[str, Any]:
    return {source.id: source for source in cloud.document(storage(cloud).id).storage.templates}


def report(cloud: SmallCloud, volume_id: str, state: TemplateState, **more: Any) -> Volume:
    """The storage VM says something of a volume, and the loop hears it."""
    machine = cloud.simulator.machines[storage(cloud).id]
    machine.templates[volume_id] = TemplateStatus(id=volume_id, state=state, **more)
    watch_templates(cloud.runtime)
    row: Volume = cloud.row(Volume, volume_id)
    return row


def taken(cloud: SmallCloud, kind: ResourceType) -> int:
    """How much of something is counted, which must be what there is."""
    with cloud.runtime.database.reading() as session:
        counted = counts_of(session, [cloud.account_id])[cloud.account_id].get(kind, 0)
        assert counted == recount(session, [cloud.account_id])[cloud.account_id][kind]
    return counted


def test_a_volume_by_url_goes_to_the_storage_vm_and_on_to_a_host(cloud: SmallCloud) -> None:
    arguments = brought_volume(cloud, state="UploadOp", url="http://example.org/v.raw")
    volume_id = arguments["volume_id"]
    source = listed(cloud)[volume_id]
    assert (source.url, source.format) == ("http://example.org/v.raw", "raw")
    assert report(cloud, volume_id, TemplateState.downloading, percent=40).state == "UploadOp"
    row = report(cloud, volume_id, TemplateState.ready, size=900, virtual_size=1025, sha256="a" * 64)
    assert (row.state, row.size) == ("Uploaded", 1536)
    assert taken(cloud, ResourceType.primary_storage) >= 1536
    before = taken(cloud, ResourceType.secondary_storage)

    cloud.run(names.ATTACH_VOLUME, **arguments)
    assert cloud.row(Volume, volume_id).state == "Ready"
    assert taken(cloud, ResourceType.secondary_storage) == before - 900
    with cloud.runtime.database.reading() as session:
        assert session.get(VolumeUpload, volume_id) is None
    cloud.run(names.DETACH_VOLUME, volume_id=volume_id)
    cloud.run(names.ATTACH_VOLUME, **arguments)


def test_a_volume_that_is_sent_is_awaited_and_judged(cloud: SmallCloud) -> None:
    volume_id = brought_volume(cloud, state="NotUploaded")["volume_id"]
    assert listed(cloud)[volume_id].url == ""
    assert report(cloud, volume_id, TemplateState.waiting).state == "NotUploaded"
    assert report(cloud, volume_id, TemplateState.checking).state == "UploadInProgress"
    row = report(cloud, volume_id, TemplateState.failed, error="it names a backing file")
    assert row.state == "UploadError"
    cloud.run(names.DELETE_VOLUME, volume_id=volume_id)
    assert cloud.row(Volume, volume_id).removed is not None


def test_a_copy_to_download_is_kept_until_it_ends_or_its_volume_goes(cloud: SmallCloud) -> None:
    arguments = exported_volume(cloud)
    before = taken(cloud, ResourceType.secondary_storage)
    cloud.run(names.EXTRACT_VOLUME, **arguments)
    export = cloud.row(VolumeExport, arguments["export_id"])
    assert export.state == "Ready"
    assert arguments["export_id"] in listed(cloud)
    assert taken(cloud, ResourceType.secondary_storage) == before + export.physical_size > before
    for hours, is_there in ((3, True), (5, False)):
        with cloud.runtime.database.writing() as session:
            expire_exports(session, cloud.runtime.now() + timedelta(hours=hours))
        assert (cloud.row(VolumeExport, export.id).removed is None) == is_there
    assert taken(cloud, ResourceType.secondary_storage) == before

    second = exported_volume(cloud, arguments["volume_id"])
    cloud.run(names.EXTRACT_VOLUME, **second)
    cloud.run(names.DELETE_VOLUME, volume_id=second["volume_id"])
    assert cloud.row(VolumeExport, second["export_id"]).removed is not None
    assert taken(cloud, ResourceType.secondary_storage) == before
    assert second["export_id"] not in listed(cloud)
    # The other rows of the test came uncounted.
    assert {finding.kind for finding in examine(cloud.runtime)} <= {"account"}
