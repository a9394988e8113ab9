"""The storage VM as users outside see it: downloads by a URL alone, uploads by forms, and who is refused."""

import hashlib
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from systemvm.services.nftables.layout import layout_of
from systemvm.spec.appliances import ImageFormat, TemplateSource
from systemvm.spec.ticket import TicketPurpose
from tests.netns.storage_bench import PUBLIC, StorageBench, source
from tests.netns.topology import eventually
from tests.tickets import Signer

pytestmark = pytest.mark.netns
DOWNLOAD = TicketPurpose.download


def ready(bench: StorageBench) -> TemplateSource:
    wanted = source("/ok.qcow2")
    assert bench.outcome(wanted)["state"] == "ready"
    return wanted


def download(token: str, image: str, suffix: str = "qcow2") -> str:
    return f"/v1/downloads/{token}/{image}.{suffix}"


def listed(bench: StorageBench, **more: Any) -> TemplateSource:
    """An image that is to be sent."""
    wanted = TemplateSource(id=str(uuid4()), **{"format": ImageFormat.qcow2, **more})
    bench.put(wanted)
    return wanted


def headers(
    bench: StorageBench, image: str, most: int = 1 << 26, *, signer: Signer | None = None, life: float = 60
) -> dict[str, str]:
    """What getUploadParamsFor… hands out, as headers."""
    expires = int(time.time() + life)
    token = (signer or bench.signer).token(TicketPurpose.upload, image, life=life, max_bytes=most)
    metadata, _, signature = token.partition(".")
    told = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
    return {"X-metadata": metadata, "X-signature": signature, "X-expires": told}


def curl(bench: StorageBench, folder: Path, *argv: str) -> None:
    """What a user outside does, who knows the cloud's authority."""
    (folder / "ca.pem").write_text(bench.server_ca.pem)
    bench.outside.run("curl", "-sS", "--fail", "--cacert", str(folder / "ca.pem"), *argv)


def test_a_url_alone_downloads_an_image(bench: StorageBench, tmp_path: Path) -> None:
    image, wanted = bench.images["ok.qcow2"], ready(bench)
    token = bench.signer.token(DOWNLOAD, wanted.id)
    got = tmp_path / "got"
    curl(bench, tmp_path, "-o", str(got), f"https://{PUBLIC}{download(token, wanted.id)}")
    assert hashlib.sha256(got.read_bytes()).digest() == hashlib.sha256(image).digest()
    part = bench.public("GET", download(token, wanted.id), headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, image[100:200])
    head = bench.public("HEAD", download(token, wanted.id))
    assert head.headers["content-length"] == str(len(image))
    assert head.headers["content-disposition"] == f'attachment; filename="{wanted.id}.qcow2"'
    with bench.storage.machine.entered():
        said = "\n".join(bench.storage.doors.daemons.logs("storage-public", 200))
    assert token[:40] not in said

    bench.put()
    eventually(lambda: bench.files("templates") == [], "it is deleted", 5)
    assert bench.public("GET", download(token, wanted.id)).status_code == 404


def test_another_storage_vm_fetches_a_copy_that_proves_where_it_comes_from(bench: StorageBench) -> None:
    """Here it is the same one: what counts is the way out and in again."""
    image, original = bench.images["ok.qcow2"], ready(bench)
    token = bench.signer.token(DOWNLOAD, original.id)
    url = f"https://{PUBLIC}{download(token, original.id)}"
    checksum = f"sha256:{hashlib.sha256(image).hexdigest()}"
    for authorities, expected in ((bench.server_ca.pem, "ready"), ("", "failed")):
        copy = TemplateSource(
            id=str(uuid4()), url=url, format=ImageFormat.qcow2, checksum=checksum, authorities=authorities
        )
        bench.put(original, copy, allowed_networks=(f"{PUBLIC}/32",))
        status = bench.final(copy.id, 60)
        assert status["state"] == expected, status
    assert "CERTIFICATE_VERIFY_FAILED" in status["error"]
    assert token[:40] not in status["error"]


def test_only_a_good_ticket_for_this_image_downloads_it(bench: StorageBench) -> None:
    wanted = ready(bench)
    for token, expected in [
        ("none", (400, "ticket_malformed")),
        (bench.signer.token(DOWNLOAD, wanted.id, life=-5), (403, "ticket_expired")),
        (bench.signer.token(DOWNLOAD, str(uuid4())), (403, "ticket_purpose_wrong")),
        (bench.signer.token(TicketPurpose.template, wanted.id), (403, "ticket_purpose_wrong")),
        (Signer().token(DOWNLOAD, wanted.id), (403, "ticket_signature_invalid")),
    ]:
        answer = bench.public("GET", download(token, wanted.id))
        assert (answer.status_code, answer.json()["error"]["code"]) == expected


