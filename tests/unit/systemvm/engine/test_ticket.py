"""Tickets: what is good, and every way of not being good."""

import base64
import json
import threading
import uuid
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from systemvm.engine import ticket as tickets
from systemvm.engine.nonces import Nonces
from systemvm.spec.ticket import Ticket, TicketPurpose

pytestmark = pytest.mark.unit
NOW = 1_800_000_000


def new_keys() -> tuple[str, str]:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


PRIVATE, PUBLIC = new_keys()


def new_ticket(purpose: TicketPurpose = TicketPurpose.console, expires: int = NOW + 60) -> Ticket:
    return Ticket(
        purpose=purpose,
        subject=str(uuid.uuid4()),
        host=str(uuid.uuid4()),
        nonce=str(uuid.uuid4()),
        expires=expires,
    )


def test_a_signed_ticket_comes_back_whole() -> None:
    ticket = new_ticket()
    token = tickets.sign(ticket, PRIVATE)
    assert tickets.verify(token, PUBLIC, TicketPurpose.console, NOW, subject=ticket.subject) == ticket
    assert "=" not in token


def test_the_format_is_the_documented_one() -> None:
    ticket = new_ticket()
    payload, signature = tickets.sign(ticket, PRIVATE).split(".")
    raw = base64.urlsafe_b64decode(payload + "==")
    assert json.loads(raw)["nonce"] == ticket.nonce
    assert len(base64.urlsafe_b64decode(signature + "==")) == 64


def test_an_expired_ticket_is_refused_at_the_second() -> None:
    token = tickets.sign(new_ticket(expires=NOW), PRIVATE)
    assert tickets.verify(token, PUBLIC, TicketPurpose.console, NOW - 1)
    with pytest.raises(tickets.TicketExpired):
        tickets.verify(token, PUBLIC, TicketPurpose.console, NOW)


def test_another_purpose_and_another_subject_are_refused() -> None:
    token = tickets.sign(new_ticket(TicketPurpose.template), PRIVATE)
    with pytest.raises(tickets.TicketPurposeWrong, match="template, not for console"):
        tickets.verify(token, PUBLIC, TicketPurpose.console, NOW)
    with pytest.raises(tickets.TicketPurposeWrong, match="not for 1234"):
        tickets.verify(token, PUBLIC, TicketPurpose.template, NOW, subject="1234")


def test_a_foreign_signature_and_a_changed_payload_are_refused() -> None:
    ticket = new_ticket()
    with pytest.raises(tickets.TicketSignatureInvalid):
        tickets.verify(tickets.sign(ticket, new_keys()[0]), PUBLIC, TicketPurpose.console, NOW)
    own, other = tickets.sign(ticket, PRIVATE), tickets.sign(new_ticket(), PRIVATE)
    mixed = f"{own.split('.')[0]}.{other.split('.')[1]}"
    with pytest.raises(tickets.TicketSignatureInvalid):
        tickets.verify(mixed, PUBLIC, TicketPurpose.console, NOW)


@pytest.mark.parametrize(
    "token", ["", "abc", "a.b.c", "é.é", "====.====", "x" * 5000 + ".", "YQ==.YQ==", "YR.YQ"]
)
def test_what_is_not_a_ticket_is_refused_without_repeating_it(token: str) -> None:
    with pytest.raises(tickets.TicketMalformed) as refusal:
        tickets.verify(token, PUBLIC, TicketPurpose.console, NOW)
    assert len(token) < 3 or token not in str(refusal.value)


def test_a_signed_payload_that_is_no_ticket_is_refused() -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(PRIVATE.encode(), None)
    assert isinstance(key, Ed25519PrivateKey)
    raw = b'{"purpose":"console"}'
    token = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (raw, key.sign(raw)))
    with pytest.raises(tickets.TicketMalformed, match="subject"):
        tickets.verify(token, PUBLIC, TicketPurpose.console, NOW)


def test_public_keys_are_told_from_the_rest() -> None:
    assert tickets.is_public_key(PUBLIC)
    assert not tickets.is_public_key(PRIVATE)
    assert not tickets.is_public_key("")


def test_a_nonce_is_spent_once_also_by_many_at_once(tmp_path: Path) -> None:
    ticket = new_ticket()
    won: list[bool] = []

    def spend() -> None:
        nonces = Nonces(tmp_path / "nonces.db")
        try:
            nonces.spend(ticket, NOW)
            won.append(True)
        except tickets.TicketUsed:
            won.append(False)
        finally:
            nonces.close()

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def test_nonces_survive_a_restart_and_are_forgotten_after_their_time(tmp_path: Path) -> None:
    ticket = new_ticket(expires=NOW + 60)
    first = Nonces(tmp_path / "nonces.db")
    first.spend(ticket, NOW)
    first.close()
    second = Nonces(tmp_path / "nonces.db")
    with pytest.raises(tickets.TicketUsed):
        second.spend(ticket, NOW + 59)
    assert second.count() == 1
    second.spend(new_ticket(expires=NOW + 90000), NOW + 80000)
    assert second.count() == 1
    second.close()
