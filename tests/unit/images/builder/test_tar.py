import io
import random
import tarfile
from pathlib import Path

import pytest

from images.builder import cleaning, tar

pytestmark = pytest.mark.unit

EPOCH = 1767225600
Entry = tuple[str, bytes | str | None]  # path, content | link target | folder


def _member(path: str, mtime: int, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(f"./{path}")
    member.mtime, member.type, member.linkname = mtime, kind, link
    member.mode = 0o755 if kind == tarfile.DIRTYPE else 0o640
    member.uname, member.uid = "builder", 33
    return member


def _dirty(path: Path, seed: int) -> Path:
    """The same tree as two builds leave it: other order, other times, other name of the hard-linked file."""
    chance = random.Random(seed)  # noqa: S311 (shuffles; keeps no secret)
    folders = ["etc", "usr", "usr/bin", "var", "var/log", "dev", "proc"]
    plain = {
        "etc/hostname": b"probe\n",
        "etc-notes": b"1",
        "usr/bin/tool": b"x" * 9000,
        "var/log/boot": b"noise",
    }
    links = ["usr/bin/perl", "usr/bin/perl5"]
    chance.shuffle(links)
    with tarfile.open(path, "w") as out:
        out.addfile(_member(".", seed, tarfile.DIRTYPE))
        for folder in folders:
            out.addfile(_member(folder, seed, tarfile.DIRTYPE))
        names = list(plain)
        chance.shuffle(names)
        for name in names:
            member = _member(name, seed)
            member.size = len(plain[name])
            out.addfile(member, io.BytesIO(plain[name]))
        first = _member(links[0], seed)
        first.size = 4
        out.addfile(first, io.BytesIO(b"perl"))
        out.addfile(_member(links[1], seed, tarfile.LNKTYPE, f"./{links[0]}"))
        out.addfile(_member("usr/bin/alias", seed, tarfile.SYMTYPE, "tool"))
        out.addfile(_member("dev/null", seed, tarfile.CHRTYPE))
    return path


def _normalised(tmp_path: Path, seed: int) -> Path:
    out = tmp_path / f"{seed}.tar"
    tar.normalise(_dirty(tmp_path / f"{seed}.dirty", seed), out, EPOCH, cleaning.dropper(("usr/bin/tool",)))
    return out


def test_two_builds_normalise_to_the_same_bytes(tmp_path: Path) -> None:
    dirty = {_dirty(tmp_path / str(seed), seed).read_bytes() for seed in range(8)}
    assert len(dirty) == 8
    assert len({_normalised(tmp_path, seed).read_bytes() for seed in range(8)}) == 1


def test_content_survives(tmp_path: Path) -> None:
    with tarfile.open(_normalised(tmp_path, 3)) as read:
        names = read.getnames()
        hostname = read.getmember("etc/hostname")
        assert (hostname.mode, hostname.uid, hostname.mtime, hostname.uname) == (0o640, 33, EPOCH, "")
        content = read.extractfile("etc/hostname")
        assert content is not None
        assert content.read() == b"probe\n"
        # A folder precedes its content; "etc-notes" does not slip between "etc" and "etc/hostname".
        assert names.index("etc/hostname") == names.index("etc") + 1
        assert read.getmember("usr/bin/perl").isreg()
        assert read.getmember("usr/bin/perl5").linkname == "usr/bin/perl"
        assert read.getmember("usr/bin/alias").linkname == "tool"


def test_traces_and_drops_are_gone_and_their_folders_stay(tmp_path: Path) -> None:
    with tarfile.open(_normalised(tmp_path, 3)) as read:
        names = set(read.getnames())
    assert {"dev", "proc", "var/log", "usr/bin"} <= names
    assert not {"dev/null", "var/log/boot", "usr/bin/tool"} & names


def test_mount_points_are_there_though_the_tar_lacks_them(tmp_path: Path) -> None:
    with tarfile.open(_normalised(tmp_path, 3)) as read:
        modes = {path: read.getmember(path).mode for path in tar.MOUNT_POINTS}
        assert all(read.getmember(path).isdir() for path in modes)
    assert modes["sys"] == 0o555
    assert modes["tmp"] == 0o1777


def test_dropped_leader_of_a_hard_link_leaves_the_file(tmp_path: Path) -> None:
    out = tmp_path / "out.tar"
    tar.normalise(_dirty(tmp_path / "in.tar", 1), out, EPOCH, cleaning.dropper(("usr/bin/perl",)))
    with tarfile.open(out) as read:
        survivor = read.extractfile("usr/bin/perl5")
        assert survivor is not None
        assert survivor.read() == b"perl"


def test_write_tar_forgets_the_machine(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "lib").mkdir(parents=True)
    (root / "lib" / "a.py").write_text("1")
    (root / "lib" / "a.py").chmod(0o600)
    tar.write_tar(root, tmp_path / "one.tar", EPOCH)
    (root / "lib" / "a.py").touch()
    tar.write_tar(root, tmp_path / "two.tar", EPOCH)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as read:
        assert {member.mtime for member in read} == {EPOCH}
        assert read.getmember("lib/a.py").mode == 0o644


@pytest.mark.parametrize(
    ("path", "gone"),
    [
        ("etc/passwd-", True),
        ("etc/passwd", False),
        ("dev", False),
        ("dev/pts/ptmx", True),
        ("var/lib/apt/lists/mirror.example_InRelease", True),
        ("var/lib/apt/lists", False),
        ("usr/share/doc/x/README", True),
        ("usr/share/doc", False),
    ],
)
def test_what_is_no_part_of_an_image(path: str, gone: bool) -> None:
    assert cleaning.dropper(("usr/share/doc/*",))(path) is gone
