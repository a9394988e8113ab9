"""The storage VM between a web server on the "internet" and a host, its data disk a real file system."""

import hashlib
import random
import re
import subprocess
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from systemvm.services.storage.reads import read_capacity
from systemvm.spec.appliances import ImageFormat
from systemvm.spec.ticket import TicketPurpose
from tests.netns.storage_bench import (
    DATA,
    DISK_MIB,
    PRIVATE_WEB,
    RESOLVERS,
    WEB,
    StorageBench,
    source,
)
from tests.netns.topology import eventually
from tests.tickets import Signer

pytestmark = pytest.mark.netns


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
def test_a_full_disk_puts_the_template_off_and_leaves_room_for_the_next(
    bench: StorageBench, path: str
) -> None:
    wanted = source(path, kind=ImageFormat.raw)
    bench.put(wanted)
    eventually(lambda: bench.status(wanted.id).get("error"), "there is no room", 30)
    status = bench.status(wanted.id)
    assert status["state"] == "waiting"
    assert re.search(r"the data disk has no room: (No space left|it needs \d+ more bytes)", status["error"])
    assert bench.files("partial") == []
    assert bench.outcome(source("/ok.qcow2"))["state"] == "ready"


@pytest.mark.parametrize("is_told", [True, False], ids=["the list changes", "nobody says a word"])
def test_what_found_no_room_is_tried_again_when_there_is_some(bench: StorageBench, is_told: bool) -> None:
    bench.put()
    bench.web.files["big.raw"] = bytes((DISK_MIB // 2) << 20)
    ballast, wanted = f"{DATA}/ballast", source("/big.raw", kind=ImageFormat.raw)
    take = ("fallocate", "-l", f"{DISK_MIB // 2}M", ballast)
    # What was removed a moment ago is free with the file system's next commit.
    eventually(lambda: bench.storage.machine.answers(*take), "half of the disk is taken", 30)
    bench.put(wanted)
    eventually(lambda: bench.status(wanted.id).get("error"), "there is no room", 30)
    bench.storage.machine.run("rm", ballast)
    if is_told:
        bench.put(wanted, source("/ok.qcow2"))
    final = bench.final(wanted.id)
    assert (final["state"], final["error"]) == ("ready", "")


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
