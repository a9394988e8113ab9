"""What the Terraform provider does with a resource, call by call as its Go SDK sends and decodes them.

Create it, tag it, read it by its id, delete it; then it must be gone in the very words by which the provider
tells "already gone" from an error, both when it reads and when it deletes once more. Source: the provider's
`resource_cloudstack_*.go` and the SDK's `GetXByID`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mgmt.api.app import load_commands
from mgmt.api.reference.examples import Example, all_stories
from mgmt.api.testing import open_api
from tests.unit.mgmt.api.decoding import wrong_types
from tests.unit.mgmt.api.reference.storyteller import Storyteller, unpack

pytestmark = pytest.mark.unit
load_commands()

RULE = {"ipaddressid": "{ip}", "protocol": "tcp"}
PERSON = {"firstname": "A", "lastname": "B", "email": "a@example.org", "password": "long enough"}


@dataclass(frozen=True)
class Resource:
    """A resource of the provider: how it is made, and under which type it is tagged, if at all."""

    kind: str
    parameters: dict[str, str]
    tagged: str | None = None
    listed: str = ""
    more: dict[str, str] = field(default_factory=dict)
    user: str = "alice"

    @property
    def list(self) -> str:
        """The command that reads it."""
        return f"list{self.listed or self.kind + 's'}"


RESOURCES = (
    Resource(
        "Network",
        {"name": "tf", "displaytext": "tf", "zoneid": "{zone}", "networkofferingid": "{isolated}"}
        | {"gateway": "10.9.0.1", "netmask": "255.255.255.0"},
        "network",
    ),
    Resource("AffinityGroup", {"name": "tf", "type": "host anti-affinity"}),
    Resource("Volume", {"name": "tf", "zoneid": "{zone}", "diskofferingid": "{disk}"}, "Volume"),
    Resource(
        "FirewallRule",
        {**RULE, "startport": "81", "endport": "81", "cidrlist": "192.0.2.0/24"},
        "FirewallRule",
    ),
    Resource("EgressFirewallRule", {"networkid": "{network}", "protocol": "all"}, "FirewallRule"),
    Resource(
        "PortForwardingRule",
        {**RULE, "publicport": "82", "privateport": "82", "virtualmachineid": "{vm}"}
        | {"openfirewall": "false"},
        "PortForwardingRule",
    ),
    Resource(
        "LoadBalancerRule",
        {"publicipid": "{ip}", "name": "tf", "algorithm": "source", "publicport": "83", "privateport": "83"}
        | {"openfirewall": "false"},
        "LoadBalancer",
    ),
    Resource(
        "Account", {"username": "tf", "accounttype": "0", **PERSON}, user="admin", more={"listall": "true"}
    ),
    Resource("Domain", {"name": "tf"}, user="admin"),
    Resource("Project", {"name": "tf", "displaytext": "tf"}, "Project"),
    Resource("Role", {"name": "tf", "type": "User"}, user="admin"),
    Resource(
        "ServiceOffering",
        {"name": "tf", "displaytext": "tf", "cpunumber": "1", "cpuspeed": "100", "memory": "64"},
        user="admin",
    ),
    Resource("DiskOffering", {"name": "tf", "displaytext": "tf", "disksize": "1"}, user="admin"),
)


@dataclass
class Provider:
    """The calls of the provider, each answer decoded."""

    teller: Storyteller

    def call(self, user: str, command: str, **parameters: str) -> dict[str, Any]:
        """The object of an answer, or of its job's result."""
        filled = {name: self.teller._fill(value) for name, value in parameters.items()}
        said = self.teller.clients[user](command, **filled)
        assert said.status == 200, said.error
        body = said.body
        if "jobid" in body:
            body = self.teller._result(
                Example(place="terraform", command=command, parameters={}, answer={}), user, body["jobid"]
            )
        assert wrong_types(command, body) == []
        return unpack(body)

    def refused(self, user: str, command: str, **parameters: str) -> str:
        """Why a call fails."""
        said = self.teller.clients[user](command, **parameters)
        assert said.status == 431
        return said.error


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory, fresh_store: Path) -> Iterator[Provider]:
    with open_api(tmp_path_factory.mktemp("terraform"), like=fresh_store) as api:
        teller = Storyteller(api)
        for story in all_stories():
            if story.title == "A network and its virtual machines":
                break
            teller.tell(story)
        for step in story.steps:
            if step is not None:
                teller.play(step)
            if "vm" in teller.kept:
                break
        made = Provider(teller)
        teller.kept["ip"] = made.call("alice", "associateIpAddress", networkid="{network}")
        teller.kept["disk"] = made.call("alice", "listDiskOfferings", name="Small")
        yield made


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda item: item.kind)
def test_a_resource_comes_and_goes(provider: Provider, resource: Resource) -> None:
    user = resource.user
    made = provider.call(user, f"create{resource.kind}", **resource.parameters)["id"]
    if resource.tagged:
        tag = {"tags[0].key": "by", "tags[0].value": "terraform"}
        provider.call(user, "createTags", resourceids=made, resourcetype=resource.tagged, **tag)
    read = provider.call(user, resource.list, id=made, **resource.more)
    assert read["id"] == made
    if resource.tagged:
        assert [(tag["key"], tag["value"]) for tag in read["tags"]] == [("by", "terraform")]
    provider.call(user, f"delete{resource.kind}", id=made)
    gone = f"Invalid parameter id value={made} due to incorrect long value format, or entity does not exist"
    assert gone in provider.refused(user, resource.list, id=made, **resource.more)
    assert gone in provider.refused(user, f"delete{resource.kind}", id=made)


