"""Headers of disk images: what is taken, and every way in which a stranger's image is not."""

import re
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from systemvm.engine.image_header import ImageHeader, ImageRefused, inspect_image

pytestmark = pytest.mark.unit
GIB = 1 << 30


def qcow2(
    *,
    version: int = 3,
    backing: int = 0,
    cluster_bits: int = 16,
    size: int = GIB,
    crypt: int = 0,
    features: int = 0,
    header_length: int = 104,
    l1_offset: int = 3 << 16,
    extensions: bytes = b"\0" * 8,
    length: int = 4 << 16,
) -> bytes:
    """A qcow2 file with an empty disk, or what a liar makes of it."""
    head = b"QFI\xfb" + struct.pack(
        ">IQIIQIIQQIIQ", version, backing, 0, cluster_bits, size, crypt, 2, l1_offset, 1 << 16, 1, 0, 0
    )
    if version >= 3:
        head += struct.pack(">QQQII", features, 0, 0, 4, header_length)
    return (head + extensions).ljust(length, b"\0")


def inspect(tmp_path: Path, content: bytes, declared: str = "qcow2", max_bytes: int = GIB) -> ImageHeader:
    path = tmp_path / "image"
    path.write_bytes(content)
    return inspect_image(path, declared, max_bytes)


@pytest.mark.parametrize("version", [2, 3])
def test_a_plain_qcow2_is_taken(tmp_path: Path, version: int) -> None:
    assert inspect(tmp_path, qcow2(version=version)) == ImageHeader("qcow2", GIB)


def test_a_plain_disk_is_raw(tmp_path: Path) -> None:
    disk = bytes(510) + b"\x55\xaa" + bytes(512)
    assert inspect(tmp_path, disk, "raw") == ImageHeader("raw", 1024)


def cd(*, magic: bytes = b"CD001", head: bytes = b"") -> bytes:
    """The beginning of a CD image: sixteen sectors for anybody's use, then a volume descriptor."""
    return head.ljust(16 * 2048, b"\0") + (b"\1" + magic + b"\1").ljust(2048, b"\0")


def test_a_cd_is_taken_and_shows_its_length(tmp_path: Path) -> None:
    hybrid = cd(head=bytes(510) + b"\x55\xaa")
    assert inspect(tmp_path, hybrid, "iso") == ImageHeader("raw", 17 * 2048)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (cd(magic=b"BEA01"), "it is no CD (ISO 9660)"),
        (cd()[:32000], "it is no CD (ISO 9660)"),
        (cd(head=b"QFI\xfb"), "it is a qcow2 image"),
        (cd(head=b"\x1f\x8b"), "it is compressed with gzip"),
        (b"", "it is no CD (ISO 9660)"),
    ],
)
def test_what_is_no_cd_is_named(tmp_path: Path, image: bytes, words: str) -> None:
    with pytest.raises(ImageRefused, match=re.escape(f"declared as iso, but {words}")):
        inspect(tmp_path, image, "iso")


def test_harmless_extensions_are_taken(tmp_path: Path) -> None:
    feature_names = struct.pack(">II", 0x6803F857, 48) + bytes(48)
    assert inspect(tmp_path, qcow2(extensions=feature_names + bytes(8))).format == "qcow2"


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (qcow2(backing=1024), "names a backing file"),
        (qcow2(features=1 << 2), "keeps its data in another file"),
        (qcow2(extensions=struct.pack(">II", 0x44415441, 8) + b"/etc/pwd" + bytes(8)), "external data file"),
        (qcow2(extensions=struct.pack(">II", 0xE2792ACA, 3) + b"raw\0\0\0\0\0" + bytes(8)), "backing file"),
        (qcow2(extensions=struct.pack(">II", 0x6803F857, 1 << 30)), "have no end"),
        (qcow2(features=1 << 1), "corrupt"),
        (qcow2(features=1 << 40), "unknown here"),
        (qcow2(crypt=2), "encrypted (method 2)"),
        (qcow2(version=4), "version 4"),
        (qcow2(cluster_bits=30), "outside 2^9 to 2^21"),
        (qcow2(header_length=1 << 20), "makes no sense"),
        (qcow2(l1_offset=9 << 16), "was cut"),
        (qcow2(l1_offset=17), "was cut"),
        (qcow2(size=GIB + 1), f"at most {GIB}"),
        (qcow2(size=0), "is empty"),
        (qcow2()[:40], "ends within"),
        (qcow2()[:90], "was cut"),
        (bytes(1024), "declared as qcow2, but it is no qcow2 image"),
    ],
)
def test_every_unsafe_qcow2_is_refused(tmp_path: Path, image: bytes, words: str) -> None:
    with pytest.raises(ImageRefused) as refusal:
        inspect(tmp_path, image)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (qcow2(), "a qcow2 image"),
        (b"KDMV" + bytes(508), "VMDK image"),
        (b"# Disk DescriptorFile\n", "VMDK descriptor"),
        (b"vhdxfile" + bytes(600), "VHDX"),
        (bytes(1024) + b"conectix" + bytes(504), "VHD"),
        (bytes(64) + b"\x7f\x10\xda\xbe" + bytes(500), "VDI"),
        (b"LUKS\xba\xbe" + bytes(500), "LUKS"),
        (b"\x1f\x8b" + bytes(500), "gzip"),
        (b"BZh91" + bytes(500), "bzip2"),
        (bytes(257) + b"ustar" + bytes(500), "tar archive"),
        (b"\n <!DOCTYPE html>", "web page"),
    ],
)
def test_raw_is_only_what_nothing_else_claims(tmp_path: Path, content: bytes, name: str) -> None:
    with pytest.raises(ImageRefused) as refusal:
        inspect(tmp_path, content, "raw")
    assert name in str(refusal.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_break_the_parser(tmp_path: Path, noise: bytes, as_qcow2: bool) -> None:
    content = b"QFI\xfb\0\0\0\x03" + noise if as_qcow2 else noise
    for declared in ("qcow2", "raw"):
        try:
            header = inspect(tmp_path, content, declared, 1 << 62)
        except ImageRefused:
            continue
        assert header.virtual_size > 0
