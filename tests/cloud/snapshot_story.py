"""A snapshot of a running guest, on the real cloud."""

from tests.cloud.cloud import HOME, Cloud, Guest
from tests.cloud.tenant import Tenant
from tests.netns.topology import eventually

PORT = 2203


def snapshot_story(cloud: Cloud, tenant: Tenant) -> None:
    """What a running guest had at one moment comes back in another guest, what came later does not."""
    guest, vm = tenant.guest("web1"), tenant.vms["web1"]
    root = cloud.one("listVolumes", "volume", virtualmachineid=vm["id"], type="ROOT")
    guest.ssh("echo before > note && sync")
    snapshot = cloud.job(cloud.api.createSnapshot(volumeid=root["id"], name="then"))
    assert (snapshot["state"], snapshot["volumeid"]) == ("BackedUp", root["id"])
    guest.ssh("echo after > note && sync")
    assert 0 < snapshot["physicalsize"] < snapshot["virtualsize"] * 9 // 8
    assert not list((HOME / "pools").rglob("*.copy")), "the copy does not stay on the host"

    template = cloud.job(cloud.api.createTemplate(name="then", displaytext="then", snapshotid=snapshot["id"]))
    assert template["isready"] is True
    cloud.job(cloud.api.deleteSnapshot(id=snapshot["id"]))
    restored = cloud.job(tenant.deploy("then", templateid=template["id"], userdata=None))
    try:
        tenant.vms["then"] = restored
        tenant.forward("then", PORT, 22)
        tenant.allow(PORT)
        then = Guest(cloud.internet, tenant.source_nat["ipaddress"], PORT, tenant.key)
        then.wait()
        assert then.ssh("cat note").stdout.strip() == "before"
        assert guest.ssh("cat note").stdout.strip() == "after"
    finally:
        del tenant.vms["then"]
        cloud.job(cloud.api.destroyVirtualMachine(id=restored["id"], expunge=True))
        cloud.job(cloud.api.deleteTemplate(id=template["id"]))
    eventually(lambda: not cloud.api.listSnapshots().get("snapshot"), "no snapshot is left", 10)
