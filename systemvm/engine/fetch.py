"""The one fetcher: downloads that cannot be talked into reaching where they must not.

Every hop (the URL, then each redirect) is resolved once; all its addresses must be allowed, and the
connection goes to the address that was judged, whatever the name resolves to a moment later. The TLS
name and the Host header stay the URL's. Private and other special ranges are refused unless the operator
lists them; loopback and link-local (the control network of system VMs) always are.
"""

import errno
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from systemvm.engine.beginning import BOOT_ID, Beginning
from systemvm.engine.errors import EngineError
from systemvm.engine.resolvers import read_nameservers

if TYPE_CHECKING:
    import httpx

MAX_REDIRECTS = 5
#: A connection that is cut is resumed so many times, after so many seconds (doubled each time).
ATTEMPTS, BACKOFF = 5, 1.0
#: Seconds: to connect or for the next byte; for the whole download.
STALL_TIMEOUT, TOTAL_TIMEOUT = 30.0, 6 * 3600.0
_REDIRECTS = (301, 302, 303, 307, 308)


class FetchFailed(EngineError):
    """A download did not succeed; the words are for the person who gave the URL."""

    code = "fetch_failed"
    status = 502


class AddressRefused(FetchFailed):
    """A URL leads to where downloads may not go."""

    code = "address_refused"
    status = 422


class Cancelled(Exception):
    """The caller no longer wants the download."""


class _Cut(Exception):
    """The connection ended early; it is worth another try."""


@dataclass(frozen=True)
class Hop:
    """One URL and the address that was judged for it."""

    url: "httpx.URL"
    address: str


