"""What one cloud on one machine is called and where it listens: `<home>/pileus.json`, written by `pileus up`.

The defaults need no questions. Address ranges are private (RFC 1918) and meet no common home or office
network; preflight refuses them where they overlap with a route of the machine.
"""

from ipaddress import IPv4Address, IPv4Network
from uuid import uuid4

import msgspec

from appliance.paths import Paths
from systemvm.engine.files import write_atomic
from systemvm.spec.host import LINKLOCAL_GATEWAY
from systemvm.spec.types import Cidr, Ipv4, LinkName, Port, Uuid


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`management` and `public` are the networks of the two bridges; the host takes the first of each.

    `uplink` is the interface through which guests may leave the machine; empty means that the public
    network is closed inside it. `host` is this machine's id as a hypervisor host.
    """

    host: Uuid = msgspec.field(default_factory=lambda: str(uuid4()))
    zone: str = "zone1"
    api_address: Ipv4 = "127.0.0.1"
    api_port: Port = 8080
    cloud_bridge: LinkName = "cloud0"
    management_bridge: LinkName = "pileus-mgmt"
    public_bridge: LinkName = "pileus-public"
    management: Cidr = "172.31.240.0/24"
    public: Cidr = "172.31.241.0/24"
    guest: Cidr = "10.1.1.0/24"
    uplink: str = ""
    user: str = "pileus"

    @property
    def api_url(self) -> str:
        """Endpoint that clients are given."""
        return f"http://{self.api_address}:{self.api_port}/client/api"

    @property
    def management_address(self) -> str:
        """The host's address on the management bridge."""
        return str(address_at(self.management, 1))

    @property
    def public_gateway(self) -> str:
        """The host's address on the public bridge: the gateway of the public network."""
        return str(address_at(self.public, 1))

    @property
    def listeners(self) -> dict[str, tuple[str, int]]:
        """Name to address and port of what the machine itself listens on."""
        return {"API": (self.api_address, self.api_port)}

    @property
    def linklocal_address(self) -> str:
        """The host's CIDR on the link-local bridge."""
        return f"{LINKLOCAL_GATEWAY}/16"


def address_at(network: str, index: int) -> IPv4Address:
    """The address at `index` of a network; negative counts from the end (-1 is the broadcast address)."""
    return IPv4Network(network)[index]


def netmask(network: str) -> str:
    """Dotted netmask of a network."""
    return str(IPv4Network(network).netmask)


def read_settings(paths: Paths) -> Settings | None:
    """Settings of an existing cloud, if there is one. Raises msgspec.ValidationError naming the field."""
    file = paths.home / "pileus.json"
    return msgspec.json.decode(file.read_bytes(), type=Settings) if file.exists() else None


def write_settings(paths: Paths, settings: Settings) -> None:
    """Keep them for the next `pileus up`, `down` and `clean`."""
    text = msgspec.json.format(msgspec.json.encode(settings), indent=2) + b"\n"
    write_atomic(paths.home / "pileus.json", text)
