"""User data, key and password reach the guest, and only its own; so does the guide's guest."""

import pytest

from tests.cloud.beside import Beside
from tests.cloud.cloud import Cloud
from tests.cloud.tenant import USER_DATA, Tenant
from tests.netns.topology import eventually

pytestmark = pytest.mark.cloud


def test_user_data_is_received_and_ran(tenant: Tenant) -> None:
    guest = tenant.guest("web1")
    for server in ("10.9.9.1", "169.254.169.254"):
        assert guest.fetch(f"http://{server}/latest/user-data") == USER_DATA
    assert guest.ssh("cat /run/user-data-ran").stdout.strip() == "pileus was here"


def test_metadata_names_the_guest(tenant: Tenant) -> None:
    guest = tenant.guest("web2")
    assert guest.fetch("http://10.9.9.1/latest/meta-data/local-hostname").strip() == "web2"
    assert guest.fetch("http://10.9.9.1/latest/meta-data/local-ipv4").strip() == tenant.address("web2")
    assert tenant.public_key in guest.fetch("http://10.9.9.1/latest/meta-data/public-keys")


def test_password_is_given_once(cloud: Cloud, tenant: Tenant) -> None:
    vm = tenant.vms["web1"]
    assert vm["passwordenabled"] is True
    assert len(vm["password"]) >= 8
    again = (
        tenant.guest("web1")
        .ssh("wget -q -O - --header 'DomU_Request: send_my_password' http://10.9.9.1:8080/")
        .stdout
    )
    assert again.strip() == "saved_password"
    eventually(
        lambda: "password" not in cloud.one("listVirtualMachines", "virtualmachine", id=vm["id"]),
        "lists never show a password",
    )


@pytest.mark.usefixtures("tenant")
def test_getting_started_leads_to_a_guest_that_answers(beside: Beside) -> None:
    assert "\ndesk\n" in beside.result("guide"), "the guest said its name"
