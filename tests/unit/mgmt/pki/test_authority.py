"""Certificates are good for their names, their roots and their time only."""

import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from mgmt.pki.authority import CONSOLE_NAME, MGMT_NAME, Authority, vm_name
from mgmt.pki.certificates import names_of
from systemvm.engine.renewal import Renewal
from systemvm.spec.certificate import SignedCertificate

pytestmark = pytest.mark.unit
MACHINE = "11111111-1111-4111-8111-111111111111"
START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authority(tmp_path: Path, clock: Clock) -> Authority:
    return Authority(tmp_path / "pki", clock)


def test_identities_are_kept_and_private(authority: Authority, tmp_path: Path, clock: Clock) -> None:
    first = authority.machine_agent(MACHINE, "169.254.0.7")
    assert names_of(first.certificate) == (vm_name(MACHINE), "169.254.0.7")
    again = Authority(tmp_path / "pki", clock)
    assert again.machine_agent(MACHINE, "169.254.0.7") == first
    assert again.server_ca == authority.server_ca
    assert again.ticket_public_key == authority.ticket_public_key
    files = [path for path in (tmp_path / "pki").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "pki", *files)} == {0}


def test_another_address_gets_another_certificate(authority: Authority) -> None:
    first = authority.machine_agent(MACHINE, "169.254.0.7")
    assert authority.machine_agent(MACHINE, "169.254.0.8") != first


def test_identities_are_renewed_before_they_end(authority: Authority, clock: Clock) -> None:
    first = authority.machine_agent(MACHINE, "169.254.0.7")
    authority.management()
    clock.now = START + timedelta(days=55)
    assert authority.due() == []
    assert authority.machine_agent(MACHINE, "169.254.0.7") == first
    clock.now = START + timedelta(days=65)
    assert authority.due() == [f"machines/{MACHINE}/agent", "mgmt"]
    second = authority.machine_agent(MACHINE, "169.254.0.7")
    assert second.expires() - first.expires() == timedelta(days=65)
    assert authority.due() == ["mgmt"]
    authority.forget_machine(MACHINE)
    assert authority.machine_agent(MACHINE, "169.254.0.7") != second


def test_an_agent_takes_what_the_authority_signs_for_its_own_key(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    first = authority.machine_agent(MACHINE, "169.254.0.7")
    files = tmp_path / "agent.crt", tmp_path / "agent.key"
    for file, text in zip(files, (first.certificate, first.key), strict=True):
        file.write_text(text)
    renewal = Renewal(*files, tmp_path / "kept.pem", time.time)
    request = renewal.request().csr
    signed = authority.renew_machine_agent(request, MACHINE, "169.254.0.7")
    assert names_of(signed) == names_of(first.certificate)
    renewal.take(SignedCertificate(certificate=signed, authority=authority.server_ca))
    authority.management()
    server, client = _contexts(tmp_path / "pki", "mgmt", authority.client_ca)
    renewal.load(server)
    client.load_verify_locations(cadata=authority.server_ca)
    _handshake(server, client, vm_name(MACHINE))
    _handshake(server, client, "169.254.0.7")
    # Another machine's name is signed only for whom we ask ourselves, whatever the request says.
    other = authority.renew_machine_agent(request, MACHINE.replace("1", "2"), "169.254.0.8")
    assert names_of(other) == (vm_name(MACHINE.replace("1", "2")), "169.254.0.8")


def test_only_good_requests_are_signed(authority: Authority) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    large = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    raw = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)
    forged = ssl.DER_cert_to_PEM_cert(raw[:-1] + bytes([raw[-1] ^ 1])).replace(
        " CERTIFICATE", " CERTIFICATE REQUEST"
    )
    for request, words in ((large, "not about an EC key on P-256"), (forged, "not signed"), ("x", "PEM")):
        with pytest.raises(ValueError, match=words):
            authority.renew_host_agent(request, "h", "172.31.240.1")


def test_client_names(authority: Authority) -> None:
    assert names_of(authority.management().certificate) == (MGMT_NAME,)
    assert names_of(authority.console_client().certificate) == (CONSOLE_NAME,)


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """A TLS handshake in memory; raises ssl.SSLError of whichever side refuses."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    sides[0].write(b"x")
    assert sides[1].read(1) == b"x"


def _contexts(folder: Path, certificate: str, trusted: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Server with `machines/…/agent`, client with `certificate`; the server trusts `trusted` clients."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / f"machines/{MACHINE}/agent.pem")
    server.load_verify_locations(cadata=trusted)
    server.verify_mode = ssl.CERT_REQUIRED
    server.verify_flags |= ssl.VERIFY_X509_STRICT
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    client.load_cert_chain(folder / f"{certificate}.pem")
    return server, client


def test_strict_tls_accepts_the_right_pair_and_no_other(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.machine_agent(MACHINE, "169.254.0.7")
    authority.management()
    server, client = _contexts(tmp_path, "mgmt", authority.client_ca)
    client.load_verify_locations(cadata=authority.server_ca)
    _handshake(server, client, "169.254.0.7")
    _handshake(server, client, vm_name(MACHINE))
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        _handshake(server, client, "169.254.0.8")


def test_a_server_certificate_is_no_client(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.machine_agent(MACHINE, "169.254.0.7")
    server, client = _contexts(tmp_path, f"machines/{MACHINE}/agent", authority.client_ca)
    client.load_verify_locations(cadata=authority.server_ca)
    with pytest.raises(ssl.SSLError):
        _handshake(server, client, vm_name(MACHINE))
