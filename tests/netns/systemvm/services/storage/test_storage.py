"""The storage VM between a web server on the "internet" and a host, its data disk a real file system."""

import base64
import hashlib
import random
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from systemvm.services.interfaces import SERVICE as INTERFACES
from systemvm.services.storage import SERVICE
from systemvm.services.storage.reads import read_capacity
from systemvm.spec.appliances import ImageFormat, TemplateSource
from systemvm.spec.ticket import TicketPurpose
from tests.netns.putting import install
from tests.netns.storage_bench import (
    DATA,
    DISK_MIB,
    MACS,
    PRIVATE_WEB,
    RESOLVERS,
    WEB,
    StorageBench,
    give_disk,
    give_etc,
    loop_device,
    serve_names,
    source,
    state_of,
)
from tests.netns.topology import Topology, eventually
from tests.pki import Authority
from tests.tickets import Signer
from tests.web import WebServer

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("images")

    def qemu_img(*argv: str) -> None:
        subprocess.run(["qemu-img", *argv], cwd=folder, check=True, capture_output=True)

    (folder / "disk.raw").write_bytes(random.Random(7).randbytes(3 << 20) + bytes(1 << 20))  # noqa: S311
    qemu_img("convert", "-f", "raw", "-O", "qcow2", "disk.raw", "ok.qcow2")
    qemu_img("create", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", "backing.qcow2", "4M")
    qemu_img("create", "-f", "qcow2", "-o", "data_file=elsewhere.raw", "data.qcow2", "4M")
    qemu_img("create", "-f", "vmdk", "vmdk.qcow2", "4M")
    qemu_img("create", "-f", "qcow2", "huge.qcow2", "1T")
    made = {path.name: path.read_bytes() for path in folder.iterdir()}
    made["cut.qcow2"] = made["ok.qcow2"][:2000]
    made["page.qcow2"] = b"<!DOCTYPE html><html>log in first</html>"
    made["large.raw"] = bytes((DISK_MIB + 40) << 20)
    return made


@pytest.fixture(scope="module")
def bench(images: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageBench]:
    folder = tmp_path_factory.mktemp("s")
    servers, signer = Authority("servers"), Signer()
    with Topology() as topology, loop_device(folder / "disk.img") as device:
        host, storage, web = (topology.machine(name) for name in ("host", "storage", "web"))
        topology.wire(host, "eth0", storage, "eth1", mac_b=MACS["eth1"])
        topology.wire(storage, "eth2", web, "eth0", mac_a=MACS["eth2"])
        host.run("ip", "addr", "add", "10.9.0.2/24", "dev", "eth0")
        for address in (WEB, PRIVATE_WEB, *RESOLVERS):
            web.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
        serve_names(web, folder)
        give_etc(storage)
        give_disk(storage, device)
        with web.entered():
            listener = socket.create_server(("0.0.0.0", 80))  # noqa: S104
        server = WebServer(listener)
        server.files |= images
        state = state_of(servers, signer)
        interfaces, installed = install(INTERFACES, storage), install(SERVICE, storage)
        interfaces.put(state)
        installed.put(state)
        eventually(lambda: not installed.unhealthy(state), "storage serves", 20)
        queries = folder / "queries"
        yield StorageBench(
            host, installed, interfaces, server, queries, images, signer, servers, state, device
        )
        installed.put(msgspec.structs.replace(state, storage=None))
        storage.run("umount", DATA)
        server.close()


def test_a_template_is_downloaded_judged_kept_and_served(bench: StorageBench) -> None:
    image = bench.images["ok.qcow2"]
    digest = hashlib.sha512(image).hexdigest()
    wanted = source("/redirect/3/ok.qcow2", host="images.example", checksum=f"sha512:{digest}")
    status = bench.outcome(wanted)
    assert status == {
        "id": wanted.id,
        "state": "ready",
        "percent": 100,
        "size": len(image),
        "virtual_size": 4 << 20,
        "sha256": hashlib.sha256(image).hexdigest(),
        "error": "",
    }
    token = bench.signer.token(TicketPurpose.template, wanted.id)
    answer = bench.get(wanted.id, token)
    assert answer.status_code == 200
    assert answer.content == image
    part = bench.get(wanted.id, token, Range="bytes=1000-1999")
    assert (part.status_code, part.content) == (206, image[1000:2000])
    assert bench.get(wanted.id, Authorization=f"Bearer {token}").content == image
    with bench.storage.machine.entered():
        capacity = read_capacity(bench.storage.doors)
        said = "\n".join(bench.storage.doors.daemons.logs("storage-server", 200))
    assert (DISK_MIB // 2) << 20 < capacity["free"] < capacity["bytes"] <= DISK_MIB << 20
    assert token.split(".")[1] not in said

    bench.put()
    eventually(lambda: bench.files("templates") == [], "an unlisted template is removed", 5)
    assert bench.status(wanted.id) == {"state": "unknown"}
    gone = bench.get(wanted.id, token)
    assert gone.status_code == 404


def ticket(bench: StorageBench, subject: str, allowed: int) -> str:
    return bench.signer.token(TicketPurpose.upload, subject, max_bytes=allowed)


def listed_for_upload(**more: Any) -> TemplateSource:
    return TemplateSource(id=str(uuid4()), format=ImageFormat.qcow2, **more)


def test_an_upload_is_judged_kept_served_and_copied(bench: StorageBench) -> None:
    image, sent = bench.images["ok.qcow2"], listed_for_upload()
    digest = hashlib.sha256(image)
    bench.put(sent)
    eventually(lambda: bench.status(sent.id)["state"] == "waiting", "it is waited for", 5)
    token = ticket(bench, sent.id, len(image))
    header = {"Content-Digest": f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"}
    answer = bench.upload(sent.id, image, token, **header)
    assert (answer.status_code, answer.json()) == (
        201,
        {"id": sent.id, "size": len(image), "sha256": digest.hexdigest()},
    )
    status = bench.final(sent.id)
    assert (status["state"], status["sha256"], status["virtual_size"]) == (
        "ready",
        digest.hexdigest(),
        4 << 20,
    )
    again = bench.upload(sent.id, image, token)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "upload_exists")

    copy = TemplateSource(id=str(uuid4()), format=ImageFormat.qcow2, copy_of=sent.id)
    bench.put(sent, copy)
    assert bench.final(copy.id)["sha256"] == digest.hexdigest()
    bench.put(copy)
    eventually(lambda: bench.files("templates") == [copy.id], "the original goes, its copy stays", 5)
    assert bench.get(copy.id, bench.signer.token(TicketPurpose.template, copy.id)).content == image


def test_an_upload_needs_a_ticket_for_it_and_its_size_and_leaves_nothing_when_refused(
    bench: StorageBench,
) -> None:
    image, sent = bench.images["ok.qcow2"], listed_for_upload()
    bench.put(sent)
    good = ticket(bench, sent.id, len(image))
    wrong = {"Content-Digest": f"sha-256=:{base64.b64encode(bytes(32)).decode()}:"}
    pull = bench.signer.token(TicketPurpose.template, sent.id)
    other = ticket(bench, str(uuid4()), len(image))
    for body, token, headers, expected in [
        (image, "", {}, (400, "ticket_malformed")),
        (image, pull, {}, (403, "ticket_purpose_wrong")),
        (image, other, {}, (403, "ticket_purpose_wrong")),
        (image, ticket(bench, sent.id, len(image) - 1), {}, (413, "upload_too_large")),
        (iter([image]), good, {}, (411, "length_required")),
        (image, good, wrong, (422, "upload_wrong")),
        (image, good, {"Content-Digest": "md5=:AA==:"}, (400, "upload_refused")),
    ]:
        answer = bench.upload(sent.id, body, token, **headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == expected
    bench.upload_cut(sent.id, image[:-1], good, len(image))
    eventually(lambda: bench.files("uploads") == [], "nothing is left of what was cut", 5)
    eventually(lambda: bench.status(sent.id)["state"] == "waiting", "it is waited for", 5)


def test_a_bad_upload_fails_with_the_reason_and_may_be_sent_again(bench: StorageBench) -> None:
    sent = listed_for_upload()
    bench.put(sent)
    for name, words in [("backing.qcow2", "names a backing file"), ("vmdk.qcow2", "it is a VMDK image")]:
        image = bench.images[name]
        assert bench.upload(sent.id, image, ticket(bench, sent.id, len(image))).status_code == 201
        eventually(lambda words=words: words in bench.status(sent.id).get("error", ""), words, 10)
        assert bench.files("partial") + bench.files("templates") + bench.files("uploads") == []
    image = bench.images["ok.qcow2"]
    assert bench.upload(sent.id, image, ticket(bench, sent.id, len(image))).status_code == 201
    eventually(lambda: bench.status(sent.id)["state"] == "ready", "the good one is taken", 10)


def test_an_upload_of_what_is_not_listed_goes_away(bench: StorageBench) -> None:
    bench.put()
    image, unknown = bench.images["ok.qcow2"], str(uuid4())
    # 404: it went away while it was being written.
    assert bench.upload(unknown, image, ticket(bench, unknown, len(image))).status_code in (201, 404)
    eventually(lambda: bench.files("uploads") == [], "it is removed", 10)


def test_an_upload_without_room_is_refused_and_leaves_room(bench: StorageBench) -> None:
    image, sent = bench.images["large.raw"], listed_for_upload()
    bench.put(sent)
    answer = bench.upload(sent.id, image, ticket(bench, sent.id, len(image)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "no_room")
    assert bench.files("uploads") == []


def test_only_a_good_ticket_for_this_template_opens_it(bench: StorageBench) -> None:
    wanted = source("/ok.qcow2")
    assert bench.outcome(wanted)["state"] == "ready"
    template = TicketPurpose.template
    assert bench.get(wanted.id).status_code == 400
    refused = {
        "ticket_expired": bench.signer.token(template, wanted.id, life=-5),
        "ticket_signature_invalid": Signer().token(template, wanted.id),
        "ticket_purpose_wrong": bench.signer.token(template, str(uuid4())),
    }
    for code, token in refused.items():
        answer = bench.get(wanted.id, token)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, code)
    console = bench.signer.token(TicketPurpose.console, wanted.id)
    assert bench.get(wanted.id, console).json()["error"]["code"] == "ticket_purpose_wrong"


@pytest.mark.parametrize(
    ("path", "more", "words"),
    [
        ("/ok.qcow2", {"checksum": "md5:" + "0" * 32}, "its md5 is"),
        ("/backing.qcow2", {}, "names a backing file"),
        ("/data.qcow2", {}, "keeps its data in another file"),
        ("/vmdk.qcow2", {}, "it is a VMDK image"),
        ("/disk.raw", {}, "declared as qcow2, but it is no qcow2 image"),
        ("/ok.qcow2", {"kind": ImageFormat.raw}, "declared as raw, but it is a qcow2 image"),
        ("/cut.qcow2", {}, "outside the file: it was cut"),
        ("/page.qcow2", {}, "it is a web page"),
        ("/huge.qcow2", {}, "its disk has 1099511627776 bytes"),
        ("/ok.qcow2", {"max_bytes": 1 << 20}, "at most 1048576 are allowed"),
        ("/absent.qcow2", {}, "answers 404"),
        ("/redirect/6/ok.qcow2", {}, "redirects more than 5 times"),
    ],
)
def test_what_is_not_right_fails_with_the_reason_and_leaves_nothing(
    bench: StorageBench, path: str, more: dict[str, Any], words: str
) -> None:
    status = bench.outcome(source(path, **more))
    assert status["state"] == "failed"
    assert words in status["error"]
    assert bench.files("partial") == []
    assert bench.files("templates") == []


@pytest.mark.parametrize(
    ("host", "path", "moved", "words"),
    [
        (PRIVATE_WEB, "/ok.qcow2", "", f"private address {PRIVATE_WEB}"),
        ("rebind.example", "/ok.qcow2", "", f"private address {PRIVATE_WEB}"),
        ("both.example", "/ok.qcow2", "", f"private address {PRIVATE_WEB}"),
        (WEB, "/to-private", f"http://{PRIVATE_WEB}/ok.qcow2", f"private address {PRIVATE_WEB}"),
        (WEB, "/to-name", "http://rebind.example/ok.qcow2", f"private address {PRIVATE_WEB}"),
        (WEB, "/to-agents", "http://169.254.0.1:8443/", "169.254.0.1, which is never downloaded from"),
        (WEB, "/to-itself", "http://127.0.0.1:22/", "127.0.0.1, which is never downloaded from"),
        (WEB, "/to-file", "file:///etc/passwd", "only http and https"),
        ("absent.example", "/ok.qcow2", "", "absent.example does not resolve: Name or service not known"),
        ("0.0.0.0", "/ok.qcow2", "", "0.0.0.0, which is never downloaded from"),  # noqa: S104
        ("2130706433", "/ok.qcow2", "", "127.0.0.1, which is never downloaded from"),
    ],
)
def test_no_url_leads_where_downloads_may_not_go(
    bench: StorageBench, host: str, path: str, moved: str, words: str
) -> None:
    if moved:
        bench.web.moved[path] = moved
    status = bench.outcome(source(path, host=host))
    assert status["state"] == "failed"
    assert words in status["error"]


def test_a_name_is_looked_up_once_and_the_connection_goes_where_that_led(bench: StorageBench) -> None:
    before = bench.asked("images.example")
    wanted = source("/ok.qcow2", host="images.example")
    assert bench.outcome(wanted)["state"] == "ready"
    # Whatever the name would lead to a moment later: nobody asks.
    assert bench.asked("images.example") == before + 1


def test_a_name_that_leads_nowhere_names_the_servers_that_were_asked(bench: StorageBench) -> None:
    known = source("/ok.qcow2", host="images.example")
    try:
        for servers, words in [
            (RESOLVERS[:1], "images.example does not resolve: .*; DNS servers asked: 9.9.9.54$"),
            ((), "images.example does not resolve: .*; there is no DNS server to ask$"),
        ]:
            bench.resolve_by(*servers)
            there = bench.storage.machine.answers("test", "-e", "/etc/resolv.conf")
            assert there == bool(servers)
            status = bench.outcome(known)
            assert status["state"] == "failed"
            assert re.match(words, status["error"]), status["error"]
            bench.put()
    finally:
        bench.resolve_by(*RESOLVERS)
    # The process that has no servers to ask finds the new ones by itself.
    assert bench.outcome(known)["state"] == "ready"
    absent = bench.outcome(source("/ok.qcow2", host="absent.example"))
    assert absent["error"].endswith("; DNS servers asked: 9.9.9.54, 9.9.9.53")


def test_the_operator_can_allow_a_private_network_but_never_the_control_network(bench: StorageBench) -> None:
    wanted = source("/ok.qcow2", host="rebind.example")
    assert bench.outcome(wanted, allowed_networks=("10.66.0.0/24",))["state"] == "ready"
    bench.web.moved["/to-agents"] = "http://169.254.0.1:8443/"
    status = bench.outcome(source("/to-agents"), allowed_networks=("0.0.0.0/0",))
    assert "never downloaded from" in status["error"]


def test_a_cut_download_goes_on_where_it_ended(bench: StorageBench) -> None:
    image = bench.images["ok.qcow2"]
    bench.web.cuts, bench.web.asked = 2, []
    wanted = source("/cut/ok.qcow2", checksum=f"sha256:{hashlib.sha256(image).hexdigest()}")
    assert bench.outcome(wanted)["state"] == "ready"
    half = len(image) // 2
    ranges = [asked for _, asked in bench.web.asked]
    assert ranges == ["", f"bytes={half}-", f"bytes={half + (len(image) - half) // 2}-"]


def test_a_download_that_is_always_cut_fails_in_the_end_and_leaves_nothing(bench: StorageBench) -> None:
    bench.web.cuts = 99
    status = bench.outcome(source("/cut/ok.qcow2"))
    bench.web.cuts = 0
    assert status["state"] == "failed"
    assert "gave up after 5 attempts" in status["error"]
    assert bench.files("partial") == []


@pytest.mark.parametrize("path", ["/large.raw", "/endless"])
def test_a_full_disk_fails_the_template_and_leaves_room_for_the_next(bench: StorageBench, path: str) -> None:
    status = bench.outcome(source(path, kind=ImageFormat.raw))
    assert status["state"] == "failed"
    assert "No space left" in status["error"] or "bytes, " in status["error"], status
    assert bench.files("partial") == []
    assert bench.outcome(source("/ok.qcow2"))["state"] == "ready"


def test_a_failed_template_is_tried_again_only_when_its_source_changes(bench: StorageBench) -> None:
    wanted = source("/later.raw", kind=ImageFormat.raw)
    assert bench.outcome(wanted)["state"] == "failed"
    bench.web.files["later.raw"] = bytes(1 << 20)
    bench.put(wanted, source("/ok.qcow2"))
    time.sleep(1)
    assert bench.status(wanted.id)["state"] == "failed"
    changed = msgspec.structs.replace(wanted, max_bytes=2 << 20)
    bench.put(changed)
    eventually(lambda: bench.status(wanted.id)["state"] == "ready", "the changed source is tried", 15)


def test_a_restart_of_the_process_goes_on_with_a_download(bench: StorageBench) -> None:
    bench.web.files["long.raw"] = random.Random(3).randbytes(4 << 20)  # noqa: S311
    wanted = source("/slow/long.raw", kind=ImageFormat.raw)
    state = bench.put(wanted)
    eventually(lambda: bench.status(wanted.id).get("percent", 0) > 20, "it is on its way", 10)
    assert bench.status(wanted.id)["state"] == "downloading"
    with bench.storage.machine.entered():
        bench.storage.doors.daemons.stop("storage-transfer")
    words = bench.storage.unhealthy(state)
    assert [word.partition(";")[0] for word in words] == ["the transfer process does not run"]
    bench.web.asked = []
    assert bench.outcome(wanted)["state"] == "ready"
    assert bench.web.asked[0][1].startswith("bytes=")


def test_the_data_disk_is_formatted_once_and_never_again(bench: StorageBench) -> None:
    wanted = source("/ok.qcow2")
    assert bench.outcome(wanted)["state"] == "ready"
    before = subprocess.run(
        ["blkid", "--probe", "-s", "UUID", "-o", "value", bench.device], capture_output=True, check=True
    ).stdout
    bench.storage.put(msgspec.structs.replace(bench.state, storage=None))
    bench.storage.machine.run("umount", DATA)
    bench.put(wanted)
    after = subprocess.run(
        ["blkid", "--probe", "-s", "UUID", "-o", "value", bench.device], capture_output=True, check=True
    ).stdout
    assert before == after
    assert bench.status(wanted.id)["state"] == "ready"
    assert bench.files("templates") == [wanted.id]
    token = bench.signer.token(TicketPurpose.template, wanted.id)
    eventually(lambda: answers(bench, wanted.id, token), "it is served again", 10)


def answers(bench: StorageBench, template: str, token: str) -> bool:
    try:
        return bench.get(template, token).status_code == 200
    except httpx.TransportError:
        return False


def test_the_server_has_no_rights(bench: StorageBench) -> None:
    with bench.storage.machine.entered():
        master = bench.storage.doors.daemons.pid("storage-server")
    workers = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    assert workers
    for worker in workers:
        status = Path(f"/proc/{worker}/status").read_text()
        assert "Uid:\t65534\t65534\t65534\t65534" in status
