"""The console relay: a console proxy with a good ticket gets one VM's VNC socket; nobody else gets any."""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path

from appliance.hostagent.networks import read_state
from appliance.hostagent.streams import close, relay
from appliance.hostagent.tls import dns_names
from appliance.paths import Paths
from systemvm.engine import ticket as tickets
from systemvm.engine.errors import EngineError
from systemvm.engine.nonces import Nonces
from systemvm.spec.ticket import Ticket, TicketPurpose

_log = logging.getLogger("pileus.relay")
#: DNS name that the client certificate of a console proxy carries.
CONSOLE_NAME = "console.pileus.internal"
#: Seconds until the line with the ticket must be there.
TICKET_DEADLINE = 10.0


class ConsoleRefused(EngineError):
    """This console is not given out; the words go back to the proxy."""

    code = "console_refused"
    status = 403


class ConsoleRelay:
    """Serves `<ticket>\\n`, answers `OK\\n` and relays to the VM's VNC socket, or `ERR <words>\\n`."""

    def __init__(self, host: str, paths: Paths, now: Callable[[], float] = time.time) -> None:
        self._host = host
        self._paths = paths
        self._now = now
        self._nonces = Nonces(paths.host / "nonces.sqlite")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One viewer, until either side ends."""
        try:
            _require_console(dns_names(writer.get_extra_info("peercert")))
            ticket = self._redeem(await _read_token(reader))
            screen = await asyncio.open_unix_connection(str(self._socket(ticket)))
        except (EngineError, OSError) as error:
            _log.warning("console refused to %s: %s", writer.get_extra_info("peername"), error)
            words = re.sub(r"\s+", " ", str(error))
            writer.write(f"ERR {words}\n".encode())
            await close(writer)
            return
        _log.info("console of VM %s opened", ticket.subject)
        writer.write(b"OK\n")
        await relay((reader, writer), screen)

    def _redeem(self, token: str) -> Ticket:
        """The ticket, used up. The key is read anew: it may have changed with the host's state."""
        state = read_state(self._paths)
        if state is None or not state.ticket_key:
            raise ConsoleRefused("this host has no ticket key yet: the management server must send its state")
        now = self._now()
        ticket = tickets.verify(token, state.ticket_key, TicketPurpose.console, now)
        if ticket.host != self._host:
            raise ConsoleRefused(f"the ticket is for host {ticket.host or 'none'}, this is {self._host}")
        if not self._socket(ticket).is_socket():
            raise ConsoleRefused(f"VM {ticket.subject} does not run on this host")
        self._nonces.spend(ticket, now)
        return ticket

    def _socket(self, ticket: Ticket) -> Path:
        return self._paths.vnc / f"{ticket.subject}.sock"


def _require_console(names: set[str]) -> None:
    if CONSOLE_NAME not in names:
        shown = ", ".join(sorted(names)) or "no name"
        raise ConsoleRefused(f"the client certificate has {shown}; only {CONSOLE_NAME} may ask")


async def _read_token(reader: asyncio.StreamReader) -> str:
    try:
        line = await asyncio.wait_for(reader.readuntil(b"\n"), TICKET_DEADLINE)
    except TimeoutError:
        raise ConsoleRefused("no ticket came in time") from None
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise ConsoleRefused("expected one line with a ticket") from None
    return line.decode("ascii", errors="replace").strip()
