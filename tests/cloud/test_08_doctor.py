"""After a day of deploys, kills and restarts: what the database says is what is there."""

import contextlib
import sqlite3
import subprocess

import pytest

from tests.cloud.cloud import HOME, Cloud
from tests.cloud.tenant import Tenant
from tests.netns.topology import eventually

pytestmark = pytest.mark.cloud

NOBODYS = "0badc0de-0000-4000-8000-000000000001"


def test_database_hosts_and_system_vms_agree(cloud: Cloud) -> None:
    assert "agree" in cloud.until_healthy()


def test_what_guests_sent_is_counted(cloud: Cloud, tenant: Tenant) -> None:
    """A router's counters are read soon after mgmt has started, and every five minutes."""
    query = (
        "select coalesce(sum(sent), 0), coalesce(sum(received), 0) from network_bytes where network_id = ?"
    )

    def counted() -> bool:
        with contextlib.closing(sqlite3.connect(f"file:{HOME}/mgmt/mgmt.db?mode=ro", uri=True)) as database:
            sent, received = database.execute(query, (tenant.network["id"],)).fetchone()
        return bool(sent > 0 and received > 0)

    eventually(counted, "bytes of the tenant's address", 60)


def test_a_disk_that_is_nobodys_is_found(cloud: Cloud) -> None:
    disk = HOME / "pools/primary" / f"{NOBODYS}.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "1M"], check=True)
    try:
        done = cloud.doctor()
        assert done.returncode == 1
        assert NOBODYS in done.stdout
        assert "no volume of the cloud" in done.stdout
    finally:
        disk.unlink()
