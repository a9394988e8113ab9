"""Configuration of one host's agent and relay: `<home>/host/agent.json`, written by the launcher."""

from typing import Literal

import msgspec

from appliance.paths import Paths
from systemvm.engine.files import write_atomic
from systemvm.spec.host import CONSOLE_RELAY_PORT, HOST_AGENT_PORT, MIGRATION_PORT, TUNNEL_PORT, Bridge
from systemvm.spec.types import Ipv4, LinkName, Port, Uuid


class HostAgentConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who the host is and how it is reached.

    `certificate`, `key` and `client_ca` are PEM files; they are read again when they change. What mgmt renews
    over the connection is kept beside `certificate`, as `….renewed.pem`, and holds while it is the newer one.
    `pools` maps pool names to folders. `acceleration` is what the probe found. `cpu_model` is a libvirt
    model name, `host` (host-passthrough) or `max`; empty means the best known for the acceleration. Grace is
    how long a guest, or a system VM, may take to power off by itself, in seconds. `cache_floor` is the share
    of the template cache's file system that stays free: before, templates that nothing is based on go.
    Shared pools may lie below `pool_roots` only, so that no document makes any folder of the host a pool.
    """

    host: Uuid
    name: str
    management_address: Ipv4
    agent_port: Port = HOST_AGENT_PORT
    tunnel_port: Port = TUNNEL_PORT
    console_relay_port: Port = CONSOLE_RELAY_PORT
    migration_port: Port = MIGRATION_PORT
    certificate: str
    key: str
    client_ca: str
    pools: dict[str, str]
    pool_roots: tuple[str, ...] = ("/mnt", "/srv")
    acceleration: Literal["kvm", "qemu"]
    cpu_model: str = ""
    machine_type: Literal["q35", "pc"] = "q35"
    linklocal_bridge: LinkName = "cloud0"
    #: The host's own networking (cloud0, management, public), which exists before mgmt can reach the host:
    #: applied at every start of the agent, and added to `HostState.bridges` (where a name stands in both,
    #: the host's own wins). mgmt never removes these. `masquerade`: see HostState.
    bridges: tuple[Bridge, ...] = ()
    masquerade: str = ""
    stop_grace: float = 30.0
    system_stop_grace: float = 5.0
    pull_timeout: float = 1800.0
    cache_floor: float = 0.1


def read_config(paths: Paths) -> HostAgentConfig:
    """Raises FileNotFoundError, or msgspec.ValidationError naming the field."""
    return msgspec.json.decode(paths.agent_config.read_bytes(), type=HostAgentConfig)


def write_config(paths: Paths, config: HostAgentConfig) -> bool:
    """Write it for the agent to read at its next start; False when it was already so."""
    text = msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n"
    return write_atomic(paths.agent_config, text, mode=0o600)
