"""Agents of a simulated cloud as they are spoken to: looked for at every question."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from mgmt.agents.certificates import Shown
from mgmt.agents.errors import AgentNotFound
from mgmt.agents.host import HostEndpoint
from mgmt.agents.machine import Applied, MachineEndpoint, MachineHealth
from mgmt.drivers.simulated_host import places_of
from mgmt.drivers.simulated_identity import ENDLESS, SimulatedIdentity
from mgmt.drivers.simulated_machine import SimulatedMachine
from systemvm.spec.certificate import CertificateRequest, CertificateTaken, SignedCertificate
from systemvm.spec.state import State

if TYPE_CHECKING:
    from mgmt.drivers.simulator import Simulator

T = TypeVar("T")


class Reached:
    """`MachineAgent` that looks for its machine at every question: machines come and go."""

    def __init__(self, simulator: "Simulator", endpoint: MachineEndpoint) -> None:
        self._simulator = simulator
        self._endpoint = endpoint

    def put_state(self, state: State) -> Applied:
        """See MachineAgent."""
        with self._met("put_state") as machine:
            return machine.put_state(state)

    def health(self) -> MachineHealth:
        """See MachineAgent."""
        with self._met("health") as machine:
            return machine.health()

    def read(self, path: str, kind: type[T]) -> T:
        """See MachineAgent."""
        with self._met("read") as machine:
            return machine.read(path, kind)

    def certificate(self) -> Shown:
        """See Certified."""
        with self._met("certificate") as machine:
            return machine.certificate()

    def request_certificate(self) -> CertificateRequest:
        """See Certified."""
        with self._met("request_certificate") as machine:
            return machine.request_certificate()

    def put_certificate(self, signed: SignedCertificate) -> CertificateTaken:
        """See Certified."""
        with self._met("put_certificate") as machine:
            return machine.put_certificate(signed)

    @contextmanager
    def _met(self, call: str) -> Iterator[SimulatedMachine]:
        machine = self._simulator.reach(self._endpoint)
        with self._simulator.faults.met(f"machine.{call}", places_of(self._endpoint.host)):
            yield machine


class ReachedCertificates:
    """`HostCertificates` of a host that may have none: then it shows one that never ends."""

    def __init__(self, simulator: "Simulator", endpoint: HostEndpoint) -> None:
        self._simulator = simulator
        self._endpoint = endpoint

    def certificate(self) -> Shown:
        """See Certified."""
        identity = self._simulator.host(self._endpoint).identity
        return identity.shown() if identity else ENDLESS

    def relay_certificate(self) -> Shown:
        """See HostCertificates."""
        return self._simulator.host(self._endpoint).relay or self.certificate()

    def request_certificate(self) -> CertificateRequest:
        """See Certified."""
        self._simulator.faults.meet("request_certificate", places_of(self._endpoint))
        return self._identity().request()

    def put_certificate(self, signed: SignedCertificate) -> CertificateTaken:
        """See Certified."""
        return self._identity().take(signed)

    def _identity(self) -> SimulatedIdentity:
        identity = self._simulator.host(self._endpoint).identity
        if identity is None:
            raise AgentNotFound(f"host {self._endpoint.name}", "this simulated host has no certificate")
        return identity
