"""`make up UPLINK=…` lets guests out through that interface, and only as long as it is asked for."""

import pytest

from tests.cloud.cloud import OUTSIDE, UPLINK, UPLINK_ADDRESS, Cloud, http_status
from tests.cloud.tenant import Tenant
from tests.netns.topology import eventually

pytestmark = pytest.mark.cloud

PORT = 8000
URL = f"http://{OUTSIDE}:{PORT}/"


def test_a_guest_gets_out_through_the_uplink_and_no_longer(cloud: Cloud, tenant: Tenant) -> None:
    outside, guest = cloud.plug_outside(), tenant.guest("web1")
    server = outside.start("python3", "-u", "-m", "http.server", str(PORT))
    fetch = f"wget -q -T 5 -O - {URL}"
    try:
        eventually(lambda: http_status(outside, URL) == "200", "the server")
        assert guest.ssh(fetch, check=False).returncode != 0, "closed until it is asked for"
        cloud.make("up", f"UPLINK={UPLINK}")
        eventually(lambda: guest.ssh(fetch, check=False).returncode == 0, "the guest gets out", 30)
        cloud.make("up")
        assert guest.ssh(fetch, check=False).returncode != 0, "closed again"
    finally:
        cloud.unplug_outside()
        server.terminate()
        said, _ = server.communicate()
    seen = {line.split()[0] for line in said.splitlines() if "GET" in line}
    assert seen == {OUTSIDE, UPLINK_ADDRESS}, "the outside sees the machine's address, no other"
