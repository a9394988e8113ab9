"""The published tiny guest, booted: small, on every firmware, and what its cloud gives it arrives."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import builder
from images.builder import pipeline, recipe
from images.builder.boot import Way
from images.builder.paths import Source
from images.builder.progress import Quiet
from images.catalog import CatalogImage
from systemvm.engine import command
from tests.image import tiny_vm
from tests.image.tiny_vm import BOOT, GUEST, ROUTER, Vm
from tests.metadata_router import Instance, serving
from tests.netns.topology import Machine, Topology, eventually

pytestmark = pytest.mark.image

USER_DATA = b"#!/bin/sh\necho $((6 * 7)) > /run/answer\n"
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def image() -> CatalogImage:
    return builder.build("tiny", Quiet())


@pytest.fixture
def host() -> Iterator[Machine]:
    with Topology() as lab:
        yield lab.machine("host")


def disk_of(image: CatalogImage) -> Path:
    return image.folder / "disk.qcow2"


def start_dhcp(host: Machine) -> None:
    host.start(
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv"),
        *(f"--interface={tiny_vm.TAP}", "--bind-interfaces", "--leasefile-ro", "--user=root", "--pid-file="),
        *(f"--dhcp-range={GUEST},{GUEST},255.255.255.0", "--dhcp-authoritative"),
    )


def test_disk_is_small(image: CatalogImage) -> None:
    assert disk_of(image).stat().st_size <= 25 * 1000**2
    info = json.loads(
        command.run(("qemu-img", "info", "--output=json", "-f", "qcow2", str(disk_of(image)))).stdout
    )
    assert "backing-filename" not in info


def test_second_build_is_bit_identical(image: CatalogImage, tmp_path: Path) -> None:
    folder, _ = pipeline.make(recipe.load("tiny"), Source(), tmp_path, Quiet())
    for name in ("disk.raw", "disk.qcow2", "vmlinuz", "initrd"):
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert digest == image.manifest().files[name].sha256, name


def test_guest_gets_what_its_cloud_gives(image: CatalogImage, host: Machine, tmp_path: Path) -> None:
    key = tmp_path / "key"
    command.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "first user", "-f", str(key)))
    public = key.with_suffix(".pub").read_text().strip()
    instance = Instance(
        {"instance-id": "i-2-7-VM", "local-hostname": "web-1", "public-keys": public},
        user_data=USER_DATA,
        password=PASSWORD,
    )
    with tiny_vm.running(host, disk_of(image), "bios", tmp_path) as vm:
        start_dhcp(host)
        with host.entered(), serving(instance, ROUTER):
            status = json.loads(vm.wait_page("/status", '"user_data_exit": 0', BOOT))
            assert vm.get("/").text == "web-1\n"
            assert status["metadata_server"] == ROUTER
            assert status["user_data_sha256"] == hashlib.sha256(USER_DATA).hexdigest()
            assert status["ssh_keys"] == [public]
            salt, _, digest = status["password_salt_sha256"].partition(" ")
            assert digest == hashlib.sha256((salt + PASSWORD).encode()).hexdigest()
            assert instance.password is None, "the guest thanked for it"

            assert ssh(vm, key, "cat /run/answer; tiny-test http http://localhost/") == (
                "42\nok http http://localhost/: web-1"
            )
            serial_log_in_works(vm)
            screen_follows_the_keyboard(vm)
        vm.press_power_button()


def test_guest_reboots(image: CatalogImage, host: Machine, tmp_path: Path) -> None:
    with tiny_vm.running(host, disk_of(image), "bios", tmp_path) as vm:
        vm.wait_console("tiny login:", BOOT)
        before = len(vm.console())
        vm.monitor.command("sendkey ctrl-alt-delete")
        vm.wait_console("Restarting system", after=before)
        vm.wait_console("tiny login:", 90, after=before)


@pytest.mark.parametrize("way", ["uefi", "secureboot"])
def test_disk_boots_by_uefi(image: CatalogImage, host: Machine, tmp_path: Path, way: Way) -> None:
    with tiny_vm.running(host, disk_of(image), way, tmp_path) as vm:
        start_dhcp(host)
        vm.wait_console("tiny login:", BOOT)
        assert vm.wait_page("/", "tiny") == "tiny\n"
        assert len(set(vm.monitor.screen())) > 1, "text is on the screen"
        console = len(vm.console())
        vm.log_in("tiny", "tiny")
        before = vm.type("[ -d /sys/firmware/efi ] && echo by-$((0))-efi")
        vm.wait_console("by-0-efi", after=before)
        assert len(vm.console()) > console
        vm.press_power_button()


def ssh(vm: Vm, key: Path, line: str) -> str:
    known = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    argv = ["ssh", "-F", "none", "-i", str(key), "-o", "BatchMode=yes", *known, f"root@{GUEST}", line]
    return vm.host.run(*argv).stdout.strip()


def serial_log_in_works(vm: Vm) -> None:
    vm.wait_console("web-1 login:")
    vm.log_in("tiny", PASSWORD)
    before = vm.type("id -un; echo > /dev/null && echo to-$((0))-null; wc -c < /etc/shadow; exit")
    vm.wait_console("tiny\n", after=before)
    vm.wait_console("to-0-null", after=before)
    vm.wait_console("Permission denied", after=before)


def screen_follows_the_keyboard(vm: Vm) -> None:
    before = lit(vm.monitor.screen())
    assert before, "a prompt is on the screen"
    for _ in range(20):
        vm.monitor.command("sendkey x")
    # More than a blinking cursor of 9 x 16 points can make of a difference.
    eventually(lambda: lit(vm.monitor.screen()) > before + 200, "twenty typed letters appear", 30)


def lit(pixels: bytes) -> int:
    """Points that are not black."""
    return sum(any(pixels[at : at + 3]) for at in range(0, len(pixels), 3))
