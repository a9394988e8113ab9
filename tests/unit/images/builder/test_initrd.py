import lzma
from pathlib import Path

import pytest

from images.builder import initrd
from images.builder.errors import BuildError

pytestmark = pytest.mark.unit

VERSION = "6.12-test"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A kernel whose virtio_net needs net_failover, which needs failover; isofs needs nothing."""
    folder = tmp_path / "usr" / "lib" / "modules" / VERSION
    (folder / "kernel").mkdir(parents=True)
    for name in ("virtio_blk", "virtio_net", "net-failover", "failover", "isofs"):
        (folder / "kernel" / f"{name}.ko.xz").write_bytes(lzma.compress(name.encode()))
    (folder / "modules.dep").write_text(
        "kernel/virtio_blk.ko.xz:\n"
        "kernel/virtio_net.ko.xz: kernel/net-failover.ko.xz kernel/failover.ko.xz\n"
        "kernel/net-failover.ko.xz: kernel/failover.ko.xz\n"
        "kernel/failover.ko.xz:\n"
        "kernel/isofs.ko.xz:\n"
    )
    (folder / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    return tmp_path


def _names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_needed_modules_come_first_and_once(tree: Path) -> None:
    found = _names(initrd._dependencies(tree, ["virtio_net", "failover", "isofs"]))
    assert found == ["failover.ko.xz", "net-failover.ko.xz", "virtio_net.ko.xz", "isofs.ko.xz"]


def test_names_are_equal_with_dash_or_underscore(tree: Path) -> None:
    assert _names(initrd._dependencies(tree, ["net_failover"])) == ["failover.ko.xz", "net-failover.ko.xz"]
    assert _names(initrd._dependencies(tree, ["virtio-blk"])) == ["virtio_blk.ko.xz"]


def test_builtin_module_needs_no_file(tree: Path) -> None:
    assert initrd._dependencies(tree, ["ext4"]) == []


def test_unknown_module_is_named(tree: Path) -> None:
    with pytest.raises(BuildError, match="no module 'virtio_foo'"):
        initrd._dependencies(tree, ["virtio_foo"])


def test_two_kernels_are_one_too_many(tree: Path) -> None:
    other = tree / "usr" / "lib" / "modules" / "6.13-test"
    other.mkdir()
    (other / "modules.dep").write_text("")
    with pytest.raises(BuildError, match="2 kernels"):
        initrd.kernel_version(tree)


def test_module_is_unpacked_for_the_kernel(tree: Path) -> None:
    path = initrd._dependencies(tree, ["isofs"])[0]
    assert initrd._unpacked(path) == b"isofs"
