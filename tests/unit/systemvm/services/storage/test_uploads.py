"""Uploads: whole or not at all, one of an id at a time, and not too many."""

import base64
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from systemvm.services.storage.uploads import (
    MOST,
    UploadBusy,
    UploadCut,
    UploadRefused,
    Uploads,
    UploadsFull,
    UploadTooLarge,
    UploadWrong,
)

pytestmark = pytest.mark.unit
CONTENT = b"disk" * 1000


@pytest.fixture
def uploads(tmp_path: Path) -> Iterator[Uploads]:
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield Uploads(folder)
    os.close(folder)


class Nested:
    """A body that asks for more uploads while it is being read."""

    def __init__(self, uploads: Uploads, name: str, rest: list[str]) -> None:
        self._uploads, self._name, self._rest = uploads, name, rest
        self.refusals: list[type[UploadRefused]] = []

    def read(self, size: int = -1, /) -> bytes:
        try:
            if self._rest:
                body = Nested(self._uploads, self._rest[0], self._rest[1:])
                self._uploads.receive(self._rest[0], body, length=1, limit=1)
                self.refusals += body.refusals
        except UploadRefused as error:
            self.refusals.append(type(error))
        return b"x"


def test_it_arrives_whole_and_is_what_was_announced(uploads: Uploads, tmp_path: Path) -> None:
    sha256 = hashlib.sha256(CONTENT)
    header = f"sha-512=:AA==:, sha-256=:{base64.b64encode(sha256.digest()).decode()}:"
    received = uploads.receive("a", io.BytesIO(CONTENT + b"more"), length=4000, limit=4000, digest=header)
    assert (received.size, received.sha256) == (4000, sha256.hexdigest())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": CONTENT}


@pytest.mark.parametrize(
    ("length", "limit", "digest", "refusal"),
    [
        (4001, 5000, "", UploadCut),
        (4000, 3999, "", UploadTooLarge),
        (4000, 4000, f"sha-256=:{base64.b64encode(bytes(32)).decode()}:", UploadWrong),
        (4000, 4000, "sha-256=:AAAA:", UploadRefused),
        (4000, 4000, "sha-256=:A:", UploadRefused),
    ],
)
def test_what_is_refused_leaves_nothing(
    uploads: Uploads, tmp_path: Path, length: int, limit: int, digest: str, refusal: type[UploadRefused]
) -> None:
    with pytest.raises(refusal):
        uploads.receive("a", io.BytesIO(CONTENT), length=length, limit=limit, digest=digest)
    assert list(tmp_path.iterdir()) == []


def test_one_of_an_id_at_a_time_and_only_so_many(uploads: Uploads, tmp_path: Path) -> None:
    first = Nested(uploads, "0", ["0"])
    uploads.receive("0", first, length=1, limit=1)
    assert first.refusals == [UploadBusy]
    many = Nested(uploads, "0", [str(number) for number in range(1, MOST + 1)])
    uploads.receive("0", many, length=1, limit=1)
    assert many.refusals == [UploadsFull]
    assert sorted(path.name for path in tmp_path.iterdir()) == [str(number) for number in range(MOST)]


def test_a_link_in_its_way_is_not_followed(uploads: Uploads, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    (tmp_path / "a.part").symlink_to(target)
    with pytest.raises(OSError, match="symbolic"):
        uploads.receive("a", io.BytesIO(CONTENT), length=4000, limit=4000)
    assert not target.exists()
