"""Console: every mistake named, keys only in files of the proxy's user, sessions counted and bounded."""

import json
import ssl
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from systemvm.engine.service import Rendering
from systemvm.engine.testing import RecordedDaemons, recorded_doors
from systemvm.services.console import SERVICE
from systemvm.services.console.reads import read_sessions
from systemvm.services.console.sessions import Sessions, TooManySessions
from systemvm.services.console.settings import Settings, files_of
from systemvm.spec.appliances import Console, HostEndpoint
from systemvm.spec.network import Interfaces, Nic
from systemvm.spec.state import State
from systemvm.spec.ticket import Ticket, TicketPurpose
from systemvm.spec.types import Purpose, Role
from tests.pki import Authority
from tests.tickets import Signer

pytestmark = pytest.mark.unit
AUTHORITY, SIGNER = Authority("servers"), Signer()
SERVER, CLIENT = AUTHORITY.issue("console.pileus.internal"), AUTHORITY.issue("client")
HOST = HostEndpoint(host=str(UUID(int=7)), name="host-1", address="10.9.0.2", port=8447)


def state_of(**changes: object) -> State:
    nic = Nic(mac="02:00:00:00:00:01", name="eth2", purpose=Purpose.public, addresses=("198.51.100.1/24",))
    console = Console(
        address="198.51.100.1",
        certificate=SERVER.certificate,
        key=SERVER.key,
        ticket_key=SIGNER.public,
        client_certificate=CLIENT.certificate,
        client_key=CLIENT.key,
        server_ca=AUTHORITY.pem,
        hosts=(HOST,),
    )
    return State(
        generation=1,
        machine=str(UUID(int=1)),
        role=Role.console,
        hostname="v-1-vm",
        interfaces=Interfaces(nics=(nic,)),
        console=msgspec.structs.replace(console, **changes),
    )


def ticket(number: int) -> Ticket:
    return Ticket(
        purpose=TicketPurpose.console,
        subject=str(UUID(int=number)),
        host="h",
        nonce=str(UUID(int=1)),
        expires=9,
    )


def test_a_good_document() -> None:
    assert SERVICE.check(state_of()) == []


def test_every_mistake_is_named_at_once() -> None:
    wrong = msgspec.structs.replace(HOST, address="10.9.0.256")
    problems = SERVICE.check(
        state_of(
            address="198.51.100.2",
            key=CLIENT.key,
            client_certificate="none",
            server_ca="none",
            ticket_key=AUTHORITY.pem,
            hosts=(HOST, wrong),
        )
    )
    assert [problem.path.removeprefix("console.") for problem in problems] == [
        "certificate",
        "client_certificate",
        "server_ca",
        "ticket_key",
        "hosts[1].host",
        "hosts[1].address",
        "address",
    ]


def test_keys_are_the_proxys_alone_and_no_argument_is_secret() -> None:
    rendering = SERVICE.render(state_of())
    assert {(file.mode, file.owner) for file in rendering.files} == {(0o400, "nobody")}
    (daemon,) = rendering.daemons
    assert "PRIVATE" not in " ".join(daemon.argv)
    settings = next(file for file in rendering.files if file.path.endswith("proxy.json"))
    assert "PRIVATE" not in settings.text


def test_another_certificate_is_the_same_process_and_another_port_is_not() -> None:
    plain, renewed, moved = (
        SERVICE.render(state_of(**changes)).daemons
        for changes in ({}, {"certificate": CLIENT.certificate, "key": CLIENT.key}, {"port": 8443})
    )
    assert plain == renewed
    assert plain != moved


def test_apply_starts_then_reloads(tmp_path: Path) -> None:
    doors, rendering = recorded_doors(tmp_path), SERVICE.render(state_of())
    assert isinstance(doors.daemons, RecordedDaemons)
    SERVICE.apply(rendering, Rendering(), doors)
    SERVICE.apply(rendering, rendering, doors)
    SERVICE.apply(Rendering(), rendering, doors)
    assert doors.daemons.calls == [("start", "console"), ("reload", "console")]


def test_settings_load_what_was_rendered(tmp_path: Path) -> None:
    console = state_of().console
    assert console is not None
    for name, text in files_of(console).items():
        (tmp_path / name).write_text(text)
    settings = Settings(tmp_path)
    assert settings.hosts == {HOST.host: HOST}
    assert settings.browsers.minimum_version is ssl.TLSVersion.TLSv1_3
    assert settings.relays.verify_mode is ssl.CERT_REQUIRED


def test_sessions_are_bounded_and_written_down(tmp_path: Path) -> None:
    path = tmp_path / "run/pileus/console/sessions.json"
    doors, sessions = recorded_doors(tmp_path), Sessions(path, limit=2)
    assert read_sessions(doors) == []
    with sessions.opened(ticket(2), "192.0.2.1") as first, sessions.opened(ticket(3), "192.0.2.2"):
        first.sent += 10
        with pytest.raises(TooManySessions, match="all 2 sessions"), sessions.opened(ticket(4), "192.0.2.3"):
            pass
        sessions._write()
        listed = read_sessions(doors)
        assert [(row["vm"], row["sent"]) for row in listed] == [(str(UUID(int=2)), 10), (str(UUID(int=3)), 0)]
    assert sessions.listed() == []
    assert json.loads(path.read_text()) == listed


def test_no_file_is_no_session(tmp_path: Path) -> None:
    assert read_sessions(recorded_doors(tmp_path)) == []
