"""What a system VM reads from its config disk at power-on: who it is, never what it should do.

The disk is ISO9660, volume label `PILEUS`, with one file `machine.json` that holds a `Bootstrap`.
It is attached as a read-only virtio disk, because the cloud kernel has no AHCI.
"""

from msgspec import Struct

from systemvm.spec.types import Cidr, Ipv4, LinkName, Mac, Port, Purpose, Role, Secret, Uuid

VOLUME_LABEL = "PILEUS"
FILE_NAME = "machine.json"
#: Name of the link-local NIC, through which the agent is reached; no document may use or change it.
CONTROL_LINK = "link0"
#: TCP port of every system VM agent, on the link-local address only.
AGENT_PORT = 8443
#: DNS name that a client certificate must carry for an agent to talk to it.
MGMT_NAME = "mgmt.pileus.internal"


class BootstrapNic(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A NIC as it is plugged; found by MAC, then renamed to `name`."""

    mac: Mac
    name: LinkName
    purpose: Purpose


class Bootstrap(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Identity of a system VM.

    `certificate`, `key` and `client_ca` are PEM. The agent serves TLS with the first two and accepts
    clients whose certificate `client_ca` signed and whose name is `MGMT_NAME`.
    """

    version: int = 1
    machine: Uuid
    name: str
    role: Role
    nics: tuple[BootstrapNic, ...]
    linklocal_address: Cidr
    linklocal_gateway: Ipv4 = "169.254.0.1"
    agent_port: Port = AGENT_PORT
    certificate: str
    key: Secret
    client_ca: str
