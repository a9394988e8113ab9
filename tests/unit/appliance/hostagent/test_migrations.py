"""A VM's definition for the host that it moves to; whom the door lets in."""

import xml.etree.ElementTree as ET
from pathlib import Path

import libvirt
import pytest

from appliance.hostagent.domain_xml import Placement, domain_xml
from appliance.hostagent.hypervisor import describe_state
from appliance.hostagent.migration_door import MIGRATION_SUFFIX, DoorClosed, MigrationDoor, subject_of
from appliance.hostagent.migrations import landing_of, moved_xml, targets_of
from appliance.paths import Paths
from systemvm.spec.host import ConfigDisk, DirectBoot, Domain, DomainNic, Power, TemplatePull, Volume

pytestmark = pytest.mark.unit
ROOT = "92710186-8e0f-46f1-9be5-9b850bc942cc"
DATA = "92710186-8e0f-46f1-9be5-9b850bc942cd"
VM = "0d3c2f00-0000-4000-8000-000000000001"


def placement(home: str, *, is_system: bool) -> Placement:
    folder = Path(home)
    boot = {"kernel": folder / "vmlinuz", "initrd": folder / "initrd", "config_disk": folder / "config.iso"}
    return Placement(
        acceleration="qemu",
        cpu_model="",
        machine_type="q35",
        disks={ROOT: folder / f"{ROOT}.qcow2", DATA: folder / f"{DATA}.qcow2"},
        serial_log=folder / "serial.log",
        vnc_socket=folder / "vnc.sock",
        iso=None if is_system else folder / "cd.img",
        **(boot if is_system else {}),  # type: ignore[arg-type]
    )


def document(*, is_system: bool) -> Domain:
    return Domain(
        id=VM,
        name="i-1-VM",
        power=Power.running,
        vcpus=1,
        memory_mib=128,
        nics=(DomainNic(mac="02:00:00:00:00:01", bridge="b"),),
        volumes=tuple(Volume(id=one, pool="primary", bytes=1 << 20) for one in (ROOT, DATA)),
        iso=None if is_system else TemplatePull(template="cd"),
        direct_boot=DirectBoot(image="x", cmdline="") if is_system else None,
        config_disk=ConfigDisk(label="P", files={}) if is_system else None,
    )


@pytest.mark.parametrize("is_system", [False, True])
def test_only_the_paths_are_the_other_hosts(is_system: bool) -> None:
    here, there = (placement(home, is_system=is_system) for home in ("/here", "/there"))
    vm = document(is_system=is_system)
    places = {volume: path for volume, path in here.disks.items()} | {"": Path("/here/cd.img")}
    moved = moved_xml(domain_xml(vm, here), landing_of(there), places)
    assert ET.canonicalize(moved) == ET.canonicalize(domain_xml(vm, there))
    assert "/here" not in moved


def test_disks_are_copied_by_their_names_in_the_guest() -> None:
    here = placement("/here", is_system=False)
    xml = domain_xml(document(is_system=False), here)
    assert targets_of(xml, {here.disks[DATA]}) == ["vdb"]
    assert targets_of(xml, set(here.disks.values())) == ["vda", "vdb"]


@pytest.mark.parametrize(
    ("state", "reason", "told"),
    [
        (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_MIGRATED, "running"),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR, "running"),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION, "preparing"),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP, "preparing"),
    ],
)
def test_a_vm_whose_memory_is_on_its_way_does_not_run_yet(state: int, reason: int, told: str) -> None:
    assert describe_state({"state.state": state, "state.reason": reason})[0] == told


@pytest.mark.parametrize(
    "names",
    [
        set(),
        {"mgmt.pileus.internal"},
        {f"x{MIGRATION_SUFFIX}"},
        {f"{VM}{MIGRATION_SUFFIX}.example"},
        {VM.upper() + MIGRATION_SUFFIX},
        {VM + MIGRATION_SUFFIX, ROOT + MIGRATION_SUFFIX},
    ],
)
def test_only_the_certificate_of_one_migration_opens_the_door(names: set[str]) -> None:
    with pytest.raises(DoorClosed, match="must be that of a migration"):
        subject_of(names)


def test_the_door_leads_to_prepared_landings_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.hostagent.migration_door.SOCKETS", tmp_path)
    assert subject_of({VM + MIGRATION_SUFFIX}) == VM
    door = MigrationDoor(Paths(tmp_path), dict)
    with pytest.raises(DoorClosed, match="no landing of VM"):
        door.socket(VM, "libvirt")
    (tmp_path / VM).mkdir()
    assert door.socket(VM, "libvirt") == Paths(tmp_path).libvirt_socket
    assert door.socket(VM, "nbd") == tmp_path / VM / "nbd.sock"
    with pytest.raises(DoorClosed, match=r"'\.\./x' is none of"):
        door.socket(VM, "../x")
