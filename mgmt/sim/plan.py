"""How large a simulated cloud is, and where in it everything is: arithmetic only."""

from dataclasses import dataclass
from math import ceil

#: VMs of one network: as many as leave room in a /24.
VMS_OF_NETWORK = 100
#: A simulated host has room for these and some more.
MOST_VMS_OF_HOST = 40
HOSTS_OF_POD = 200
ACCOUNTS_OF_DOMAIN = 100
#: Every so many VMs one is stopped.
STOPPED_EVERY = 10
#: Public addresses that nobody has yet.
SPARE_ADDRESSES = 200
#: Pods have one of 64 × 256 networks each (100.64.0.0/10), public addresses are of one /15 (198.18.0.0/15).
MOST_HOSTS = 100_000
MOST_VMS = 1_000_000


class WrongSize(ValueError):
    """A size that a simulated cloud cannot have."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Sizes; `networks` and `accounts` of 0 are as few as the VMs need. Data disks come on top of the root
    disks, one for each VM in turn."""

    hosts: int
    vms: int
    networks: int = 0
    accounts: int = 0
    data_disks: int = 0

    def check(self) -> None:
        """Raise WrongSize for what does not fit."""
        if not 1 <= self.hosts <= MOST_HOSTS:
            raise WrongSize(f"hosts={self.hosts}: choose 1 to {MOST_HOSTS}")
        if not 0 <= self.vms <= min(MOST_VMS, self.hosts * MOST_VMS_OF_HOST):
            most = self.hosts * MOST_VMS_OF_HOST
            raise WrongSize(f"vms={self.vms}: {self.hosts} hosts have room for {most}; take more hosts")

    @property
    def used_networks(self) -> int:
        """Networks that have VMs, and therefore a router; the others are rows only."""
        return ceil(self.vms / VMS_OF_NETWORK)

    @property
    def all_networks(self) -> int:
        """All networks."""
        return max(self.networks, self.used_networks)

    @property
    def all_accounts(self) -> int:
        """All accounts of tenants."""
        return self.accounts or max(self.used_networks, 1)

    @property
    def domains(self) -> int:
        """Domains of tenants."""
        return ceil(self.all_accounts / ACCOUNTS_OF_DOMAIN)

    @property
    def pods(self) -> int:
        """Pods, with a cluster each."""
        return ceil(self.hosts / HOSTS_OF_POD)

    def host_of(self, vm: int) -> int:
        """The host of a VM: neighbours share one, so that a network is on few hosts."""
        return vm * self.hosts // max(self.vms, self.hosts)

    def is_running(self, vm: int) -> bool:
        """Whether a VM runs; the others were stopped."""
        return vm % STOPPED_EVERY != STOPPED_EVERY - 1
