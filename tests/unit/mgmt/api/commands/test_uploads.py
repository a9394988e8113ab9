"""What users bring: permissions to send, rows that wait, and who may have them."""

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mgmt.model.errors import LimitReached, ParameterError, Unavailable
from mgmt.ops.storage.uploads import LARGEST, abandon_unsent
from mgmt.store import tables
from systemvm.engine.ticket import verify
from systemvm.spec.ticket import TicketPurpose
from tests.unit.mgmt.api.commands.storage_vm import PUBLIC, give_storage_vm
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit
SENDING = {
    "getUploadParamsForVolume": {"format": "QCOW2"},
    "getUploadParamsForTemplate": {"format": "raw"},
    "getUploadParamsForIso": {},
}
COMMANDS = pytest.mark.parametrize("command", list(SENDING))


def permission(world: World, command: str, **more: Any) -> dict[str, Any]:
    sent = {"name": "mine", "zoneid": world.ids["zone"], **SENDING[command], **more}
    params: dict[str, Any] = world.call(command, **sent)["getuploadparams"]
    return params


@COMMANDS
def test_a_permission_is_a_ticket_in_two_halves(world: World, tmp_path: Path, command: str) -> None:
    runtime = give_storage_vm(world, tmp_path)
    params = permission(world, command)
    assert set(params) == {"id", "postURL", "metadata", "signature", "expires"}
    assert params["postURL"] == f"https://{PUBLIC}:443/upload/{params['id']}"
    token, key = f"{params['metadata']}.{params['signature']}", runtime.authority.ticket_public_key
    ticket = verify(token, key, TicketPurpose.upload, time.time(), subject=params["id"])
    assert ticket.max_bytes == LARGEST
    assert datetime.fromisoformat(params["expires"]).timestamp() == ticket.expires
    assert 590 < ticket.expires - time.time() <= 600


@COMMANDS
def test_nothing_is_left_of_what_is_refused(world: World, tmp_path: Path, command: str) -> None:
    with pytest.raises(Unavailable, match="storage VM is not running"):
        permission(world, command)
    give_storage_vm(world, tmp_path)
    for more, words in (
        ({"format": "VMDK"}, "Invalid value VMDK for parameter format"),
        ({"checksum": "xyz"}, "Invalid value xyz for parameter checksum"),
    ):
        with pytest.raises(ParameterError, match=words):
            permission(world, command, **more)
    kind = {"getUploadParamsForVolume": "volume"}.get(command, "template")
    world.call("updateResourceLimit", "admin", resourcetype={"volume": 2, "template": 4}[kind], max=0,
               account="alice", domainid=world.callers["alice"].domain.id)  # fmt: skip
    with pytest.raises(LimitReached):
        permission(world, command)
    with world.context.database.reading() as session:
        assert session.query(tables.VolumeUpload).count() == 0
        assert session.query(tables.Template).filter_by(url="").count() == 0


def test_a_volume_by_url_is_a_row_that_says_how_far_it_is(world: World) -> None:
    sent = {"name": "v", "zoneid": world.ids["zone"], "format": "QCOW2", "url": "http://example.org/v.qcow2"}
    for more, words in (
        ({"url": "file:///etc/passwd"}, "an http or https URL"),
        ({"url": "http://u:p@example.org/v"}, "without user and password"),
        ({"format": "ISO"}, "QCOW2 or RAW"),
    ):
        with pytest.raises(ParameterError, match=words):
            world.call("uploadVolume", **{**sent, **more})
    job = world.call("uploadVolume", **sent)["jobid"]
    volume = world.call("queryAsyncJobResult", jobid=job)["jobresult"]["volume"]
    shown = (volume["state"], volume["status"], volume["size"], volume["isextractable"])
    assert shown == ("UploadOp", "0% Downloaded", 0, True)
    with pytest.raises(ParameterError, match="in state UploadOp and cannot be attached"):
        world.call("attachVolume", id=volume["id"], virtualmachineid=world.vm(world.network()).id)
    with world.context.database.writing() as session:
        session.get_one(tables.VolumeUpload, volume["id"]).reason = "the data disk has no room"
    (waiting,) = world.call("listVolumes", id=volume["id"])["volume"]
    assert waiting["status"] == "Upload waits and is tried again: the data disk has no room"
    with pytest.raises(ParameterError, match="nothing to download yet"):
        world.call("extractVolume", id=volume["id"], zoneid=world.ids["zone"], mode="HTTP_DOWNLOAD")
    with world.context.database.writing() as session:
        session.get_one(tables.Volume, volume["id"]).state = "UploadError"
        session.get_one(tables.VolumeUpload, volume["id"]).reason = "it is a web page"
    (volume,) = world.call("listVolumes", id=volume["id"])["volume"]
    assert volume["status"] == "Upload failed: it is a web page"


