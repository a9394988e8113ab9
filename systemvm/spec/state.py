"""The one document of a system VM: everything it should be, replaced whole by `PUT /v1/state`.

A section that is absent means that the service is off. There are no deltas and no remove flags.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from systemvm.spec.appliances import Console, Storage
from systemvm.spec.network import Dnsmasq, Haproxy, Interfaces, Keepalived, Metadata, Nftables
from systemvm.spec.types import Label, Role, Uuid

VERSION = 1


class State(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Desired state of one system VM; `generation` grows by one with every change mgmt compiles.

    The names of the sections are the names of the services.
    """

    version: Literal[1] = 1
    generation: Annotated[int, Meta(ge=1)]
    machine: Uuid
    role: Role
    hostname: Label
    interfaces: Interfaces = Interfaces()
    nftables: Nftables | None = None
    dnsmasq: Dnsmasq | None = None
    metadata: Metadata | None = None
    haproxy: Haproxy | None = None
    keepalived: Keepalived | None = None
    console: Console | None = None
    storage: Storage | None = None
