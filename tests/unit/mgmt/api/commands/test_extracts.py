"""Extractions: who may have a URL, what is in it, when it ends."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select

from mgmt.model.errors import InUse, ParameterError, PermissionDenied, Unavailable
from mgmt.store import tables
from systemvm.engine.ticket import verify
from systemvm.spec.ticket import TicketPurpose
from tests.unit.mgmt.api.commands.storage_vm import PUBLIC, give_storage_vm
from tests.unit.mgmt.api.commands.test_images import KINDS, make
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit


def extract(world: World, kind: str, caller: str = "alice", **sent: Any) -> dict[str, Any]:
    """The finished job of an extraction."""
    job = world.call(f"extract{kind}", caller, **{"mode": "HTTP_DOWNLOAD", **sent})["jobid"]
    return {"jobid": job, **result(world, job, kind, caller)}


def result(world: World, job: str, kind: str, caller: str = "alice") -> dict[str, Any]:
    body = world.call("queryAsyncJobResult", caller, jobid=job)
    found: dict[str, Any] = body["jobresult"][kind.lower()]
    return found


@KINDS
def test_an_owner_gets_a_url_with_a_ticket_of_some_hours(world: World, tmp_path: Path, kind: str) -> None:
    runtime = give_storage_vm(world, tmp_path)
    made = make(world, kind, isextractable=True)
    got = extract(world, kind, id=made, zoneid=world.ids["zone"])
    shown = (got["id"], got["state"], got["extractMode"], got["zonename"], got["storagetype"])
    assert shown == (made, "DOWNLOAD_URL_CREATED", "HTTP_DOWNLOAD", "z", kind.lower())
    url = urlsplit(got["url"])
    assert (url.scheme, url.netloc, url.query) == ("https", f"{PUBLIC}:443", "")
    _, version, what, token, name = url.path.split("/")
    assert (version, what, name) == ("v1", "downloads", f"{made}.{'iso' if kind == 'Iso' else 'qcow2'}")
    key, download = runtime.authority.ticket_public_key, TicketPurpose.download
    ticket = verify(token, key, download, time.time(), subject=made)
    assert 4 * 3600 - 60 < ticket.expires - time.time() <= 4 * 3600
    # Asked again it is the same, so that asking makes it live no longer; asked for anew it is another one.
    assert result(world, got["jobid"], kind)["url"] == got["url"]
    assert extract(world, kind, id=made)["url"] != got["url"]
    with world.context.database.reading() as session:
        kept = [
            str(vars(row)) for table in (tables.Job, tables.Event) for row in session.scalars(select(table))
        ]
    assert token not in "".join(kept)


@KINDS
def test_a_url_ends_by_the_clock_and_with_what_it_leads_to(world: World, tmp_path: Path, kind: str) -> None:
    give_storage_vm(world, tmp_path)
    made = make(world, kind, isextractable=True)
    gone, old = extract(world, kind, id=made), extract(world, kind, id=made)
    with world.context.database.writing() as session:
        session.get_one(tables.Job, old["jobid"]).completed -= timedelta(hours=4)
    ended = result(world, old["jobid"], kind)
    assert (ended["state"], ended.get("url")) == ("DOWNLOAD_URL_NOT_CREATED", None)
    with world.context.database.writing() as session:
        row = session.get_one(tables.Template, made)
        row.state, row.removed = "Deleted", row.created
    ended = result(world, gone["jobid"], kind)
    assert (ended["state"], ended.get("url")) == ("DOWNLOAD_URL_NOT_CREATED", None)


@KINDS
def test_what_is_not_extractable_is_the_administrators_alone(world: World, tmp_path: Path, kind: str) -> None:
    give_storage_vm(world, tmp_path)
    made = make(world, kind)
    with pytest.raises(PermissionDenied, match="it is not extractable"):
        extract(world, kind, id=made)
    assert extract(world, kind, "admin", id=made)["url"]
    with pytest.raises(PermissionDenied, match="Only root administrators change isextractable"):
        world.call(f"update{kind}Permissions", id=made, isextractable=True)
    world.call(f"update{kind}Permissions", "admin", id=made, isextractable=True, ispublic=True)
    # Who may use it may not take it away.
    with pytest.raises(PermissionDenied, match="does not have permission"):
        extract(world, kind, "bob", id=made)


@KINDS
@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"mode": "FTP_UPLOAD"}, "HTTP_DOWNLOAD"),
        ({"url": "ftp://10.0.0.1/x"}, "nothing: the answer says"),
    ],
)
def test_nothing_is_sent_to_other_places(
    world: World, tmp_path: Path, kind: str, sent: dict[str, str], words: str
) -> None:
    give_storage_vm(world, tmp_path)
    with pytest.raises(ParameterError, match=words):
        extract(world, kind, id=make(world, kind, isextractable=True), **sent)


@KINDS
def test_what_is_not_there_cannot_be_extracted(world: World, tmp_path: Path, kind: str) -> None:
    made = make(world, kind, isextractable=True)
    with pytest.raises(Unavailable, match="storage VM is not running"):
        extract(world, kind, id=made)
    give_storage_vm(world, tmp_path)
    with world.context.database.writing() as session:
        session.get_one(tables.Template, made).state = "Downloading"
    with pytest.raises(ParameterError, match="wait until it is Ready"):
        extract(world, kind, id=made)
    with pytest.raises(ParameterError, match="entity does not exist"):
        extract(world, "Iso" if kind == "Template" else "Template", id=made)


@KINDS
def test_an_image_is_copied_to_other_zones_under_its_id(world: World, tmp_path: Path, kind: str) -> None:
    made = make(world, kind, isextractable=True)
    other = tables.Zone(name="z2", dns1="9.9.9.9", internal_dns1="9.9.9.9", allocation="Enabled")
    world.add(other)
    sent = {"id": made, "sourcezoneid": world.ids["zone"], "destzoneids": other.id}
    with pytest.raises(ParameterError, match="Zone z2 has no image store"):
        world.call(f"copy{kind}", **sent)
    world.add(tables.ImageStore(zone_id=other.id, name="s2"))
    for more, error, words in (
        ({"destzoneids": None}, ParameterError, "Send destzoneid or destzoneids"),
        ({"sourcezoneid": other.id}, ParameterError, "is not Ready in the zone"),
        ({"destzoneids": world.ids["zone"]}, InUse, "is in zone z already"),
        ({}, Unavailable, "storage VM is not running"),
    ):
        changed = {name: value for name, value in {**sent, **more}.items() if value}
        with pytest.raises(error, match=words):
            world.call(f"copy{kind}", **changed)
    give_storage_vm(world, tmp_path)
    with pytest.raises(PermissionDenied, match="does not have permission"):
        world.call(f"copy{kind}", "bob", **sent)
    world.call(f"copy{kind}", **sent)
    (copy_id,) = world.last_job().arguments["copy_ids"]
    world.call(
        "createTags",
        resourceids=made,
        resourcetype="ISO" if kind == "Iso" else kind,
        **{"tags[0].key": "k", "tags[0].value": "v"},
    )
    world.call(f"update{kind}", id=made, name="renamed")
    name = kind.lower()
    for more in ({"id": made}, {"tags[0].key": "k", "tags[0].value": "v"}):
        rows = world.call(f"list{kind}s", **{f"{name}filter": "self", **more})[name]
        rows.sort(key=lambda row: row["zonename"])
        shown = [(row["id"], row["zonename"], row["name"], row["isready"], len(row["tags"])) for row in rows]
        assert shown == [(made, "z", "renamed", True, 1), (made, "z2", "renamed", False, 1)]
        assert "url" not in rows[1]
    with pytest.raises(ParameterError, match="wait until it is Ready"):
        extract(world, kind, id=made, zoneid=other.id)
    world.call(f"delete{kind}", id=made, zoneid=other.id)
    assert world.last_job().arguments == {"template_id": made, "zone_id": other.id}
    with world.context.database.writing() as session:
        copy = session.get_one(tables.Template, copy_id)
        copy.removed = copy.created
    with pytest.raises(ParameterError, match="is not in zone z2"):
        world.call(f"delete{kind}", id=made, zoneid=other.id)
