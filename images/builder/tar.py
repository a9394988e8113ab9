"""Tars that depend on nothing but content: sorted, one time stamp, numeric owners, canonical hard links."""

import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

#: Folders that every tree needs, and that a tar of a mounted tree lacks: path to mode.
MOUNT_POINTS = {"dev": 0o755, "proc": 0o555, "run": 0o755, "sys": 0o555, "tmp": 0o1777}


def write_tar(root: Path, out: Path, epoch: int) -> None:
    """Pack the folder `root` into `out`, owned by root, every time stamp `epoch`."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = epoch
        member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
        return member

    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(root.rglob("*")):
            tar.add(path, arcname=str(path.relative_to(root)), recursive=False, filter=plain)


def normalise(source: Path, out: Path, epoch: int, is_dropped: Callable[[str], bool]) -> None:
    """Rewrite a root tree's tar so that two builds from the same inputs are the same bytes.

    Members are sorted by path components (a folder before its content), times are `epoch`, names of
    owners are left out, of hard-linked names the first by order is the file, device nodes and what
    `is_dropped` names (path without leading slash) are gone. Reads `source` by seeking, one file at a time.
    """
    with tarfile.open(source) as tar, tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as target:
        members = {_path(member): member for member in tar}
        for path, mode in MOUNT_POINTS.items():
            members.setdefault(path, _folder(path, mode))
        kept = [path for path in _order(members) if not is_dropped(path)]
        first = _first_names(kept, members)
        for path in kept:
            member = members[path]
            if member.ischr() or member.isblk() or member.isfifo():
                continue
            content = _content(member, members)
            plain = _plain(member, path, epoch)
            leader = first[id(content)]
            if content.isreg() and leader != path:
                plain.type, plain.linkname, plain.size = tarfile.LNKTYPE, leader, 0
                target.addfile(plain)
            elif content.isreg():
                plain.type, plain.size = tarfile.REGTYPE, content.size
                target.addfile(plain, tar.extractfile(content))
            else:
                target.addfile(plain)


def _folder(path: str, mode: int) -> tarfile.TarInfo:
    folder = tarfile.TarInfo(path)
    folder.type, folder.mode = tarfile.DIRTYPE, mode
    return folder


def _path(member: tarfile.TarInfo) -> str:
    return str(PurePosixPath(member.name))


def _order(members: Iterable[str]) -> list[str]:
    return sorted((path for path in members if path != "."), key=lambda path: path.split("/"))


def _content(member: tarfile.TarInfo, members: dict[str, tarfile.TarInfo]) -> tarfile.TarInfo:
    """The member that holds the bytes: itself, or the target of a hard link."""
    while member.islnk():
        member = members[str(PurePosixPath(member.linkname))]
    return member


def _first_names(kept: Iterable[str], members: dict[str, tarfile.TarInfo]) -> dict[int, str]:
    """For each content, the name that comes first: which one tar met first is chance."""
    first: dict[int, str] = {}
    for path in kept:
        first.setdefault(id(_content(members[path], members)), path)
    return first


def _plain(member: tarfile.TarInfo, path: str, epoch: int) -> tarfile.TarInfo:
    plain = tarfile.TarInfo(path)
    plain.mode, plain.uid, plain.gid, plain.mtime = member.mode, member.uid, member.gid, epoch
    if member.issym():
        plain.type, plain.linkname = tarfile.SYMTYPE, member.linkname
    elif member.isdir():
        plain.type = tarfile.DIRTYPE
    # File capabilities travel as extended attributes.
    plain.pax_headers = {
        key: value for key, value in member.pax_headers.items() if key.startswith("SCHILY.xattr")
    }
    return plain


def walk(root: Path) -> Iterator[Path]:
    """Every file below `root` or `root` itself, sorted, without Python's caches."""
    if root.is_file():
        yield root
        return
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        yield from (Path(folder) / name for name in sorted(files))
