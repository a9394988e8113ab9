"""Documents of a hypervisor host: its networks and pools (`PUT /v1/state`), and each of its VMs
(`PUT /v1/domains/<uuid>`).
"""

from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta, Struct

from systemvm.spec.types import Cidr, Ipv4, LinkName, Mac, Port, Secret, Uuid

#: TCP ports of a host agent on the management network: REST, CONNECT tunnel, console relay.
HOST_AGENT_PORT = 8445
TUNNEL_PORT = 8446
CONSOLE_RELAY_PORT = 8447
#: Where the launcher serves the first template to the storage VM, for as long as that downloads it.
SEED_PORT = 8448
#: TCP port of a host's relay through which VMs and volumes come from, and go to, other hosts.
MIGRATION_PORT = 8449
#: Host side of every cloud0 bridge, and the network its system VMs live in.
LINKLOCAL_GATEWAY = "169.254.0.1"
LINKLOCAL_NETWORK = "169.254.0.0/16"


class Bridge(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bridge with the host's own addresses on it; `uplink` is a physical interface, else it is closed."""

    name: LinkName
    addresses: tuple[Cidr, ...] = ()
    uplink: str = ""


class GuestNetwork(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An isolated guest network: bridge `brvx-<vni>` over VXLAN (UDP 4789) to the other hosts' addresses."""

    id: Uuid
    vni: Annotated[int, Meta(ge=1, le=16777215)]
    peers: tuple[Ipv4, ...] = ()
    mtu: Annotated[int, Meta(ge=576, le=9216)] = 1450


class HostState(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Desired networks of one host, and the key that signs tickets (PEM, public).

    The host's own bridges (cloud0, management, public) are in the host agent's configuration, because
    they must be there before mgmt can reach the host; `bridges` here are additional ones, usually none.

    `masquerade` names the uplink through which guests' public addresses may leave the machine; empty
    means that the public network is closed inside it.
    """

    version: Literal[1] = 1
    generation: Annotated[int, Meta(ge=1)]
    host: Uuid
    bridges: tuple[Bridge, ...] = ()
    networks: tuple[GuestNetwork, ...] = ()
    ticket_key: str = ""
    masquerade: str = ""


class Power(StrEnum):
    """Desired power state of a VM."""

    running = "running"
    stopped = "stopped"


class DomainNic(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A NIC plugged into a bridge of the host state."""

    mac: Mac
    bridge: LinkName


class TemplatePull(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the base of a volume comes from: a URL with a short-lived signature, or the local catalog.

    `url` empty means the local image catalog (system VMs); `template` is then the image's name.
    `server_ca` is PEM and verifies the storage VM as `server_name`. `once`: it becomes the volume itself and
    is not kept for others to be based on, as a snapshot's content is wanted once.
    """

    template: str
    url: Secret = ""
    sha256: str = ""
    server_name: str = ""
    server_ca: str = ""
    once: bool = False


class Volume(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A qcow2 file of `bytes` in a pool directory, an overlay on `base` if there is one.

    `pool` is the name that the host gives one of its own, or the id of a shared one.
    """

    id: Uuid
    pool: str
    bytes: Annotated[int, Meta(ge=1)]
    base: TemplatePull | None = None
    serial: str = ""


class SharedPool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Primary storage that several hosts reach, which volumes name by its `id`; the operator mounts it.

    `path` is the folder, the same on every host. A file in it holds the pool's id: with `is_new` the host may
    make it, otherwise it must be there, or another file system is mounted here than elsewhere.
    """

    version: Literal[1] = 1
    id: Uuid
    path: Annotated[str, Meta(max_length=255)]
    is_new: bool = False


class PoolSpace(Struct, frozen=True, kw_only=True):
    """The total and the free bytes of a pool."""

    total: int
    free: int


class VolumeCopy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A volume as it is at one moment, sent to the storage VM as `id` (see `uploads.py` there).

    A running VM goes on meanwhile; what it has not flushed is not in the copy, as after a power cut. `url` is
    where to PUT it, ticket included; `server_ca` is PEM and verifies the storage VM as `server_name`.
    """

    version: Literal[1] = 1
    id: Uuid
    volume: Uuid
    url: Secret
    server_name: str
    server_ca: str


class DirectBoot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Kernel and initrd of a catalog image, for VMs whose kernel we choose (system VMs)."""

    image: str
    cmdline: str


class ConfigDisk(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A small ISO9660 disk, written by the host agent: file name to text."""

    label: str
    files: dict[str, Secret]


class Domain(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One VM and its power state. `memory_mib` is MiB; disks are attached in order (vda, vdb, …).

    `iso` lies in its CD drive; it starts from its first disk, or from the CD while that disk is blank.
    """

    version: Literal[1] = 1
    id: Uuid
    name: str
    power: Power
    vcpus: Annotated[int, Meta(ge=1, le=256)]
    memory_mib: Annotated[int, Meta(ge=32)]
    nics: tuple[DomainNic, ...] = ()
    volumes: tuple[Volume, ...] = ()
    iso: TemplatePull | None = None
    direct_boot: DirectBoot | None = None
    config_disk: ConfigDisk | None = None
    #: Raised by mgmt to force a power cycle of a running VM; the host reboots when it grows.
    reboots: Annotated[int, Meta(ge=0)] = 0


class DomainSnapshot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A VM snapshot: all its volumes at one moment; with `memory` also the memory of the running VM."""

    version: Literal[1] = 1
    id: Uuid
    memory: bool = False


class Peer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another host's migration door, and the client certificate that opens it for one VM or volume; PEM.

    The door's certificate must be signed by `server_ca` for `server_name`. Ours lives for an hour.
    """

    address: Ipv4
    port: Port = MIGRATION_PORT
    server_name: str
    server_ca: str
    certificate: str
    key: Secret


class VolumeFetch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A volume that comes from another pool, where no VM uses it. `keep`: it outlives its VMs.

    `pool` is where it is at `source`, which may be this host: the volume may be in two pools while it moves.
    """

    version: Literal[1] = 1
    volume: Volume
    source: Peer
    pool: str = ""
    keep: bool = False


class Landing(Struct, frozen=True, kw_only=True):
    """Where a VM's parts will lie on the host that a VM moves to: absolute paths, empty for what it lacks."""

    disks: dict[Uuid, str]
    serial_log: str
    vnc_socket: str
    iso: str = ""
    kernel: str = ""
    initrd: str = ""
    config_disk: str = ""


class Departure(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A running VM's move to a host that prepared its landing.

    `copies` are the volumes whose content moves too; the others are there already. `live`: the guest runs on
    until the last moment; without it stands still meanwhile.
    """

    version: Literal[1] = 1
    to: Peer
    landing: Landing
    copies: tuple[Uuid, ...] = ()
    live: bool = False


class DomainStatus(Struct, frozen=True, kw_only=True):
    """What libvirt says about a VM, and why in words.

    `state` is `running`, `stopped` (powered off) or `crashed`; and `preparing` while the agent works on
    its document, `failed` when that ended badly (`reason` says at which step; what it made is removed).
    `host_rebooted`: it is off because its host rebooted, or was taken down, since it was started.
    """

    id: Uuid
    name: str
    state: str
    reason: str = ""
    reboots: int = 0
    host_rebooted: bool = False


class HostVolume(Struct, frozen=True, kw_only=True):
    """A volume in a pool: what a guest sees and what it takes on disk, in bytes; the VM that has it.

    `preparing` says what the host does while it is being made; the rest is known only then.
    """

    id: Uuid
    pool: str
    bytes: int
    allocated: int
    domain: str = ""
    preparing: str = ""


class CopyState(StrEnum):
    """How far a copy of a volume is: `copying` ends at its moment, `sending` when the storage VM has it."""

    copying = "copying"
    sending = "sending"
    done = "done"
    failed = "failed"


class CopyStatus(Struct, frozen=True, kw_only=True):
    """A copy of a volume: `step` in words, the size of its file in bytes; `error` says why it failed."""

    id: Uuid
    volume: Uuid
    state: CopyState
    step: str = ""
    size: int = 0
    sha256: str = ""
    error: str = ""


class HostTemplate(Struct, frozen=True, kw_only=True):
    """An entry of the host's template cache: `pulling` or `ready`; sizes in bytes."""

    key: str
    state: str
    percent: int
    bytes: int = 0
    virtual_size: int = 0


class HostInfo(Struct, frozen=True, kw_only=True):
    """What a host is and has. Memory in MiB; `acceleration` is `kvm` or `qemu`, by trial.

    `pools` maps a pool's name to its total and its free bytes; a shared one is there, by its id, while the
    host reaches it.
    """

    host: Uuid
    name: str
    version: str
    api_versions: tuple[str, ...]
    acceleration: str
    cpus: int
    cpu_mhz: int
    memory_mib: int
    pools: dict[str, tuple[int, int]]
    management_address: Ipv4
    tunnel_port: Port = TUNNEL_PORT
    console_relay_port: Port = CONSOLE_RELAY_PORT
