"""A tenant's two guests in a network of their own, made once by the stock client, as a tenant makes them."""

import base64
import subprocess
from pathlib import Path
from typing import Any

from tests.cloud.cloud import Cloud, Guest

USER_DATA = "#!/bin/sh\necho pileus was here > /run/user-data-ran\n"
SSH_PORTS = {"web1": 2201, "web2": 2202}


class Tenant:
    """Network `shop` with guests web1 and web2; ssh from the internet through the source NAT address."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.cloud = cloud
        self.key = folder / "id"
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "shop", "-f", str(self.key)], check=True
        )
        self.public_key = self.key.with_suffix(".pub").read_text().strip()
        self.zone = cloud.one("listZones", "zone")
        self.template = cloud.one("listTemplates", "template", templatefilter="featured", name="tiny")
        self.offering = cloud.one("listServiceOfferings", "serviceoffering", name="Tiny Instance")
        self.network: dict[str, Any] = {}
        self.vms: dict[str, dict[str, Any]] = {}
        self.source_nat: dict[str, Any] = {}

    def build(self) -> None:
        """Network, key pair, two guests at once, egress, and ssh from outside."""
        api = self.cloud.api
        offering = self.cloud.one(
            "listNetworkOfferings",
            "networkoffering",
            name="DefaultIsolatedNetworkOfferingWithSourceNatService",
        )
        self.network = api.createNetwork(
            name="shop",
            displaytext="Shop",
            zoneid=self.zone["id"],
            networkofferingid=offering["id"],
            gateway="10.9.9.1",
            netmask="255.255.255.0",
        )["network"]
        api.registerSSHKeyPair(name="shop", publickey=self.public_key)
        jobs = {name: self.deploy(name) for name in SSH_PORTS}
        self.vms = {name: self.cloud.job(job) for name, job in jobs.items()}
        self.source_nat = self.cloud.one(
            "listPublicIpAddresses",
            "publicipaddress",
            associatednetworkid=self.network["id"],
            issourcenat=True,
        )
        api.createEgressFirewallRule(
            networkid=self.network["id"], protocol="all", cidrlist="10.9.9.0/24", fetch_result=True
        )
        for name, port in SSH_PORTS.items():
            self.forward(name, port, 22)
            self.allow(port)

    def deploy(self, name: str, **more: Any) -> dict[str, Any]:
        """Start the deployment of a guest."""
        parameters: dict[str, Any] = {
            "name": name,
            "displayname": name,
            "zoneid": self.zone["id"],
            "templateid": self.template["id"],
            "serviceofferingid": self.offering["id"],
            "networkids": self.network["id"],
            "keypair": "shop",
            "userdata": base64.b64encode(USER_DATA.encode()).decode(),
            **more,
        }
        started: dict[str, Any] = self.cloud.api.deployVirtualMachine(**parameters)
        return started

    def register(self, name: str, url: str, **more: Any) -> dict[str, Any]:
        """A template by URL, on its way."""
        registered: dict[str, Any] = self.cloud.api.registerTemplate(
            name=name,
            displaytext=name,
            format="QCOW2",
            hypervisor="KVM",
            ostypeid=self.cloud.one("listOsTypes", "ostype", description="Other Linux (64-bit)")["id"],
            url=url,
            zoneid=self.zone["id"],
            **more,
        )["template"][0]
        return registered

    def found(self, template: dict[str, Any]) -> dict[str, Any]:
        """A template as it is listed now."""
        return self.cloud.one("listTemplates", "template", templatefilter="self", id=template["id"])

    def forward(self, name: str, public_port: int, private_port: int) -> dict[str, Any]:
        """A port forwarding rule from the source NAT address; the firewall is not opened."""
        rule: dict[str, Any] = self.cloud.api.createPortForwardingRule(
            ipaddressid=self.source_nat["id"],
            virtualmachineid=self.vms[name]["id"],
            protocol="tcp",
            publicport=public_port,
            privateport=private_port,
            openfirewall=False,
            fetch_result=True,
        )["portforwardingrule"]
        return rule

    def allow(self, port: int, address: str = "") -> dict[str, Any]:
        """A firewall rule for everybody."""
        rule: dict[str, Any] = self.cloud.api.createFirewallRule(
            ipaddressid=address or self.source_nat["id"],
            protocol="tcp",
            startport=port,
            endport=port,
            cidrlist="0.0.0.0/0",
            fetch_result=True,
        )["firewallrule"]
        return rule

    def guest(self, name: str) -> Guest:
        """A guest's shell."""
        return Guest(self.cloud.internet, self.source_nat["ipaddress"], SSH_PORTS[name], self.key)

    def address(self, name: str) -> str:
        """The address that the API says."""
        return str(self.vms[name]["nic"][0]["ipaddress"])