def test_what_is_never_sent_is_given_up_in_the_end(world: World, tmp_path: Path) -> None:
    give_storage_vm(world, tmp_path)
    volume, template = (permission(world, name)["id"] for name in list(SENDING)[:2])
    for reason, words in (
        ("checking", "Not uploaded yet"),
        ("the data disk has no room", "Download waits and is tried again: the data disk has no room"),
    ):
        with world.context.database.writing() as session:
            session.get_one(tables.Template, template).reason = reason
        (shown,) = world.call("listTemplates", id=template, templatefilter="self")["template"]
        assert shown["status"] == words
    for hours, states in ((23, ("NotUploaded", "Downloading")), (25, ("UploadAbandoned", "Failed"))):
        with world.context.database.writing() as session:
            abandon_unsent(session, world.context.clock() + timedelta(hours=hours))
        rows = (world.get(tables.Volume, volume), world.get(tables.Template, template))
        assert tuple(row.state for row in rows) == states
    (shown,) = world.call("listTemplates", id=template, templatefilter="self")["template"]
    assert shown["status"] == "Download failed: nothing was sent in time"


def test_a_volume_that_was_uploaded_is_downloaded_from_where_it_is(world: World, tmp_path: Path) -> None:
    give_storage_vm(world, tmp_path)
    volume = permission(world, "getUploadParamsForVolume")["id"]
    with world.context.database.writing() as session:
        session.get_one(tables.Volume, volume).state = "Uploaded"
    sent = {"id": volume, "zoneid": world.ids["zone"], "mode": "HTTP_DOWNLOAD"}
    job = world.call("extractVolume", **sent)["jobid"]
    got = world.call("queryAsyncJobResult", jobid=job)["jobresult"]["volume"]
    assert (got["state"], got["storagetype"]) == ("DOWNLOAD_URL_CREATED", "volume")
    assert got["url"].endswith(f"/{volume}.qcow2")


def test_a_volume_of_a_template_leaves_as_that_may_and_not_while_it_is_used(
    world: World, tmp_path: Path
) -> None:
    give_storage_vm(world, tmp_path)
    vm = world.vm(world.network())
    alice = world.callers["alice"]
    row = tables.Volume(
        account_id=alice.account.id, domain_id=alice.domain.id, zone_id=world.ids["zone"], name="root",
        size=1 << 30, vm_id=vm.id, device=0, template_id=world.ids["template"], state="Ready",
    )  # fmt: skip
    world.add(row)
    sent = {"id": row.id, "zoneid": world.ids["zone"], "mode": "HTTP_DOWNLOAD"}
    with pytest.raises(Exception, match="it is not extractable"):
        world.call("extractVolume", **sent)
    with pytest.raises(ParameterError, match="in use by VM web"):
        world.call("extractVolume", "admin", **sent)
    with world.context.database.writing() as session:
        session.get_one(tables.Vm, vm.id).state = "Stopped"
        session.get_one(tables.Template, world.ids["template"]).is_extractable = True
    world.call("extractVolume", **sent)
    job = world.last_job()
    assert (job.workflow, job.instance_id) == ("extract_volume", row.id)
    export = world.get(tables.VolumeExport, job.arguments["export_id"])
    assert (export.volume_id, export.account_id, export.state) == (row.id, alice.account.id, "Creating")
