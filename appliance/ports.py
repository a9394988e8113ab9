"""Every listener of every part, in one table: `python -m appliance.ports` prints docs/ports.md."""

from dataclasses import dataclass

from msgspec.structs import fields

from appliance.hostagent.topology import VXLAN_PORT
from systemvm.spec.appliances import Console, Storage
from systemvm.spec.bootstrap import AGENT_PORT
from systemvm.spec.host import CONSOLE_RELAY_PORT, HOST_AGENT_PORT, MIGRATION_PORT, SEED_PORT, TUNNEL_PORT


@dataclass(frozen=True)
class Listener:
    """`port` as text, because some are ranges or protocols; `who` may reach it, and how that is proven."""

    part: str
    where: str
    port: str
    what: str
    who: str


def _default(struct: type[Console] | type[Storage], name: str = "port") -> int:
    found = next(field for field in fields(struct) if field.name == name)
    port: int = found.default
    return port


LISTENERS = (
    Listener(
        "management server",
        "127.0.0.1, or as configured",
        "8080/tcp",
        "API, page, metrics",
        "API key or session; metrics: token",
    ),
    Listener(
        "host agent", "management bridge", f"{HOST_AGENT_PORT}/tcp", "documents", "mgmt: client certificate"
    ),
    Listener(
        "host relay", "management bridge", f"{TUNNEL_PORT}/tcp", "CONNECT tunnel", "mgmt: client certificate"
    ),
    Listener(
        "host relay",
        "management bridge",
        f"{CONSOLE_RELAY_PORT}/tcp",
        "consoles",
        "console proxy: client certificate and one-use ticket",
    ),
    Listener(
        "host relay",
        "management bridge",
        f"{MIGRATION_PORT}/tcp",
        "VMs and volumes that move",
        "other hosts: client certificate for that one VM or volume, valid for an hour",
    ),
    Listener(
        "pileus up",
        "management bridge",
        f"{SEED_PORT}/tcp",
        "the first template, while it is registered",
        "storage VM: unguessable path",
    ),
    Listener(
        "host kernel", "management address", f"{VXLAN_PORT}/udp", "VXLAN of guest networks", "other hosts"
    ),
    Listener("VNC", "Unix socket of each VM", "none", "screens", "the relay, as root"),
    Listener(
        "system VM agent", "link-local NIC", f"{AGENT_PORT}/tcp", "documents", "mgmt: client certificate"
    ),
    Listener("router", "guest NICs", "67/udp, 53/udp+tcp", "DHCP, DNS", "guests"),
    Listener(
        "router", "guest NICs", "80/tcp, 8080/tcp", "metadata, passwords", "guests, each its own by address"
    ),
    Listener("router", "public addresses", "as balanced", "load balancers", "as the firewall rules say"),
    Listener("console proxy", "public NIC", f"{_default(Console)}/tcp", "noVNC", "one-use ticket"),
    Listener(
        "storage VM",
        "management NIC",
        f"{_default(Storage)}/tcp",
        "templates, snapshots, uploads",
        "hosts: signed ticket",
    ),
    Listener(
        "storage VM",
        "public NIC",
        f"{_default(Storage, 'public_port')}/tcp",
        "downloads, uploads",
        "users: signed ticket",
    ),
)


def render() -> str:
    """The table as Markdown."""
    rows = [f"| {item.part} | {item.where} | {item.port} | {item.what} | {item.who} |" for item in LISTENERS]
    head = (
        "# Ports",
        "",
        "Made by `python -m appliance.ports`. Anything that is not here does not listen.",
        "",
        "| part | where | port | what | who |",
        "|---|---|---|---|---|",
    )
    return "\n".join((*head, *rows)) + "\n"


if __name__ == "__main__":
    print(render(), end="")
