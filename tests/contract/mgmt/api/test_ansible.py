"""Ansible's collection ngine_io.cloudstack, unmodified: playbooks of an administrator's and a tenant's day.

Each playbook runs twice, and the second run finds nothing to change; in between the playbook that removes
everything runs in check mode, which must change nothing.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cs import CloudStack

from tests.mgmt_server import ManagementServer, build_zone, eventually, ready_template, run_server

pytestmark = pytest.mark.contract

PLAYBOOKS = Path(__file__).parent / "playbooks"
ASKS = {"zone's facts", "what the instance is"}
"""Tasks that only look."""


@dataclass
class Ansible:
    """`ansible-playbook` on this machine, against a cloud."""

    server: ManagementServer
    api: CloudStack
    home: Path
    tenant: tuple[str, str]

    def run(self, playbook: str, *options: str, **variables: str) -> dict[str, dict[str, Any]]:
        """The results of a playbook's tasks, by their names; all of them ended well."""
        keys = self.tenant if playbook.startswith("tenant") else (self.api.key, self.api.secret)
        known = {"ansible_python_interpreter": sys.executable, **variables}
        program = Path(sys.executable).with_name("ansible-playbook")
        argv = [str(program), "-i", "localhost,", "-c", "local", "-e", json.dumps(known), *options]
        done = subprocess.run(
            [*argv, str(PLAYBOOKS / f"{playbook}.yml")],
            env=self._environment(*keys),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        (play,) = json.loads(done.stdout)["plays"]
        return {task["task"]["name"]: task["hosts"]["localhost"] for task in play["tasks"]}

    def _environment(self, key: str, secret: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            "ANSIBLE_PIPELINING": "1",
            "CLOUDSTACK_ENDPOINT": self.server.endpoint,
            "CLOUDSTACK_KEY": key,
            "CLOUDSTACK_SECRET": secret,
            "CLOUDSTACK_TIMEOUT": "60",
        }


def changed(results: dict[str, dict[str, Any]]) -> set[str]:
    """The tasks that changed something, or would."""
    return {name for name, result in results.items() if result["changed"]}


def hire_tenant(api: CloudStack) -> tuple[str, str]:
    """The keys of a user in an account of its own."""
    person = {"firstname": "Tina", "lastname": "Tenant", "email": "t@example.org", "password": "long enough"}
    made = api.createAccount(username="tina", accounttype=0, **person)["account"]
    keys = api.registerUserKeys(id=made["user"][0]["id"])["userkeys"]
    return keys["apikey"], keys["secretkey"]


@pytest.fixture(scope="module")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ansible]:
    home = tmp_path_factory.mktemp("ansible")
    with run_server(tmp_path_factory.mktemp("cloud")) as server:
        api = server.client()
        zone = build_zone(api)
        eventually(lambda: {vm["state"] for vm in api.listSystemVms().get("systemvm", [])} == {"Running"})
        api.updateTemplatePermissions(id=ready_template(api, zone), ispublic=True)
        api.createServiceOffering(name="any", displaytext="any", customized=True)
        yield Ansible(server, api, home, hire_tenant(api))


def test_an_administrators_day(ansible: Ansible) -> None:
    first = ansible.run("admin_present")
    assert changed(first) == set(first) - ASKS
    assert first["user"]["user_api_key"]
    assert first["host"]["host_tags"] == ["fast", "local"]
    gone = {"host": first["host"]["name"]}
    would_go = ansible.run("admin_absent", "--check", **gone)
    assert changed(would_go) == set(would_go)
    assert changed(ansible.run("admin_present")) == set()
    went = ansible.run("admin_absent", **gone)
    assert changed(went) == set(went)


def test_a_tenants_day(ansible: Ansible) -> None:
    public = Ed25519PrivateKey.generate().public_key()
    key = {"public_key": public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()}
    first = ansible.run("tenant_present", **key)
    assert changed(first) == set(first) - ASKS
    assert (first["instance"]["state"], first["instance"]["group"]) == ("Running", "front")
    assert first["instance of its own size"]["default_ip"] == "10.7.0.77"
    assert first["load balancer"]["cidr"] == "192.0.2.0/24"
    gone = {"front": first["address"]["ip_address"], "one": first["address for one"]["ip_address"]}
    would_go = ansible.run("tenant_absent", "--check", **gone)
    assert changed(would_go) == {name for name, result in would_go.items() if not result.get("skipped")}
    assert changed(ansible.run("tenant_present", **key)) == set()
    went = ansible.run("tenant_absent", **gone)
    assert changed(went) == set(went)
    assert ansible.api.listVirtualMachines(listall=True) == {}
