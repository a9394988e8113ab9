"""All problems of the storage section: addresses, certificate and key, networks, template sources."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Network
from urllib.parse import urlsplit

from systemvm.engine.certificates import pair_mistake
from systemvm.engine.ticket import is_public_key
from systemvm.spec.appliances import Storage, TemplateSource
from systemvm.spec.state import State
from systemvm.spec.types import Problem

#: Hex digits of each checksum.
DIGITS = {"md5": 32, "sha256": 64, "sha512": 128}


def check(state: State) -> list[Problem]:
    """See systemvm.engine.service."""
    storage = state.storage
    if storage is None:
        return []
    problems = [*_check_server(storage, state), *_check_networks(storage)]
    seen: dict[str, int] = {}
    for index, source in enumerate(storage.templates):
        path = f"storage.templates[{index}]"
        if (first := seen.setdefault(source.id, index)) != index:
            problems.append(Problem(path=f"{path}.id", message=f"{source.id} is also templates[{first}]"))
        problems += _check_source(path, source)
    return problems


def _check_server(storage: Storage, state: State) -> Iterator[Problem]:
    own = {cidr.partition("/")[0] for nic in state.interfaces.nics for cidr in nic.addresses}
    for name, address in (("address", storage.address), ("public", storage.public)):
        if address is not None and address not in own:
            message = f"{address} is no address of this machine: add it to a NIC of interfaces"
            yield Problem(path=f"storage.{name}", message=message)
    if mistake := pair_mistake(storage.certificate, storage.key):
        yield Problem(path="storage.certificate", message=mistake)
    if not is_public_key(storage.ticket_key):
        yield Problem(path="storage.ticket_key", message="it is no Ed25519 public key in PEM")


def _check_networks(storage: Storage) -> Iterator[Problem]:
    for index, cidr in enumerate(storage.allowed_networks):
        try:
            IPv4Network(cidr)
        except ValueError as error:
            yield Problem(path=f"storage.allowed_networks[{index}]", message=f"{cidr}: {error}")


def _check_source(path: str, source: TemplateSource) -> Iterator[Problem]:
    if source.url and not _is_reachable(source.url):
        yield Problem(path=f"{path}.url", message="only http and https URLs with a host are downloaded")
    if source.copy_of and (source.url or source.copy_of == source.id):
        yield Problem(path=f"{path}.copy_of", message="a copy has no URL, and is of another one")
    if source.checksum:
        algorithm, _, digits = source.checksum.partition(":")
        if not re.fullmatch(rf"[0-9a-f]{{{DIGITS.get(algorithm, 0)}}}", digits) or not digits:
            known = ", ".join(DIGITS)
            message = f"{source.checksum} is no checksum: write <algorithm>:<hex>, lower case, of {known}"
            yield Problem(path=f"{path}.checksum", message=message)


def _is_reachable(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
