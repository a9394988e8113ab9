"""Metadata: every mistake named, no secret told, the right answers to the right address."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from msgspec.structs import replace
from werkzeug.test import TestResponse

from systemvm.engine.service import File, Rendering
from systemvm.services.metadata import SERVICE
from systemvm.services.metadata.app import create_app
from systemvm.services.metadata.guests import Guests
from systemvm.services.metadata.passwords import TakenPasswords
from systemvm.spec.network import Balancer, GuestMetadata, Haproxy, Metadata
from tests.unit.golden import assert_golden
from tests.unit.systemvm.services.router_state import GUEST_A, METADATA, PASSWORD, router_state, told, uuid

pytestmark = pytest.mark.unit
GOLDEN = Path(__file__).parent / "golden"
A, B, STRANGER, OWN = "10.1.1.10", "10.1.1.11", "10.1.1.99", "10.1.1.1"


def problems_of(**changes: object) -> dict[str, str]:
    return told(SERVICE.check(router_state(metadata=replace(METADATA, **changes))))


def rendered() -> File:
    (file,) = SERVICE.render(router_state()).files
    return file


def test_the_rendered_file_is_the_golden_one() -> None:
    assert (rendered().mode, rendered().owner) == (0o400, "www-data")
    assert_golden(rendered(), GOLDEN / "guests.json")


def test_no_interface_means_off() -> None:
    assert SERVICE.render(router_state(metadata=Metadata())) == Rendering()


def test_every_address_of_the_interface_is_served_and_no_secret_is_in_the_argv() -> None:
    guest = router_state().interfaces.nics[1]
    nics = (router_state().interfaces.nics[0], replace(guest, addresses=("10.1.1.1/24", "10.1.1.2/24")))
    state = router_state(interfaces=replace(router_state().interfaces, nics=nics))
    argv = SERVICE.render(state).daemons[0].argv
    listens = [word for word in argv if word.startswith("--listen")]
    assert listens == [
        "--listen=10.1.1.1:80",
        "--listen=10.1.1.1:8080",
        "--listen=10.1.1.2:80",
        "--listen=10.1.1.2:8080",
    ]
    assert PASSWORD.value not in " ".join(argv)


def test_a_good_section_has_no_problems() -> None:
    assert problems_of() == {}


def test_mistakes() -> None:
    bad = (
        GUEST_A,
        replace(GUEST_A, user_data="not base64!"),
        GuestMetadata(address="10.9.9.9", password=replace(PASSWORD, value="line\nbroken")),
        GuestMetadata(
            address="10.1.1.300", meta_data={"../x": "", "/a": "", "b": "", "b/c": "", "ok/key-1": ""}
        ),
    )
    found = problems_of(interfaces=("eth1", "eth2", "eth2", "eth8"), guests=bad)
    assert set(found) == {
        "metadata.interfaces[0]",
        "metadata.interfaces[2]",
        "metadata.interfaces[3]",
        "metadata.guests[1].address",
        "metadata.guests[1].user_data",
        "metadata.guests[2].address",
        "metadata.guests[2].password.value",
        "metadata.guests[3].address",
        "metadata.guests[3].meta_data",
    }
    assert "broken" not in " ".join(found.values())
    assert "'b' is a value" in found["metadata.guests[3].meta_data"]


def test_a_balancer_in_the_way_is_named() -> None:
    balancer = Balancer(id=uuid(61), address="10.1.1.1", port=80)
    found = told(SERVICE.check(router_state(haproxy=Haproxy(balancers=(balancer,)))))
    assert f"balancer {uuid(61)} has it" in found["metadata.interfaces"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "guests.json"
    path.write_text(rendered().text)
    return path


@pytest.fixture
def client(data: Path, tmp_path: Path) -> Iterator[FlaskClient]:
    taken = TakenPasswords(tmp_path / "passwords.db")
    yield create_app(Guests(data), lambda: taken).test_client()
    taken.close()


def get(client: FlaskClient, path: str, address: str = A, port: int = 80, **headers: str) -> TestResponse:
    environment = {"REMOTE_ADDR": address, "SERVER_PORT": str(port), "SERVER_NAME": OWN}
    return client.get(
        path, environ_overrides=environment, headers={k.replace("__", "-"): v for k, v in headers.items()}
    )


def ask(client: FlaskClient, word: str, address: str = A) -> tuple[int, str]:
    environment = {"REMOTE_ADDR": address, "SERVER_PORT": "8080", "HTTP_DOMU_REQUEST": word}
    response = client.get("/", environ_overrides=environment)
    return response.status_code, response.text


@pytest.mark.parametrize("version", ["latest", "2009-04-04", "1.0"])
def test_paths(client: FlaskClient, version: str) -> None:
    assert get(client, f"/{version}/user-data").data == b"#!/bin/sh\n"
    assert get(client, f"/{version}/").text == "meta-data/\nuser-data\n"
    assert get(client, f"/{version}/meta-data/").text == "local-hostname\nnetwork/"
    assert get(client, f"/{version}/meta-data/network/").text == "mac"
    assert get(client, f"/{version}/meta-data/network/mac").text == "02:00:00:00:01:0a"
    assert get(client, f"/{version}/meta-data/local-hostname").text == "vm-a"
    assert get(client, "/meta-data/local-hostname").text == "vm-a"
    assert get(client, f"/{version}/user-data", B).data == b""


@pytest.mark.parametrize(
    "path", ["/latest/nothing", "/latest/meta-data/local", "/latest/meta-data/network/m", "/later/user-data"]
)
def test_unknown_paths_and_strangers_get_the_same_words(client: FlaskClient, path: str) -> None:
    known, stranger = get(client, path), get(client, "/latest/user-data", STRANGER)
    assert (known.status_code, known.text) == (stranger.status_code, stranger.text) == (404, "not found\n")


def test_headers_make_no_other_guest(client: FlaskClient) -> None:
    response = get(
        client, "/latest/user-data", STRANGER, X__Forwarded__For=A, X__Real__IP=A, Forwarded=f"for={A}"
    )
    assert response.status_code == 404
    assert client.post("/latest/user-data", environ_overrides={"REMOTE_ADDR": A}).status_code == 405


def test_password_protocol(client: FlaskClient) -> None:
    assert ask(client, "send_my_password", STRANGER)[0] == 404
    assert ask(client, "send_my_password", B) == (200, "saved_password")
    assert ask(client, "give") == (400, "bad_request")
    assert ask(client, "send_my_password") == (200, PASSWORD.value)
    assert ask(client, "saved_password") == (200, "saved_password")
    assert ask(client, "send_my_password") == (200, "saved_password")
    assert ask(client, "saved_password") == (200, "saved_password")


def test_a_new_file_is_read_and_a_new_password_id_is_given(client: FlaskClient, data: Path) -> None:
    ask(client, "saved_password")
    fresh = replace(GUEST_A, password=replace(PASSWORD, id=uuid(51), value="new"))
    state = router_state(metadata=replace(METADATA, guests=(fresh,)))
    data.write_text(SERVICE.render(state).files[0].text)
    assert ask(client, "send_my_password") == (200, "new")
    assert get(client, "/latest/user-data", B).status_code == 404


def test_health_is_for_the_machine_itself(client: FlaskClient) -> None:
    import hashlib

    digest = hashlib.sha256(rendered().text.encode()).hexdigest()
    assert get(client, "/pileus/health", OWN).json == {"digest": digest}
    assert get(client, "/pileus/health", A).status_code == 404


def test_taken_passwords(tmp_path: Path) -> None:
    taken = TakenPasswords(tmp_path / "passwords.db")
    taken.take("one", A)
    taken.take("one", B)
    taken.take("two", B)
    assert [(row["id"], row["address"]) for row in taken.all()] == [("one", A), ("two", B)]
    taken.forget_others({"two"})
    taken.close()
    again = TakenPasswords(tmp_path / "passwords.db")
    assert again.is_taken("two")
    assert not again.is_taken("one")
    again.close()
