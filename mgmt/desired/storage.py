"""The document of a storage VM: which templates it keeps, and from where it may fetch them."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from urllib.parse import urlsplit

from msgspec import structs

from mgmt.desired.inputs import Link, Machine
from mgmt.desired.links import service_interfaces
from systemvm.spec.appliances import ImageFormat, Storage, TemplateSource
from systemvm.spec.network import Nftables
from systemvm.spec.state import State
from systemvm.spec.types import Purpose, Role


@dataclass(frozen=True, kw_only=True)
class Template:
    """A template of the zone. `is_trusted`: an operator registered it and it is still being fetched.

    Without `url` it is uploaded, or it is what `copy_of` is; `max_bytes` (0: the usual) must never change.
    """

    id: str
    url: str
    format: str
    checksum: str = ""
    authorities: str = ""
    is_trusted: bool = False
    copy_of: str | None = None
    max_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class StorageKeys:
    """PEMs: what hosts see, and what verifies their tickets."""

    certificate: str
    key: str
    ticket_key: str


def compile_storage(
    machine: Machine,
    links: Sequence[Link],
    keys: StorageKeys,
    templates: Sequence[Template],
    allowed_networks: Sequence[str] = (),
    resolvers: Sequence[str] = (),
) -> State:
    """Everything a storage VM should be.

    It refuses private addresses, so that tenants cannot make it look at the cloud's own networks. An
    operator's URL may name one by number, and that one address is open for as long as the download lasts.
    """
    trusted = {network for template in templates if template.is_trusted for network in _host(template.url)}
    return State(
        generation=machine.generation,
        machine=machine.id,
        role=Role.storage,
        hostname=machine.name,
        interfaces=service_interfaces(links, resolvers),
        # Default drop: only what this very document serves is opened.
        nftables=Nftables(),
        storage=Storage(
            address=_management_address(links),
            public=next(
                (link.address for link in links if link.purpose == Purpose.public and link.address), None
            ),
            certificate=keys.certificate,
            key=keys.key,
            ticket_key=keys.ticket_key,
            allowed_networks=tuple(sorted({*allowed_networks, *trusted})),
            templates=tuple(
                _source(template) for template in sorted(templates, key=lambda template: template.id)
            ),
        ),
    )


def _source(template: Template) -> TemplateSource:
    source = TemplateSource(
        id=template.id,
        url=template.url,
        format=ImageFormat(template.format.lower()),
        checksum=template.checksum,
        authorities=template.authorities,
        copy_of=template.copy_of,
    )
    return structs.replace(source, max_bytes=template.max_bytes) if template.max_bytes else source


def _host(url: str) -> tuple[str, ...]:
    try:
        return (f"{IPv4Address(urlsplit(url).hostname or '')}/32",)
    except AddressValueError:
        return ()


def _management_address(links: Sequence[Link]) -> str:
    return next(link.address for link in links if link.purpose == Purpose.management and link.address)
