"""Sections of the console proxy's and the storage VM's documents."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from systemvm.spec.types import Cidr, Ipv4, Port, Secret, Uuid


class HostEndpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a host agent relays consoles: TLS, server name `name`."""

    host: Uuid
    name: str
    address: Ipv4
    port: Port


class Console(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The console proxy.

    Browsers reach noVNC and the websocket at `https://address:port/`. A ticket (see
    `systemvm.spec.ticket`) says which VM on which host; the proxy opens TLS to that host's relay with
    `client_certificate`. All keys and certificates are PEM; `ticket_key` is mgmt's public key.
    """

    address: Ipv4
    port: Port = 443
    certificate: str
    key: Secret
    ticket_key: str
    client_certificate: str
    client_key: Secret
    server_ca: str
    hosts: tuple[HostEndpoint, ...] = ()


class ImageFormat(StrEnum):
    """Disk formats a template may declare; `iso` is a CD image."""

    qcow2 = "qcow2"
    raw = "raw"
    iso = "iso"


class TemplateSource(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A template that must be present: downloaded from `url` unless it already is.

    Snapshots and uploaded volumes are kept as templates are. `copy_of` names another one in the same storage
    VM that this one is a copy of. With neither `url` nor `copy_of` it is sent here (`uploads.py` says how).
    `authorities` (PEM) verify the server, instead of those that the machine trusts.
    `checksum` is `sha256:<hex>`, `sha512:<hex>` or `md5:<hex>`; empty means unverified. What is compressed
    with gzip, bzip2, xz or zstd is unpacked; the checksum is that of the compressed file. `max_bytes` bounds
    the download, what is unpacked, and the virtual size.
    """

    id: Uuid
    url: str = ""
    copy_of: Uuid | None = None
    format: ImageFormat
    checksum: str = ""
    authorities: str = ""
    max_bytes: Annotated[int, Meta(ge=1)] = 50 * 1024**3


class TemplateState(StrEnum):
    """How far a template is."""

    waiting = "waiting"
    downloading = "downloading"
    checking = "checking"
    ready = "ready"
    failed = "failed"


class TemplateStatus(Struct, frozen=True, kw_only=True):
    """Progress of one template; sizes are bytes, `percent` is 0 to 100.

    `error` is why it failed; of one that is waiting, why it waits: it is tried again by itself.
    """

    id: Uuid
    state: TemplateState
    percent: int = 0
    size: int = 0
    virtual_size: int = 0
    sha256: str = ""
    error: str = ""


class Storage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The storage VM.

    Templates live on the VM's data disk (the virtio disk with serial `pileus-data`, formatted once).
    Hosts pull `https://address:port/v1/templates/<id>?ticket=…` with a signed ticket, and send to
    `/v1/uploads/<id>`. Users outside do at `https://public:public_port`, if there is a `public` address, what
    `services/storage/public.py` says. Downloads refuse private ranges except those in `allowed_networks`.
    """

    address: Ipv4
    port: Port = 8444
    public: Ipv4 | None = None
    public_port: Port = 443
    certificate: str
    key: Secret
    ticket_key: str
    allowed_networks: tuple[Cidr, ...] = ()
    templates: tuple[TemplateSource, ...] = ()
