"""The DNS domain of a network's guests: a parameter of networks, and of accounts and domains for theirs."""

import re
from typing import Annotated

from mgmt.api.params import wrong_value

NAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")
NetworkDomain = Annotated[
    str | None, "the DNS domain of networks that are made without one; empty for the zone's"
]


def read_network_domain(text: str | None) -> str | None:
    """A DNS domain in lower case, None for none. Raises `ParameterError`."""
    if not text:
        return None
    if not NAME.match(text):
        raise wrong_value("networkdomain", text, "a DNS domain, as shop.example.org")
    return text.lower()
