"""What existing connections are judged by when rules change: plain data that compares."""

from dataclasses import dataclass, field

from systemvm.services.nftables.layout import Layout
from systemvm.spec.network import Nftables


@dataclass(frozen=True)
class Policy:
    """The section, and what it needs to know of the others."""

    section: Nftables = field(default_factory=Nftables)
    layout: Layout = field(default_factory=Layout)
