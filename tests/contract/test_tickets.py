"""mgmt signs tickets with code of its own; the machines must understand exactly those."""

import pytest

from mgmt.pki import tickets as signing
from systemvm.engine import ticket as verifying
from systemvm.spec.ticket import TicketPurpose

pytestmark = pytest.mark.contract
VM = "5f1f3c58-6f3e-4b5e-9d43-6a4f0b7c1e11"
NOW = 1_800_000_000.0


@pytest.mark.parametrize("purpose", list(TicketPurpose))
def test_a_ticket_of_mgmt_is_good_for_its_life_and_its_purpose(purpose: TicketPurpose) -> None:
    private = signing.create_key()
    token = signing.sign(private, purpose, VM, NOW, host="host-1")
    ticket = verifying.verify(token, signing.public_key(private), purpose, NOW, subject=VM)
    assert (ticket.subject, ticket.host, ticket.expires) == (VM, "host-1", int(NOW) + signing.LIFE[purpose])
    with pytest.raises(verifying.TicketExpired):
        verifying.verify(token, signing.public_key(private), purpose, NOW + signing.LIFE[purpose])
    other = next(item for item in TicketPurpose if item is not purpose)
    with pytest.raises(verifying.TicketPurposeWrong):
        verifying.verify(token, signing.public_key(private), other, NOW)


def test_both_signers_agree_byte_for_byte() -> None:
    private = signing.create_key()
    token = signing.sign(private, TicketPurpose.console, VM, NOW, host="host-1")
    ticket = verifying.verify(token, signing.public_key(private), TicketPurpose.console, NOW)
    # Ed25519 signatures are deterministic (RFC 8032, 5.1.6).
    assert verifying.sign(ticket, private) == token
