"""After a day of deploys, kills and restarts: what the database says is what is there."""

import subprocess

import pytest

from tests.cloud.cloud import HOME, ROOT, Cloud
from tests.netns.topology import eventually

pytestmark = pytest.mark.cloud

NOBODYS = "0badc0de-0000-4000-8000-000000000001"


def doctor(cloud: Cloud) -> subprocess.CompletedProcess[str]:
    return cloud.machine.run(str(ROOT / ".venv/bin/pileus"), "doctor", check=False, timeout=120)


def test_database_hosts_and_system_vms_agree(cloud: Cloud) -> None:
    said = ""

    def agrees() -> bool:
        nonlocal said
        done = doctor(cloud)
        said = done.stdout + done.stderr
        return done.returncode == 0

    try:
        eventually(agrees, "the doctor finds nothing", 60)
    except AssertionError as error:
        raise AssertionError(said) from error
    assert "agree" in said


def test_a_disk_that_is_nobodys_is_found(cloud: Cloud) -> None:
    disk = HOME / "pools/primary" / f"{NOBODYS}.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "1M"], check=True)
    try:
        done = doctor(cloud)
        assert done.returncode == 1
        assert NOBODYS in done.stdout
        assert "no volume of the cloud" in done.stdout
    finally:
        disk.unlink()
