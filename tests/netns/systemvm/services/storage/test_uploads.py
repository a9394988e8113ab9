"""Images that are sent to the storage VM: by a ticket, whole, judged, or not at all."""

import base64
import hashlib
from typing import Any
from uuid import uuid4

import pytest

from systemvm.spec.appliances import ImageFormat, TemplateSource
from systemvm.spec.ticket import TicketPurpose
from tests.netns.storage_bench import DATA, StorageBench, source
from tests.netns.topology import eventually

pytestmark = pytest.mark.netns


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


def test_an_upload_may_be_faster_than_the_list_but_not_by_much(bench: StorageBench) -> None:
    bench.put()
    image, early = bench.images["ok.qcow2"], listed_for_upload()
    assert bench.upload(early.id, image, ticket(bench, early.id, len(image))).status_code == 201
    # The list is read anew, as it is with every arrival and every document.
    bench.put(source("/absent.qcow2"))
    bench.put(early)
    eventually(lambda: bench.status(early.id)["state"] == "ready", "it is listed now", 10)

    unknown = str(uuid4())
    assert bench.upload(unknown, image, ticket(bench, unknown, len(image))).status_code == 201
    bench.storage.machine.run("touch", "-d", "2 minutes ago", f"{DATA}/uploads/{unknown}")
    eventually(lambda: bench.files("uploads") == [], "it is removed", 10)


def test_an_upload_without_room_is_refused_and_leaves_room(bench: StorageBench) -> None:
    image, sent = bench.images["large.raw"], listed_for_upload()
    bench.put(sent)
    answer = bench.upload(sent.id, image, ticket(bench, sent.id, len(image)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "no_room")
    assert bench.files("uploads") == []