@dataclass
class Fetcher:
    """Downloads into files; `allowed` networks are reachable although they are private.

    Servers are trusted by `authorities` (PEM; the machine's own if empty) and must be called `server_name`
    (what the URL says if empty): a host pulls from a storage VM, whose address says nothing about it.
    """

    allowed: tuple[IPv4Network, ...] = ()
    authorities: str = ""
    server_name: str = ""
    attempts: int = ATTEMPTS
    backoff: float = BACKOFF
    stall_timeout: float = STALL_TIMEOUT
    total_timeout: float = TOTAL_TIMEOUT
    resolve: Callable[[str, int], list[str]] = field(default=lambda host, port: resolve(host, port))
    boot_id: Path = BOOT_ID

    def fetch(
        self,
        url: str,
        target: Path,
        *,
        max_bytes: int,
        progress: Callable[[int, int], None] = lambda received, total: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Download `url` into `target`, going on where an earlier, cut download ended.

        `progress` gets bytes so far and in all (0 if unknown). Raises FetchFailed, AddressRefused,
        Cancelled, OSError (disk full); what was received stays in `target` for another call.
        The end of a file that is whole is not flushed yet (`put_in_place` sees to that).
        """
        deadline = time.monotonic() + self.total_timeout
        beginning = Beginning(target, self.boot_id)
        for attempt in range(self.attempts):
            if cancelled():
                raise Cancelled
            try:
                self._fetch_once(url, _Partial(beginning, max_bytes, progress, cancelled, deadline))
                beginning.forget()
                return
            except _Cut as cut:
                if attempt + 1 == self.attempts:
                    raise FetchFailed(f"{cut}; gave up after {self.attempts} attempts") from None
                _sleep(self.backoff * 2**attempt, cancelled)

    def judge(self, url: str) -> Hop:
        """Resolve a URL, once. Raises FetchFailed, AddressRefused."""
        import httpx

        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise FetchFailed(f"{url} is no URL: {error}") from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise FetchFailed(f"{_shown(parsed)}: only http and https URLs are downloaded")
        port = parsed.port or (443 if parsed.scheme == "https" else 80)
        addresses = self.resolve(parsed.host, port)
        for address in addresses:
            self._check_address(parsed, IPv4Address(address))
        return Hop(parsed, addresses[0])

    def _check_address(self, url: "httpx.URL", address: IPv4Address) -> None:
        if address.is_loopback or address.is_link_local or address.is_unspecified:
            raise AddressRefused(f"{_shown(url)} leads to {address}, which is never downloaded from")
        listed = any(address in network for network in self.allowed)
        if not listed and (not address.is_global or address.is_multicast):
            hint = "the operator can allow its network for downloads"
            raise AddressRefused(f"{_shown(url)} leads to the private address {address}: {hint}")

    def _fetch_once(self, url: str, partial: "_Partial") -> None:
        import httpx

        try:
            with self._opened(url, partial) as response:
                partial.receive(response)
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _Cut(f"the connection to {_host(url)} failed: {error or type(error).__name__}") from None

    @contextmanager
    def _opened(self, url: str, partial: "_Partial") -> "Iterator[httpx.Response]":
        """The answer to a GET, after redirects, each of them judged."""
        import httpx

        timeout = httpx.Timeout(self.stall_timeout)
        # trust_env=False: a proxy from the environment would connect to what it resolves, not to ours.
        # The machine's own authorities, so that an operator can add one.
        context = ssl.create_default_context(cadata=self.authorities or None)
        with httpx.Client(timeout=timeout, follow_redirects=False, trust_env=False, verify=context) as client:
            hop = self.judge(url)
            for _ in range(MAX_REDIRECTS + 1):
                request = _pinned(client, hop, partial.headers(), self.server_name)
                response = client.send(request, stream=True)
                try:
                    if response.status_code not in _REDIRECTS:
                        yield response
                        return
                    hop = self._next(hop, response.headers.get("location", ""))
                finally:
                    response.close()
        raise FetchFailed(f"{_host(url)} redirects more than {MAX_REDIRECTS} times")

    def _next(self, hop: Hop, location: str) -> Hop:
        if not location:
            raise FetchFailed(f"{_shown(hop.url)} redirects to nowhere")
        target = hop.url.join(location)
        if hop.url.scheme == "https" and target.scheme == "http":
            raise AddressRefused(f"{_shown(hop.url)} redirects from https to http")
        return self.judge(str(target))


@dataclass
class _Partial:
    """The file of a download, as one answer makes it longer."""

    beginning: Beginning
    max_bytes: int
    progress: Callable[[int, int], None]
    cancelled: Callable[[], bool]
    deadline: float

    def headers(self) -> dict[str, str]:
        """Ask for the rest if the same file's beginning is here (RFC 9110, 13.1.5 and 14.2)."""
        plain = {"Accept-Encoding": "identity", "User-Agent": "Pileus"}
        have, validator = self.beginning.length(), self.beginning.validator()
        if not have or not validator:
            return plain
        return {**plain, "Range": f"bytes={have}-", "If-Range": validator}

    def receive(self, response: "httpx.Response") -> None:
        """Write the body. Raises _Cut when it is shorter than announced."""
        offset, total = self._accept(response)
        if total > self.max_bytes:
            raise FetchFailed(f"it has {total} bytes; at most {self.max_bytes} are allowed")
        free = os.statvfs(self.beginning.target.parent)
        if total - offset > free.f_bavail * free.f_frsize:
            room = free.f_bavail * free.f_frsize
            raise OSError(errno.ENOSPC, f"it needs {total - offset} more bytes, {room} are free")
        received = self._write(response, offset, total)
        if total and received < total:
            raise _Cut(f"the connection was cut after {received} of {total} bytes")

    def _write(self, response: "httpx.Response", offset: int, total: int) -> int:
        received = offset
        with self.beginning.target.open("r+b" if offset else "wb") as file:
            file.seek(offset)
            file.truncate()
            self.beginning.flush(file)
            for chunk in response.iter_raw():
                if self.cancelled():
                    raise Cancelled
                received += len(chunk)
                if received > self.max_bytes:
                    raise FetchFailed(f"it has more than the {self.max_bytes} bytes that are allowed")
                if time.monotonic() > self.deadline:
                    raise FetchFailed(f"it took too long: {received} bytes arrived")
                file.write(chunk)
                self.progress(received, total)
                self.beginning.flush_now_and_then(file, received)
        return received

    def _accept(self, response: "httpx.Response") -> tuple[int, int]:
        """Where the body belongs, and the size of the whole (0 if unknown)."""
        have, length = self.beginning.length(), int(response.headers.get("content-length", "0"))
        if response.status_code == 206:
            first, _, whole = response.headers.get("content-range", "").removeprefix("bytes ").partition("/")
            if first.partition("-")[0] == str(have) and whole == str(have + length):
                return have, have + length
        if response.status_code in (206, 416):
            self.beginning.forget()
            raise _Cut("the server cannot go on where it ended")
        if response.status_code >= 500 or response.status_code == 429:
            raise _Cut(f"{response.request.headers['host']} answers {response.status_code}")
        if response.status_code != 200:
            words = f"{response.status_code} {response.reason_phrase}"
            raise FetchFailed(f"{response.request.headers['host']} answers {words}")
        etag = response.headers.get("etag", "")
        validator = etag if etag and not etag.startswith("W/") else response.headers.get("last-modified", "")
        self.beginning.start(validator)
        return 0, length


def resolve(host: str, port: int) -> list[str]:
    """IPv4 addresses of a name. Raises FetchFailed."""
    try:
        found = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchFailed(_unresolved(host, error)) from None
    return [str(entry[4][0]) for entry in found]


def _unresolved(host: str, error: Exception) -> str:
    words = error.strerror if isinstance(error, OSError) and error.strerror else error
    asked = ", ".join(read_nameservers())
    whom = f"DNS servers asked: {asked}" if asked else "there is no DNS server to ask"
    return f"{host} does not resolve: {words}; {whom}"


def _pinned(client: "httpx.Client", hop: Hop, headers: dict[str, str], name: str) -> "httpx.Request":
    """A request to the judged address, in the name of the URL."""
    netloc = hop.url.netloc.decode()
    return client.build_request(
        "GET",
        hop.url.copy_with(host=hop.address),
        headers={**headers, "Host": netloc.rpartition("@")[2]},
        extensions={"sni_hostname": name or hop.url.host},
    )


def _shown(url: "httpx.URL") -> str:
    """Without user, password and query: they may be secrets."""
    return f"{url.scheme}://{url.host}{url.path}"


def _host(url: str) -> str:
    import httpx

    return httpx.URL(url).host


def _sleep(seconds: float, cancelled: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if cancelled():
            raise Cancelled
        time.sleep(min(0.1, seconds))
