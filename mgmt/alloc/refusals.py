"""Why no host takes a VM, in one sentence that helps: what was wanted, what is there, who lacks what."""

from collections.abc import Sequence
from dataclasses import dataclass

#: Hosts that a sentence names; the others are counted.
MOST_NAMED = 5
_MIB_PER_GB = 1024


@dataclass(frozen=True, kw_only=True)
class HostView:
    """A host as a VM's demand sees it; memory in MiB. `obstacle` says why room there would not help."""

    name: str
    obstacle: str
    most_cpus: int
    free_cpus: int
    most_memory: int
    free_memory: int


def why_none(hosts: Sequence[HostView], cpus: int, memory: int, zone: str, *, is_tied: bool) -> str:
    """The sentence: `no host with 4 GB free in zone z1: 3 hosts, largest free 2.5 GB on h2; h3 is Down`."""
    if not hosts:
        return f"no host for the VM in zone {zone}: there is none; add one with addHost"
    open_hosts = [host for host in hosts if not host.obstacle]
    count = "1 host" if len(hosts) == 1 else f"{len(hosts)} hosts"
    if is_tied:
        count += ", to which its disks or its owner tie it"
    details = _named([f"{host.name} {why}" for host in hosts if (why := _why(host, cpus, memory))])
    if not open_hosts:
        return f"no host for the VM in zone {zone}: {count}; {details}"
    roomy = max(open_hosts, key=lambda host: host.free_memory)
    if roomy.free_memory < memory:
        largest = f"largest free {words(roomy.free_memory)} on {roomy.name}"
        return f"no host with {words(memory)} free in zone {zone}: {count}, {largest}; {details}"
    fast = max(open_hosts, key=lambda host: host.free_cpus)
    if fast.free_cpus < cpus:
        most = f"most free {fast.free_cpus} on {fast.name}"
        return f"no host with {cpus} free virtual CPUs in zone {zone}: {count}, {most}; {details}"
    both = f"{words(memory)} and {cpus} virtual CPUs"
    return f"no host with {both} free together in zone {zone}: {count}; {details}"


def words(mib: int) -> str:
    """Memory for people: `512 MB`, `2.5 GB`."""
    if abs(mib) < _MIB_PER_GB:
        return f"{mib} MB"
    return f"{mib / _MIB_PER_GB:.1f}".removesuffix(".0") + " GB"


def _why(host: HostView, cpus: int, memory: int) -> str:
    if host.obstacle:
        return host.obstacle
    if host.free_memory < memory:
        return f"has {words(max(host.free_memory, 0))} of {words(host.most_memory)} free"
    if host.free_cpus < cpus:
        return f"has {max(host.free_cpus, 0)} of {host.most_cpus} virtual CPUs free"
    return ""


def _named(refusals: Sequence[str]) -> str:
    more = len(refusals) - MOST_NAMED
    named = ", ".join(refusals[:MOST_NAMED])
    return f"{named} and {more} more" if more > 0 else named
