"""A tenant's network, with real packets: DHCP, DNS, NAT both ways, firewall, balancing."""

import re

import pytest

from tests.cloud.cloud import INTERNET, Cloud, http_status
from tests.cloud.tenant import Tenant
from tests.netns.topology import eventually

pytestmark = pytest.mark.cloud
WEB_PORT = 8000


def test_guests_have_the_addresses_that_the_api_says(tenant: Tenant) -> None:
    for name in tenant.vms:
        shown = tenant.guest(name).ssh("/sbin/ip -4 addr").stdout
        assert re.search(rf"inet {re.escape(tenant.address(name))}/24", shown), shown


def test_names_resolve(tenant: Tenant) -> None:
    # A query may be lost while a busy router takes a new document; a resolver asks again, and so do we.
    eventually(
        lambda: tenant.address("web2") in tenant.guest("web1").ssh("nslookup web2", check=False).stdout,
        "web2's name resolves on web1",
        30,
    )


def test_guest_to_guest(tenant: Tenant) -> None:
    assert tenant.guest("web1").fetch(f"http://{tenant.address('web2')}/").strip() == "web2"


def test_out_through_source_nat(cloud: Cloud, tenant: Tenant) -> None:
    server = cloud.internet.start("python3", "-u", "-m", "http.server", str(WEB_PORT))
    try:
        eventually(
            lambda: http_status(cloud.internet, f"http://{INTERNET}:{WEB_PORT}/") == "200", "the server"
        )
        tenant.guest("web1").fetch(f"http://{INTERNET}:{WEB_PORT}/")
    finally:
        server.terminate()
        said, _ = server.communicate()
    assert tenant.source_nat["ipaddress"] in said, "the server must see the public address, not the guest's"


def test_port_forwarding_needs_the_firewall_rule(cloud: Cloud, tenant: Tenant) -> None:
    url = f"http://{tenant.source_nat['ipaddress']}:8081/"
    forward = tenant.forward("web2", 8081, 80)
    assert http_status(cloud.internet, url, 3) == "000"
    rule = tenant.allow(8081)
    assert cloud.internet.run("curl", "-s", "-m", "10", url).stdout.strip() == "web2"
    cloud.api.deleteFirewallRule(id=rule["id"], fetch_result=True)
    assert http_status(cloud.internet, url, 3) == "000"
    cloud.api.deletePortForwardingRule(id=forward["id"], fetch_result=True)


def test_static_nat_both_ways(cloud: Cloud, tenant: Tenant) -> None:
    address = cloud.job(cloud.api.associateIpAddress(networkid=tenant.network["id"]))
    cloud.api.enableStaticNat(ipaddressid=address["id"], virtualmachineid=tenant.vms["web1"]["id"])
    tenant.allow(80, address["id"])
    url = f"http://{address['ipaddress']}/"
    eventually(
        lambda: cloud.internet.run("curl", "-s", "-m", "5", url, check=False).stdout.strip() == "web1",
        "static NAT reaches web1",
        30,
    )
    server = cloud.internet.start("python3", "-u", "-m", "http.server", str(WEB_PORT))
    try:
        eventually(
            lambda: http_status(cloud.internet, f"http://{INTERNET}:{WEB_PORT}/") == "200", "the server"
        )
        tenant.guest("web1").fetch(f"http://{INTERNET}:{WEB_PORT}/")
    finally:
        server.terminate()
        said, _ = server.communicate()
    assert address["ipaddress"] in said
    cloud.job(cloud.api.disableStaticNat(ipaddressid=address["id"]))
    cloud.job(cloud.api.disassociateIpAddress(id=address["id"]))
    assert http_status(cloud.internet, url, 3) == "000"


def test_balancer_reaches_both(cloud: Cloud, tenant: Tenant) -> None:
    rule = cloud.job(
        cloud.api.createLoadBalancerRule(
            name="web",
            algorithm="roundrobin",
            publicipid=tenant.source_nat["id"],
            publicport=8090,
            privateport=80,
            openfirewall=False,
        )
    )
    ids = ",".join(vm["id"] for vm in tenant.vms.values())
    cloud.job(cloud.api.assignToLoadBalancerRule(id=rule["id"], virtualmachineids=ids))
    tenant.allow(8090)
    url = f"http://{tenant.source_nat['ipaddress']}:8090/"
    answers = {cloud.internet.run("curl", "-s", "-m", "10", url).stdout.strip() for _ in range(6)}
    assert answers == {"web1", "web2"}
    cloud.job(cloud.api.deleteLoadBalancerRule(id=rule["id"]))
    assert http_status(cloud.internet, url, 3) == "000"


def test_dns_is_closed_to_the_outside(cloud: Cloud, tenant: Tenant) -> None:
    asked = cloud.internet.run(
        "dig", "+tries=1", "+time=2", f"@{tenant.source_nat['ipaddress']}", "web1", check=False
    )
    assert asked.returncode == 9, asked.stdout  # 9: no reply from server (dig(1))


def test_guests_cannot_reach_the_host(cloud: Cloud, tenant: Tenant) -> None:
    for address, port in (("172.31.241.1", 8080), ("172.31.240.1", 8445), ("169.254.0.1", 8445)):
        refused = tenant.guest("web1").ssh(f"nc -w 3 {address} {port} </dev/null", check=False)
        assert refused.returncode != 0, (address, port)
