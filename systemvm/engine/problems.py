"""Collects the problems of a document: parses what it can, notes what it cannot, never stops at the first."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from systemvm.spec.bootstrap import CONTROL_LINK
from systemvm.spec.network import Nic
from systemvm.spec.state import State
from systemvm.spec.types import Problem

LINK_LOCAL = IPv4Network("169.254.0.0/16")


class Problems:
    """A list of problems under one section; paths are given relative to it.

    The parsers return None for a bad value, after they noted why.
    """

    def __init__(self, section: str) -> None:
        self._section = section
        self.found: list[Problem] = []

    def add(self, path: str, message: str) -> None:
        """Note a problem at `path` (`nics[0].mac`)."""
        self.found.append(Problem(path=f"{self._section}.{path}", message=message))

    def address(self, path: str, value: str) -> IPv4Address | None:
        """An IPv4 address."""
        try:
            return IPv4Address(value)
        except ValueError:
            self.add(path, f"{value} is not an IPv4 address")
            return None

    def interface(self, path: str, value: str) -> IPv4Interface | None:
        """An address with its prefix length, host bits and all."""
        try:
            return IPv4Interface(value)
        except ValueError:
            self.add(path, f"{value} is not an IPv4 address with a prefix length of 0 to 32")
            return None

    def network(self, path: str, value: str) -> IPv4Network | None:
        """A network; host bits must be zero."""
        try:
            return IPv4Network(value)
        except ValueError:
            loose = self._loose_network(value)
            hint = f"; the network is {loose}" if loose else ""
            self.add(path, f"{value} is not an IPv4 network{hint}")
            return None

    def link(self, path: str, name: str, nics: dict[str, Nic]) -> Nic | None:
        """The NIC of the document that has this name."""
        if name in nics:
            return nics[name]
        known = ", ".join(nics) or "none"
        why = "is the link-local NIC" if name == CONTROL_LINK else "is not a NIC of this document"
        self.add(path, f"{name} {why}; there are: {known}")
        return None

    @staticmethod
    def _loose_network(value: str) -> IPv4Network | None:
        try:
            return IPv4Network(value, strict=False)
        except ValueError:
            return None


def nics_by_name(state: State) -> dict[str, Nic]:
    """The document's NICs by name, in its order."""
    return {nic.name: nic for nic in state.interfaces.nics}


def addresses_of(nic: Nic) -> list[IPv4Interface]:
    """The valid addresses of a NIC; invalid ones are the interfaces service's to report."""
    parsed = []
    for value in nic.addresses:
        try:
            parsed.append(IPv4Interface(value))
        except ValueError:
            continue
    return parsed
