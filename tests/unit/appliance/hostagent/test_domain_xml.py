"""Domain documents to libvirt XML and back."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from appliance.hostagent.domain_xml import Placement, digest, domain_xml, read_record, tap_name
from appliance.hostagent.plugs import plan_disks, plan_nics
from systemvm.spec.host import ConfigDisk, DirectBoot, Domain, DomainNic, Power, TemplatePull, Volume

pytestmark = pytest.mark.unit
VM = "0d3c2f00-0000-4000-8000-000000000001"
ROOT = "0d3c2f00-0000-4000-8000-0000000000aa"
DATA = "0d3c2f00-0000-4000-8000-0000000000bb"


def document(**changes: Any) -> Domain:
    values: dict[str, Any] = {
        "id": VM,
        "name": "i-2-3-VM",
        "power": Power.running,
        "vcpus": 2,
        "memory_mib": 512,
        "nics": (
            DomainNic(mac="02:00:00:00:00:01", bridge="cloud0"),
            DomainNic(mac="02:00:00:00:00:02", bridge="brvx-7"),
        ),
        "volumes": (
            Volume(
                id=ROOT, pool="primary", bytes=1, base=TemplatePull(template="t", url="https://x?ticket=1")
            ),
            Volume(id=DATA, pool="primary", bytes=1, serial="pileus-data"),
        ),
    }
    return Domain(**(values | changes))


def placement(**changes: Any) -> Placement:
    values: dict[str, Any] = {
        "acceleration": "qemu",
        "cpu_model": "",
        "machine_type": "q35",
        "disks": {ROOT: Path("/p/root.qcow2"), DATA: Path("/p/data.qcow2")},
        "serial_log": Path("/l/serial.log"),
        "vnc_socket": Path("/v/vnc.sock"),
        "mtus": {"brvx-7": 1450},
        "isolated": frozenset({"cloud0"}),
    }
    return Placement(**(values | changes))


def parse(wanted: Domain, where: Placement) -> ET.Element:
    return ET.fromstring(domain_xml(wanted, where))  # noqa: S314 (our own)


def values(root: ET.Element, path: str, attribute: str) -> list[str | None]:
    return [element.get(attribute) for element in root.findall(path)]


def test_a_guest() -> None:
    root = parse(document(), placement())
    assert root.get("type") == "qemu"
    assert root.findtext("name") == "pileus-i-2-3-VM"
    assert root.findtext("on_crash") == "destroy", "else a crash would look like a reboot"
    assert values(root, "devices/disk/target", "dev") == ["vda", "vdb", "sda"]
    assert values(root, "devices/disk/driver", "type") == ["qcow2", "qcow2", "raw"]
    assert [item.text for item in root.findall("devices/disk/serial")] == [
        "0d3c2f00000040008000",
        "pileus-data",
    ]
    assert values(root, "devices/disk/boot", "order") == ["1", "2"]
    assert values(root, "devices/interface/target", "dev") == ["t020000000001", "t020000000002"]
    assert values(root, "devices/interface[2]/mtu", "size") == ["1450"]
    assert values(root, "devices/interface[1]/port", "isolated") == ["yes"]
    assert root.find("devices/interface[2]/port") is None
    graphics = root.find("devices/graphics")
    assert graphics is not None
    assert graphics.get("port") is None, "VNC never listens on a network"
    assert values(graphics, "listen", "socket") == ["/v/vnc.sock"]
    assert values(root, "devices/serial/source", "append") == ["on"]


def test_a_system_vm() -> None:
    where = placement(
        kernel=Path("/k"), initrd=Path("/i"), cmdline="root=LABEL=x", config_disk=Path("/c/config.iso")
    )
    wanted = document(
        direct_boot=DirectBoot(image="systemvm", cmdline='a="b" <c>&'),
        config_disk=ConfigDisk(label="PILEUS", files={}),
    )
    root = parse(wanted, where)
    assert root.findtext("os/kernel") == "/k"
    assert root.findtext("os/cmdline") == 'root=LABEL=x a="b" <c>&', "quoted by the XML library"
    assert root.find("devices/disk/boot") is None
    last = root.findall("devices/disk")[-1]
    assert last.find("readonly") is not None
    assert values(last, "driver", "type") == ["raw"]
    assert root.find("devices/input") is None


@pytest.mark.parametrize(
    ("acceleration", "model", "mode"),
    [("kvm", "", "host-passthrough"), ("qemu", "max", "maximum"), ("qemu", "Nehalem", "custom")],
)
def test_processors(acceleration: str, model: str, mode: str) -> None:
    root = parse(document(), placement(acceleration=acceleration, cpu_model=model))
    assert values(root, "cpu", "mode") == [mode]
    assert root.findtext("cpu/model") == (model if mode == "custom" else None)
    assert (root.find("features/tcg/tb-cache") is not None) == (acceleration == "qemu"), "TCG's alone"


def test_there_are_spare_ports_for_hot_plugging_on_q35_only() -> None:
    root = parse(document(), placement())
    ports = [item for item in root.findall("devices/controller") if item.get("model") == "pcie-root-port"]
    assert len(ports) >= 4 + 2 + 4
    assert parse(document(), placement(machine_type="pc")).find("devices/controller[@type='pci']") is None


@pytest.mark.parametrize(("machine", "bus"), [("q35", "sata"), ("pc", "ide")])
@pytest.mark.parametrize("iso", [None, Path("/t/cd.img")])
def test_a_guest_has_a_cd_drive_also_when_it_is_empty(machine: str, bus: str, iso: Path | None) -> None:
    drive = parse(document(), placement(machine_type=machine, iso=iso)).find("devices/disk[@device='cdrom']")
    assert drive is not None
    assert drive.find("readonly") is not None
    assert values(drive, "target", "bus") == [bus]
    assert values(drive, "source", "file") == ([str(iso)] if iso else [])


def test_the_record_reads_back() -> None:
    wanted = document(reboots=3, power=Power.stopped)
    record = read_record(domain_xml(wanted, placement()))
    assert record is not None
    assert (record.name, record.power, record.reboots) == ("i-2-3-VM", Power.stopped, 3)
    assert record.digest == digest(wanted)
    assert read_record("<domain><name>other</name></domain>") is None


def test_a_fresh_signature_makes_no_new_document() -> None:
    again = Volume(
        id=ROOT, pool="primary", bytes=1, base=TemplatePull(template="t", url="https://x?ticket=2")
    )
    assert digest(document()) == digest(document(volumes=(again, document().volumes[1])))
    assert digest(document()) != digest(document(vcpus=4))


def test_a_cd_makes_a_new_document_and_its_signature_none() -> None:
    with_cd = [document(iso=TemplatePull(template="cd", url=f"https://x?ticket={n}")) for n in (1, 2)]
    assert digest(with_cd[0]) == digest(with_cd[1]) != digest(document())


def test_tap_names_fit_the_kernel() -> None:
    assert len(tap_name("02:00:00:00:00:01")) <= 15


def test_nics_by_difference() -> None:
    nics = document().nics
    plan = plan_nics(nics, {nics[0].mac: "other", "02:00:00:00:00:09": "b"})
    assert plan.attach == (nics[1],)
    assert plan.replug == (nics[0],)
    assert plan.detach == ("02:00:00:00:00:09",)
    assert plan_nics(nics, {nic.mac: nic.bridge for nic in nics}) == plan_nics((), {})


def test_disks_by_difference_take_free_names() -> None:
    wanted = document().volumes
    files = placement().disks
    gone = Path("/p/gone.qcow2")
    plan = plan_disks(wanted, files, {files[ROOT]: "vda", gone: "vdb"})
    assert plan.attach == ((wanted[1], "vdb"),)
    assert plan.detach == (gone,)
    assert plan_disks(wanted, files, {files[ROOT]: "vdb", files[DATA]: "vda"}).attach == ()
