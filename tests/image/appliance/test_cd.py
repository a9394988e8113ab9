"""The CD drive of a VM on real libvirt and QEMU: it boots from it, and sees other media while it runs."""

import functools
import hashlib
import io
from uuid import uuid4

import pycdlib
import pytest

from systemvm.spec.host import TemplatePull, Volume
from tests.image.appliance.vm import BOOT_SECONDS, Vm
from tests.netns.host_bench import HostBench, wait_for_text
from tests.netns.topology import eventually

pytestmark = pytest.mark.image

#: Real mode, loaded at 0x7c00: prints a text to the first serial port, then resets the machine.
_SAY_AND_RESET = bytes.fromhex(
    "31c0 8ed8"  # xor ax, ax; mov ds, ax
    "ba f803 be 1c7c"  # mov dx, 0x3f8; mov si, text
    "ac 84c0 74 03 ee eb f8"  # next: lodsb; test al, al; jz reset; out dx, al; jmp next
    "b0 fe e6 64"  # reset: mov al, 0xfe; out 0x64, al
    "f4 eb fd 909090"  # hlt; jmp to hlt
)


def bootable_cd(text: str) -> bytes:
    """A CD whose boot sector prints `text` again and again (El Torito, without emulation)."""
    sector = (_SAY_AND_RESET + text.encode() + b"\r\n\0").ljust(2048, b"\0")
    image = pycdlib.PyCdlib()
    image.new()
    image.add_fp(io.BytesIO(sector), len(sector), "/BOOT.;1")
    image.add_eltorito("/BOOT.;1", bootcatfile="/BOOT.CAT;1", boot_load_size=4)
    written = io.BytesIO()
    image.write_fp(written)
    image.close()
    return written.getvalue()


def cached(host: HostBench, content: bytes) -> TemplatePull:
    """A CD that the host has pulled already."""
    sha256 = hashlib.sha256(content).hexdigest()
    (host.paths.templates / f"{sha256}.img").write_bytes(content)
    return TemplatePull(template=str(uuid4()), url="https://172.31.240.9:8444/cd", sha256=sha256)


def test_a_blank_vm_boots_from_its_cd_and_sees_others_while_it_runs(host: HostBench) -> None:
    first, second = cached(host, bootable_cd("FIRST CD")), cached(host, bootable_cd("SECOND CD"))
    vm = Vm(host)
    blank = Volume(id=vm.root.id, pool="primary", bytes=1 << 24)
    put = functools.partial(vm.put, direct_boot=None, config_disk=None, volumes=(blank,))
    assert put(iso=first)["state"] == "running"
    wait_for_text(vm.log, "FIRST CD", BOOT_SECONDS)
    pid = vm.qemu()

    assert put(iso=second)["state"] == "running"
    wait_for_text(vm.log, "SECOND CD", BOOT_SECONDS)
    assert vm.qemu() == pid, "another medium needs no other machine"

    assert put()["state"] == "running"
    said = len(vm.log.read_bytes())
    assert put(iso=first)["state"] == "running"
    eventually(lambda: b"FIRST CD" in vm.log.read_bytes()[said:], "it takes a CD after none", BOOT_SECONDS)
    assert vm.qemu() == pid
    vm.host.request("DELETE", f"/v1/domains/{vm.uuid}")
    assert (host.paths.templates / f"{first.sha256}.img").exists(), "media are not the VM's own"
