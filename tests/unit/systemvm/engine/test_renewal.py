"""A renewed certificate is checked before it is taken, kept whole, and holds while it is the newer one."""

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from systemvm.engine.certificates import names, pair_mistake, serial
from systemvm.engine.errors import InvalidDocument
from systemvm.engine.renewal import NoRequest, Renewal
from systemvm.spec.certificate import SignedCertificate
from tests.pki import Authority

pytestmark = pytest.mark.unit
NAMES = ("r-4-vm.pileus.internal", "also.pileus.internal")
DAY = 86400.0


class Bench:
    """A machine with a first certificate; `now` is its clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority("servers")
        self.now = time.time()
        self.bring()
        self.renewal = self.restarted()

    @property
    def kept(self) -> Path:
        return self.folder / "state" / "certificate.pem"

    def bring(self, **options: Any) -> None:
        """The first certificate, or another one in its place, as a new config disk has it."""
        pair = self.authority.issue(*NAMES, **options)
        pair.write(self.folder, "first")
        self.first = pair.certificate

    def restarted(self) -> Renewal:
        return Renewal(self.folder / "first.crt", self.folder / "first.key", self.kept, lambda: self.now)

    def signed(self, certificate: str, authority: Authority | None = None) -> SignedCertificate:
        return SignedCertificate(certificate=certificate, authority=(authority or self.authority).pem)

    def renew(self) -> str:
        certificate = self.authority.sign(self.renewal.request().csr, *NAMES)
        self.renewal.take(self.signed(certificate))
        return certificate

    def shown(self) -> str:
        """Serial of what a server would show that starts now, from a handshake in memory."""
        server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.restarted().load(server)
        client.load_verify_locations(cadata=self.authority.pem)
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        sides = [
            client.wrap_bio(to_client, to_server, server_hostname=NAMES[0]),
            server.wrap_bio(to_server, to_client, server_side=True),
        ]
        for _ in range(3):
            for side in sides:
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        return str((sides[0].getpeercert() or {})["serialNumber"])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_request_has_the_names_and_another_key_each_time(bench: Bench) -> None:
    first, second = bench.renewal.request(), bench.renewal.request()
    assert first.csr != second.csr
    assert names(bench.authority.sign(second.csr, *NAMES)) == names(bench.first)
    assert not bench.kept.exists()


def test_renewed_again_and_again_and_kept_privately(bench: Bench) -> None:
    assert bench.shown() == serial(bench.first)
    for _ in range(2):
        stamp = bench.renewal.stamp()
        certificate = bench.renew()
        assert bench.renewal.stamp() != stamp
        assert bench.shown() == serial(certificate)
    assert bench.kept.stat().st_mode & 0o777 == 0o600
    _, mark, rest = bench.kept.read_text().partition("-----BEGIN PRIVATE KEY-----")
    assert pair_mistake(certificate, mark + rest) == ""
    assert (bench.folder / "first.crt").read_text() == bench.first


def test_nothing_is_taken_without_a_request_or_twice(bench: Bench) -> None:
    certificate = bench.authority.sign(bench.renewal.request().csr, *NAMES)
    with pytest.raises(NoRequest, match="POST /v1/certificate/request first"):
        bench.restarted().take(bench.signed(certificate))
    bench.renewal.take(bench.signed(certificate))
    with pytest.raises(NoRequest):
        bench.renewal.take(bench.signed(certificate))


Case = Callable[[Bench, str], tuple[SignedCertificate, list[tuple[str, str]]]]


def _another_authority(bench: Bench, csr: str) -> tuple[SignedCertificate, list[tuple[str, str]]]:
    other = Authority("servers")  # of the same name, with another key
    problems = [
        ("authority", "it did not sign the certificate in use: the signature is of another key"),
    ]
    return bench.signed(other.sign(csr, *NAMES), other), problems


def _not_by_the_authority(bench: Bench, csr: str) -> tuple[SignedCertificate, list[tuple[str, str]]]:
    signed = bench.signed(Authority("servers").sign(csr, *NAMES))
    return signed, [("certificate", "the authority did not sign it: the signature is of another key")]


def _another_name(bench: Bench, csr: str) -> tuple[SignedCertificate, list[tuple[str, str]]]:
    words = "its names are x.internal; they must stay also.pileus.internal, r-4-vm.pileus.internal"
    return bench.signed(bench.authority.sign(csr, "x.internal")), [("certificate", words)]


def _another_key(bench: Bench, csr: str) -> tuple[SignedCertificate, list[tuple[str, str]]]:
    signed = bench.signed(bench.authority.issue(*NAMES).certificate)
    return signed, [("certificate", "it is for another key than the one of the last request")]


def _not_for_servers(bench: Bench, csr: str) -> tuple[SignedCertificate, list[tuple[str, str]]]:
    signed = bench.signed(bench.authority.sign(csr, *NAMES, is_server=False))
    return signed, [("certificate", "it is not for servers (extended key usage serverAuth)")]


def _no_pem(bench: Bench, csr: str) -> tuple[SignedCertificate, list[tuple[str, str]]]:
    signed = SignedCertificate(certificate=csr, authority="hello")
    return signed, [(path, "it is no certificate in PEM") for path in ("certificate", "authority")]


@pytest.mark.parametrize(
    "case",
    [_another_authority, _not_by_the_authority, _another_name, _another_key, _not_for_servers, _no_pem],
)
def test_what_is_refused_changes_nothing(bench: Bench, case: Case) -> None:
    signed, problems = case(bench, bench.renewal.request().csr)
    with pytest.raises(InvalidDocument) as refused:
        bench.renewal.take(signed)
    assert [(problem.path, problem.message) for problem in refused.value.problems] == problems
    assert not bench.kept.exists()
    assert bench.shown() == serial(bench.first)


def test_an_expired_one_with_another_name_has_two_problems(bench: Bench) -> None:
    certificate = bench.authority.sign(bench.renewal.request().csr, "x.internal", expired=True)
    with pytest.raises(InvalidDocument) as refused:
        bench.renewal.take(bench.signed(certificate))
    first, second = (problem.message for problem in refused.value.problems)
    assert first.startswith("its names are x.internal")
    assert second.startswith("it is valid from ")
    assert second.endswith("and now is not between")


def test_the_first_one_holds_again_when_it_is_newer_or_the_other_is_of_no_use(bench: Bench) -> None:
    renewed = bench.renew()
    text = bench.kept.read_text()
    bench.now += 2 * DAY
    assert bench.shown() == serial(bench.first)  # the renewed one has expired
    bench.now -= 2 * DAY
    for broken in ("", "{}\n", text[: len(text) // 2], text.replace("PRIVATE", "PUBLIC")):
        bench.kept.write_text(broken)
        assert bench.shown() == serial(bench.first)
    bench.kept.write_text(text)
    assert bench.shown() == serial(renewed)
    bench.bring(age=1)
    assert bench.shown() == serial(bench.first)


def test_an_older_first_certificate_does_not_win(bench: Bench) -> None:
    """A config disk of before the renewal that differs from the one of that moment, or an expired one."""
    renewed = bench.renew()
    bench.bring(age=3)
    assert bench.shown() == serial(renewed)
    bench.bring(expired=True, age=2)
    assert bench.shown() == serial(renewed)