def test_static_nat_and_its_address(provider: Provider) -> None:
    address = provider.call("alice", "associateIpAddress", networkid="{network}", zoneid="{zone}")["id"]
    provider.call("alice", "enableStaticNat", ipaddressid=address, virtualmachineid="{vm}")
    read = provider.call("alice", "listPublicIpAddresses", id=address)
    assert (read["isstaticnat"], read["virtualmachineid"]) == (True, provider.teller.kept["vm"]["id"])
    provider.call("alice", "disableStaticNat", ipaddressid=address)
    assert provider.call("alice", "listPublicIpAddresses", id=address)["isstaticnat"] is False
    provider.call("alice", "disassociateIpAddress", id=address)
    assert f"Invalid parameter id value={address}" in provider.refused(
        "alice", "disassociateIpAddress", id=address
    )


def test_key_pairs_are_told_by_their_name(provider: Provider) -> None:
    made = provider.call("alice", "createSSHKeyPair", name="tf")
    assert "PRIVATE KEY" in made["privatekey"]
    assert provider.call("alice", "listSSHKeyPairs", name="tf")["fingerprint"] == made["fingerprint"]
    provider.call("alice", "deleteSSHKeyPair", name="tf")
    assert "A key pair with name 'tf' does not exist for account" in provider.refused(
        "alice", "deleteSSHKeyPair", name="tf"
    )


def test_what_terraform_changes(provider: Provider) -> None:
    changed = provider.call("alice", "updateNetwork", id="{network}", networkdomain="tf.example.org")
    assert changed["networkdomain"] == "tf.example.org"
    rule = {
        "publicipid": "{ip}",
        "name": "lb",
        "algorithm": "source",
        "publicport": "90",
        "privateport": "90",
    }
    made = provider.call("alice", "createLoadBalancerRule", openfirewall="false", **rule)["id"]
    changed = provider.call("alice", "updateLoadBalancerRule", id=made, algorithm="roundrobin", name="new")
    assert (changed["name"], changed["algorithm"]) == ("new", "roundrobin")
    provider.call("alice", "deleteLoadBalancerRule", id=made)
