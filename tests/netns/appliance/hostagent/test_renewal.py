"""A host's certificate is renewed as mgmt does it: agent and relay show it at once, nothing is cut."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from mgmt.agents.errors import AgentRefused
from mgmt.agents.host import HostAgent, HostEndpoint
from mgmt.agents.tls import Credentials
from systemvm.spec.certificate import SignedCertificate
from tests.netns.host_bench import ADDRESS, HostBench
from tests.netns.topology import Topology
from tests.pki import Authority

pytestmark = pytest.mark.netns
NAME = "host1.pileus.internal"


@pytest.fixture
def host(lab: Topology) -> Iterator[HostBench]:
    bench = HostBench(lab)
    bench.start_agent()
    bench.start_relay()
    yield bench
    bench.close()


@pytest.fixture
def agent(host: HostBench) -> HostAgent:
    pem = host.paths.pki / "mgmt.pem"
    pem.write_text("".join(file.read_text() for file in host.mgmt_files))
    endpoint = HostEndpoint(id=host.host, name="host1", address=ADDRESS, server_name=NAME)
    return HostAgent(endpoint, Credentials(host.servers.pem, lambda: pem))


def renew(host: HostBench, agent: HostAgent, authority: Authority | None = None) -> str:
    """Serial of the certificate that was taken."""
    by = authority or host.servers
    signed = by.sign(agent.request_certificate().csr, NAME)
    return agent.put_certificate(SignedCertificate(certificate=signed, authority=by.pem)).serial


def test_renewed_without_a_cut_and_still_there_after_a_restart(host: HostBench, agent: HostAgent) -> None:
    with host.machine.entered():
        first = agent.certificate()
        assert agent.relay_certificate() == first
    with _tunnel(host) as tunnel, host.machine.entered():
        with pytest.raises(AgentRefused, match="it did not sign the certificate in use"):
            renew(host, agent, Authority("servers"))
        assert agent.certificate() == agent.relay_certificate() == first
        second = renew(host, agent)
        assert second != first.serial
        assert (agent.certificate().serial, agent.relay_certificate().serial) == (second, second)
        # The tunnel that was open before still answers, with what it was opened with.
        tunnel.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert tunnel.recv(4096).startswith(b"HTTP/1.1 405")
        assert (tunnel.getpeercert() or {})["serialNumber"] == first.serial
    host.stop_agent()
    host.start_agent()
    with host.machine.entered():
        assert agent.certificate().serial == second
    _bring(host, age=1)
    with host.machine.entered():
        newest = agent.certificate().serial
        assert newest not in (first.serial, second)
        assert agent.relay_certificate().serial == newest


def test_half_a_change_of_the_files_is_no_change(host: HostBench, agent: HostAgent) -> None:
    """As when the launcher has written the certificate and not yet its key."""
    with host.machine.entered():
        first = agent.certificate()
    key = Path(host.config.key)
    before = key.read_text()
    _bring(host, age=1)
    after = key.read_text()
    key.write_text(before)
    with host.machine.entered():
        assert agent.certificate() == agent.relay_certificate() == first
    key.write_text(after)
    with host.machine.entered():
        assert agent.certificate().serial == agent.relay_certificate().serial != first.serial


def _bring(host: HostBench, age: int) -> None:
    """What `pileus up` writes when the certificate is due."""
    host.servers.issue(NAME, age=age).write(host.paths.pki, "host")


def _tunnel(host: HostBench) -> ssl.SSLSocket:
    with host.machine.entered():
        plain = socket.create_connection((ADDRESS, host.config.tunnel_port), timeout=10)
    return host.trust(host.mgmt_files).wrap_socket(plain, server_hostname=NAME)
