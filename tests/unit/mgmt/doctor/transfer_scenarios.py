"""Volumes that users bring and take away, for the sweep of crash points."""

from mgmt.model.states import VolumeState
from mgmt.ops import names
from mgmt.ops.images.templates import push_storage_if_running, touch_storage
from mgmt.store.tables import Volume, VolumeExport, VolumeUpload
from systemvm.spec.appliances import TemplateState, TemplateStatus
from tests.unit.mgmt.doctor.scenarios import Arguments, Scenario, refused, town, volume_to_detach
from tests.unit.mgmt.small_cloud import SmallCloud


def brought_volume(cloud: SmallCloud, *, state: str = "Uploaded", url: str = "") -> Arguments:
    """A volume that the storage VM has, or is to have, and a VM to attach it to."""
    volume = cloud.add(
        Volume(
            account_id=cloud.account_id,
            domain_id=cloud.domain_id,
            zone_id=cloud.zone_id,
            name="brought",
            size=1 << 20 if state == VolumeState.uploaded else 0,
            state=state,
        )
    )
    size = 1 << 19 if state == VolumeState.uploaded else 0
    cloud.add(VolumeUpload(volume_id=volume.id, url=url, format="RAW", size=size, sha256="b" * 64))
    with cloud.runtime.database.writing() as session:
        touch_storage(session, cloud.zone_id)
    push_storage_if_running(cloud.runtime, cloud.zone_id)
    if state == VolumeState.uploaded:
        machines = cloud.simulator.machines.values()
        machine = next(each for each in machines if each.state and each.state.storage)
        machine.templates[volume.id] = TemplateStatus(id=volume.id, state=TemplateState.ready, size=size)
    return {"volume_id": volume.id, "vm_id": town(cloud).vm.id}


def uploaded_volume_to_delete(cloud: SmallCloud) -> Arguments:
    return {"volume_id": brought_volume(cloud)["volume_id"]}


def exported_volume(cloud: SmallCloud, volume_id: str = "") -> Arguments:
    """A volume with a file and no VM, and the row of a copy that is to be made."""
    if not volume_id:
        volume_id = volume_to_detach(cloud)["volume_id"]
        cloud.run(names.DETACH_VOLUME, volume_id=volume_id)
    export = VolumeExport(
        account_id=cloud.account_id,
        domain_id=cloud.domain_id,
        zone_id=cloud.zone_id,
        volume_id=volume_id,
        expires=cloud.runtime.now(),
    )
    return {"volume_id": volume_id, "export_id": cloud.add(export).id}


TRANSFERS = (
    Scenario(names.ATTACH_VOLUME, brought_volume, "attach uploaded volume"),
    Scenario(names.DELETE_VOLUME, uploaded_volume_to_delete, "delete uploaded volume", starts_clean=False),
    Scenario(names.EXTRACT_VOLUME, exported_volume, "extract volume", starts_clean=False),
    Scenario(
        names.EXTRACT_VOLUME,
        refused("put_copy", exported_volume),
        "extract volume, refused",
        succeeds=False,
        starts_clean=False,
    ),
)
