"""`make up` on a fresh machine, and again: what an operator sees."""

import re

import pytest

from tests.cloud.cloud import HOME, ROOT, Cloud
from tests.commands_of import commands_of
from tests.netns.topology import eventually

pytestmark = pytest.mark.cloud


def test_up_says_where_everything_is(cloud: Cloud) -> None:
    for words in (
        "API",
        "http://127.0.0.1:8080/client/api",
        str(HOME / "mgmt/admin-password"),
        "console",
        "Try next",
    ):
        assert words in cloud.up_output, cloud.up_output


def test_password_is_generated_and_private(cloud: Cloud) -> None:
    file = HOME / "mgmt/admin-password"
    assert file.stat().st_mode & 0o777 == 0o600
    password = file.read_text().strip()
    assert len(password) >= 16
    assert password not in cloud.up_output


def test_system_vms_run_and_are_healthy(cloud: Cloud) -> None:
    vms = cloud.api.listSystemVms()["systemvm"]
    assert {vm["systemvmtype"] for vm in vms} == {"consoleproxy", "secondarystoragevm"}
    for vm in vms:
        assert (vm["state"], vm["agentstate"]) == ("Running", "Up")
        assert vm["linklocalip"].startswith("169.254.")
        assert vm["publicip"].startswith("172.31.241.")
        assert vm["privateip"].startswith("172.31.240.")


def test_first_vm_runs_with_the_address_the_api_says(cloud: Cloud) -> None:
    vm = cloud.one("listVirtualMachines", "virtualmachine", name="hello")
    assert vm["state"] == "Running"
    router = cloud.one("listRouters", "router", networkid=vm["nic"][0]["networkid"], listall=True)
    assert router["state"] == "Running"
    assert vm["nic"][0]["ipaddress"].startswith("10.1.1.")


def test_up_again_finds_what_is_there(cloud: Cloud) -> None:
    before = {vm["id"] for vm in cloud.api.listVirtualMachines()["virtualmachine"]}
    again = cloud.make("up")
    assert "hello" in again
    assert "System VMs" in again
    assert {vm["id"] for vm in cloud.api.listVirtualMachines()["virtualmachine"]} == before
    assert not re.search(r"Image \w+: .*building", again)


def test_readme_commands_run(cloud: Cloud) -> None:
    """`make test` is this very run, and `make down`, `make clean` are the last test's; the rest runs here."""
    commands = [line for line in commands_of("README.md") if line not in ("make test", "make up")]
    assert any(line.startswith("cs ") for line in commands)
    script = "set -e\n" + "\n".join(commands)
    done = cloud.machine.run(
        "env", "PILEUS_DAEMONS=processes", "bash", "-c", f"cd {ROOT} && {script}", timeout=180
    )
    assert "hello" in done.stdout


def test_nothing_of_the_cloud_leaves_the_machine(cloud: Cloud) -> None:
    routes = cloud.machine.run("ip", "-j", "route", "show", "default").stdout
    assert routes.strip() in ("[]", "[ ]", "")
    eventually(
        lambda: cloud.machine.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout.strip() == "0",
        "a closed cloud does not forward",
    )