def test_nothing_else_is_outside(bench: StorageBench) -> None:
    wanted = ready(bench)
    token = bench.signer.token(DOWNLOAD, wanted.id)
    pull = bench.signer.token(TicketPurpose.template, wanted.id)
    for path in (
        f"/v1/templates/{wanted.id}?ticket={pull}",
        f"/v1/downloads/{token}/{wanted.id}",
        f"/v1/downloads/{token}/..%2f{wanted.id}.qcow2",
        f"/v1/downloads/{token}/{wanted.id}.qcow2/../../../templates.db",
        f"/v1/downloads/{token}/templates.db",
        "/",
    ):
        assert bench.public("GET", path).status_code == 404, path
    assert bench.public("PUT", f"/v1/uploads/{wanted.id}?ticket={pull}", content=b"x").status_code == 404


def test_the_firewall_opens_what_is_served(bench: StorageBench) -> None:
    assert (PUBLIC, "tcp", 443) in layout_of(bench.state).open_addresses


def test_a_form_uploads_an_image_as_a_browser_sends_it(bench: StorageBench, tmp_path: Path) -> None:
    image, wanted = bench.images["ok.qcow2"], listed(bench)
    (tmp_path / "image").write_bytes(image)
    given = [word for name, value in headers(bench, wanted.id).items() for word in ("-H", f"{name}: {value}")]
    url = f"https://{PUBLIC}/upload/{wanted.id}"
    form = ("-F", "comment=first", "-F", f"file=@{tmp_path / 'image'}")
    curl(bench, tmp_path, *given, *form, url)
    status = bench.final(wanted.id)
    assert (status["state"], status["sha256"]) == ("ready", hashlib.sha256(image).hexdigest())
    again = bench.public("POST", f"/upload/{wanted.id}", headers=headers(bench, wanted.id), content=image)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "upload_exists")


def test_a_body_uploads_too_and_a_page_may_ask_first(bench: StorageBench) -> None:
    image, wanted = bench.images["ok.qcow2"], listed(bench)
    asked = bench.public("OPTIONS", f"/upload/{wanted.id}", headers={"Origin": "https://cloud.example"})
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, "*")
    assert "X-signature" in asked.headers["access-control-allow-headers"]
    answer = bench.public("PUT", f"/upload/{wanted.id}", headers=headers(bench, wanted.id), content=image)
    assert (answer.status_code, answer.json()["size"]) == (201, len(image))
    assert bench.final(wanted.id)["state"] == "ready"


def test_an_upload_that_is_not_as_it_was_agreed_leaves_nothing(bench: StorageBench) -> None:
    image, wanted = bench.images["ok.qcow2"], listed(bench)
    good, path = headers(bench, wanted.id), f"/upload/{wanted.id}"
    later = {**good, "X-expires": "2199-01-01T00:00:00+0000"}
    changed = {**good, "X-signature": headers(bench, str(uuid4()))["X-signature"]}
    files = {"files": {"file": ("image", image)}}
    no_file = {"content": b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\n1\r\n--b--\r\n"}
    cut = {"content": b"--b\r\nContent-Disposition: form-data; name=x; filename=x\r\n\r\n1"}
    in_form = {"Content-Type": "multipart/form-data; boundary=b"}
    for sent, more, expected in [
        ({}, files, (403, "ticket_signature_invalid")),
        (later, files, (400, "ticket_malformed")),
        (changed, files, (403, "ticket_signature_invalid")),
        (headers(bench, wanted.id, signer=Signer()), files, (403, "ticket_signature_invalid")),
        (headers(bench, wanted.id, life=-9), files, (403, "ticket_expired")),
        (headers(bench, str(uuid4())), files, (403, "ticket_purpose_wrong")),
        (headers(bench, wanted.id, len(image) - 1), files, (413, "upload_too_large")),
        (headers(bench, wanted.id, len(image) - 1), {"content": image}, (413, "upload_too_large")),
        (good | {"Content-Type": "multipart/form-data"}, {"content": image}, (400, "upload_refused")),
        (good | in_form, no_file, (400, "upload_refused")),
        (good | in_form, {"content": image}, (400, "upload_refused")),
        (good | in_form, cut, (400, "upload_cut")),
    ]:
        answer = bench.public("POST", path, headers=sent, **more)
        assert (answer.status_code, answer.json()["error"]["code"]) == expected
    assert bench.files("uploads") == []
    assert bench.status(wanted.id)["state"] == "waiting"


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("backing.qcow2", {}, "names a backing file"),
        ("data.qcow2", {}, "keeps its data in another file"),
        ("vmdk.qcow2", {}, "it is a VMDK image"),
        ("huge.qcow2", {}, "its disk has 1099511627776 bytes"),
        ("disk.raw", {}, "declared as qcow2, but it is no qcow2 image"),
        ("ok.qcow2", {"checksum": "md5:" + "0" * 32}, "its md5 is"),
    ],
)
def test_what_is_sent_is_judged_as_what_is_downloaded(
    bench: StorageBench, name: str, more: dict[str, Any], words: str
) -> None:
    wanted = listed(bench, **more)
    form = {"file": ("../../templates/x", bench.images[name])}
    answer = bench.public("POST", f"/upload/{wanted.id}", headers=headers(bench, wanted.id), files=form)
    assert answer.status_code == 201
    eventually(lambda: bench.status(wanted.id)["state"] == "failed", "it is judged", 15)
    assert words in bench.status(wanted.id)["error"]
    assert bench.files("partial") + bench.files("templates") + bench.files("uploads") == []
