"""What mgmt signs, proxies and hosts accept: both ends of the format meet here."""

import pytest

from mgmt.pki import tickets
from systemvm.engine.ticket import TicketExpired, TicketSignatureInvalid, verify
from systemvm.spec.ticket import TicketPurpose

pytestmark = pytest.mark.unit
SUBJECT = "22222222-2222-4222-8222-222222222222"


def test_a_signed_ticket_verifies_until_it_expires() -> None:
    key = tickets.create_key()
    token = tickets.sign(key, TicketPurpose.console, SUBJECT, 1000.0, host="h1")
    public = tickets.public_key(key)
    ticket = verify(token, public, TicketPurpose.console, 1001.0, subject=SUBJECT)
    assert (ticket.host, ticket.expires) == ("h1", 1120)
    with pytest.raises(TicketExpired):
        verify(token, public, TicketPurpose.console, 1121.0)
    with pytest.raises(TicketSignatureInvalid):
        verify(token, tickets.public_key(tickets.create_key()), TicketPurpose.console, 1001.0)


def test_every_ticket_is_one_of_its_kind() -> None:
    key = tickets.create_key()
    assert tickets.sign(key, TicketPurpose.template, SUBJECT, 1.0) != tickets.sign(
        key, TicketPurpose.template, SUBJECT, 1.0
    )
