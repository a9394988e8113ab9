"""Streams from and to another host's migration door, over mutual TLS."""

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

from appliance.hostagent.errors import Cancelled, HostError
from systemvm.spec.host import Peer

CONNECT_DEADLINE = 10.0
#: Seconds without a byte until a connection counts as lost; while memory is written there may be none.
STALL_DEADLINE = 300.0
_CHUNK = 1 << 18
_LONGEST_LINE = 1024


class PeerRefused(HostError):
    """The other host does not answer, or said no; its words."""

    code = "peer_refused"
    status = 502


@contextlib.contextmanager
def opened(peer: Peer, what: str) -> Iterator[ssl.SSLSocket]:
    """A stream behind the other host's door. Raises PeerRefused."""
    where = f"host at {peer.address}:{peer.port}"
    try:
        with (
            socket.create_connection((peer.address, peer.port), CONNECT_DEADLINE) as plain,
            _context(peer).wrap_socket(plain, server_hostname=peer.server_name) as secure,
        ):
            secure.settimeout(STALL_DEADLINE)
            secure.sendall(f"{what}\n".encode())
            answer = read_line(secure)
            if answer != "OK":
                raise PeerRefused(f"{where} refuses {what}: {answer.removeprefix('ERR ') or 'it hung up'}")
            yield secure
    except OSError as error:
        raise PeerRefused(f"{where}: {what}: {error}") from error


def receive(
    peer: Peer, what: str, target: Path, tell: Callable[[int, int], None], cancelled: threading.Event
) -> None:
    """Write the file that a peer sends into `target`; `tell` is given the bytes that came, and all there are.

    Raises PeerRefused, Cancelled.
    """
    with opened(peer, what) as stream, target.open("wb") as file:
        size = int(read_line(stream) or 0)
        done = 0
        while done < size:
            data = stream.recv(_CHUNK)
            if not data:
                raise PeerRefused(f"{what}: the connection ended after {done} of {size} bytes")
            if cancelled.is_set():
                raise Cancelled(f"the copy of a {what} from the host at {peer.address} was cancelled")
            file.write(data)
            done += len(data)
            tell(done, size)


def read_line(stream: socket.socket) -> str:
    """One short line, byte by byte, so that nothing behind it is taken."""
    line = b""
    while not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
        byte = stream.recv(1)
        if not byte:
            break
        line += byte
    return line.decode(errors="replace").strip()


class Forwarder:
    """A Unix socket on this host, each of whose connections leads through a peer's door to `what`."""

    def __init__(self, path: Path, peer: Peer, what: str) -> None:
        self._peer, self._what = peer, what
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen()
        self.refusals: list[str] = []
        threading.Thread(target=self._accept, name=f"forward-{what}", daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near:
            try:
                with opened(self._peer, self._what) as far:
                    far.settimeout(None)
                    _join(near, far)
            except PeerRefused as error:
                self.refusals.append(str(error))  # before libvirt sees the end of its connection


def _join(near: socket.socket, far: ssl.SSLSocket) -> None:
    """Bytes both ways until one side ends."""
    back = threading.Thread(target=_copy, args=(far, near), daemon=True)
    back.start()
    _copy(near, far)
    back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    # TLS has no half-closed state: the end of one direction ends both.
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _context(peer: Peer) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=peer.server_ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # OpenSSL reads keys from files only; this one is in memory and gone at once.
    with NamedTemporaryFile("w", dir="/dev/shm", prefix="pileus-") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(peer.certificate + peer.key)
        file.flush()
        context.load_cert_chain(file.name)
    return context
