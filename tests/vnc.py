"""A real screen for console tests: QEMU showing its firmware on a VNC socket, and a host's relay to it."""

import contextlib
import select
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from systemvm.engine.ticket import TicketError, verify
from systemvm.spec.ticket import TicketPurpose


@contextlib.contextmanager
def firmware_screen(folder: Path) -> Iterator[Path]:
    """The VNC unix socket of a machine that stops in its firmware and shows a boot menu on Escape."""
    path = folder / "vnc.sock"
    argv = (
        *("qemu-system-x86_64", "-nodefaults", "-vga", "std", "-m", "32", "-display", "none"),
        *("-accel", "tcg", "-vnc", f"unix:{path}", "-boot", "menu=on,splash-time=65000"),
    )
    machine = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not path.exists():
            assert machine.poll() is None
            assert time.monotonic() < deadline, "QEMU does not open its VNC socket"
            time.sleep(0.05)
        yield path
    finally:
        machine.kill()
        machine.wait()


class Relay:
    """A host's console relay: TLS 1.3 with client certificates; the ticket, `OK` or `ERR …`, RFB."""

    def __init__(
        self, listener: socket.socket, context: ssl.SSLContext, ticket_key: str, screens: dict[str, Path]
    ) -> None:
        self.refusals: list[str] = []
        self._listener, self._context = listener, context
        self._ticket_key, self._screens = ticket_key, screens
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Stop listening; connections end with their peers."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(plain,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            with self._context.wrap_socket(plain, server_side=True) as connection:
                token = connection.recv(4096).decode().strip()
                try:
                    ticket = verify(token, self._ticket_key, TicketPurpose.console, time.time())
                except TicketError as error:
                    connection.sendall(f"ERR {error}\n".encode())
                    return
                if ticket.subject not in self._screens:
                    connection.sendall(f"ERR VM {ticket.subject} does not run here\n".encode())
                    return
                connection.sendall(b"OK\n")
                with socket.socket(socket.AF_UNIX) as screen:
                    screen.connect(str(self._screens[ticket.subject]))
                    _pump(connection, screen)
        except (OSError, ssl.SSLError) as error:
            self.refusals.append(str(error))


def _pump(connection: ssl.SSLSocket, screen: socket.socket) -> None:
    connection.setblocking(False)
    while True:
        ready = select.select([connection, screen], [], [])[0]
        if screen in ready:
            if not (chunk := screen.recv(65536)):
                return
            connection.setblocking(True)
            connection.sendall(chunk)
            connection.setblocking(False)
        if connection in ready:
            try:
                chunk = connection.recv(65536)
            except ssl.SSLWantReadError:
                continue
            if not chunk:
                return
            screen.sendall(chunk)


def relay_context(certificate: Path, key: Path, client_ca: str) -> ssl.SSLContext:
    """TLS of a relay: TLS 1.3, only clients whose certificate `client_ca` (PEM) signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=client_ca)
    context.load_cert_chain(certificate, key)
    return context
