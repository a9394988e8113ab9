"""The host's template cache: what overlays are based on. An entry never changes once it is in."""

import errno
import hashlib
import logging
import os
import re
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from urllib.parse import urlsplit

from appliance.hostagent.catalog import CatalogImage, find_image
from appliance.hostagent.errors import Cancelled, NoRoom, Refused
from appliance.hostagent.eviction import Evictor
from appliance.hostagent.image_header import read_header
from appliance.hostagent.peers import PeerRefused, receive
from systemvm.engine import fetch
from systemvm.engine.files import put_in_place
from systemvm.engine.image_header import ImageRefused, inspect_image
from systemvm.spec.host import HostTemplate, Peer, TemplatePull

_log = logging.getLogger("pileus.host")
Say = Callable[[str], None]
#: Largest template, as a file and as a disk.
MAX_BYTES = 1 << 42
_CHUNK = 1 << 20
_KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")

# httpx prints every URL at INFO, and ours carry tickets.
logging.getLogger("httpx").setLevel(logging.WARNING)


class TemplateCache:
    """Templates in `folder`; catalog images are hard-linked in, so that a new build never pulls an old
    one from under a running VM. Pulls of one template by several VMs become one.
    """

    def __init__(
        self,
        folder: Path,
        images: Path,
        *,
        pull_timeout: float,
        backoff: float = fetch.BACKOFF,
        evictor: Evictor | None = None,
    ) -> None:
        self._evictor = evictor or Evictor(folder, floor=0.0)
        self._folder = folder
        self.images = images
        self.pull_timeout = pull_timeout
        self.backoff = backoff
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._pulling: dict[str, int] = {}

    def base(
        self, wanted: TemplatePull, say: Say, cancelled: threading.Event, source: Peer | None = None
    ) -> Path:
        """The disk to base an overlay on, pulled if it is not here. Raises HostError.

        `source` is a host that has a volume based on it, whose certificate it holds: nearer than the storage
        VM, and it has the template even if that was deleted since.
        """
        if not wanted.url:
            image = find_image(self.images, wanted.template)
            return self._link(image, image.disk)
        key = _key(wanted)
        path = self._folder / f"{key}.img"
        with self._alone(path, wanted, say, cancelled):
            if not path.exists():
                self._evictor.make_room()
                self._pull_into_room(key, wanted, path, say, cancelled, source)
            self._evictor.note(path)
        return path

    @contextmanager
    def _alone(
        self, path: Path, wanted: TemplatePull, say: Say, cancelled: threading.Event
    ) -> Iterator[None]:
        """While nobody else pulls it."""
        key = path.stem
        while not self._locks[key].acquire(timeout=0.5):
            say(f"waiting for template {wanted.template}, {self._pulling.get(key, 0)} % pulled")
        try:
            yield
        finally:
            self._pulling.pop(key, None)
            self._locks[key].release()

    def _part(self, path: Path) -> Path:
        """Where a file of the cache is made."""
        return path.with_suffix(".part")

    def _publish(self, part: Path, path: Path) -> None:
        """A file that is whole becomes an entry."""
        put_in_place(part, path)

    def _pull_into_room(
        self,
        key: str,
        wanted: TemplatePull,
        path: Path,
        say: Say,
        cancelled: threading.Event,
        source: Peer | None,
    ) -> None:
        """As `_pull`; while the disk is full, entries go. Nothing of it stays when that does not help."""
        while True:
            try:
                if source is not None and self._copy(key, wanted, path, say, cancelled, source):
                    return None
                return self._pull(key, wanted, path, say, cancelled)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                if self._evictor.evict_one():
                    continue
                for left in self._folder.glob(f"{self._part(path).name}*"):
                    left.unlink(missing_ok=True)
                words = error.strerror or str(error)
                raise NoRoom(
                    f"template {wanted.template} cannot be kept in {self._folder}: {words}"
                ) from None

    def take(self, wanted: TemplatePull, path: Path, say: Say, cancelled: threading.Event) -> None:
        """Pull into `path`, for one volume alone; nothing is left on failure. Raises HostError."""
        try:
            self._pull(path.name, wanted, path, say, cancelled)
        finally:
            self._pulling.pop(path.name, None)
            for left in path.parent.glob(f"{self._part(path).name}*"):
                left.unlink(missing_ok=True)

    def boot_files(self, name: str) -> tuple[Path, Path, str]:
        """Kernel, initrd and command line of a catalog image. Raises NotFound."""
        image = find_image(self.images, name)
        return self._link(image, image.kernel), self._link(image, image.initrd), image.cmdline()

    def list(self) -> list[HostTemplate]:
        """What is in the cache, and what is being pulled."""
        present = [
            HostTemplate(
                key=path.stem,
                state="ready",
                percent=100,
                bytes=path.stat().st_size,
                virtual_size=read_header(path).virtual_size,
            )
            for path in sorted(self._folder.glob("*.img"))
        ]
        return present + [
            HostTemplate(key=key, state="pulling", percent=percent)
            for key, percent in sorted(self._pulling.items())
        ]

    def _pull(self, key: str, wanted: TemplatePull, path: Path, say: Say, cancelled: threading.Event) -> None:
        part = self._part(path)

        def tell(have: int, total: int) -> None:
            self._pulling[key] = have * 100 // total if total else 0
            say(f"pulling template {wanted.template}, {self._pulling[key]} %")

        tell(0, 0)
        try:
            self._fetcher(wanted).fetch(
                wanted.url, part, max_bytes=MAX_BYTES, progress=tell, cancelled=cancelled.is_set
            )
            say(f"checking template {wanted.template}")
            _check(part, wanted, cancelled)
        except fetch.Cancelled:
            raise Cancelled(f"the pull of template {wanted.template} was cancelled") from None
        except ImageRefused:
            part.unlink()
            raise
        part.chmod(0o600)
        self._publish(part, path)

    def _copy(
        self, key: str, wanted: TemplatePull, path: Path, say: Say, cancelled: threading.Event, source: Peer
    ) -> bool:
        """Take it from another host, if that can be checked; whether it is here."""
        if not wanted.sha256:
            return False
        part = self._part(path).with_suffix(".part-near")

        def tell(have: int, total: int) -> None:
            self._pulling[key] = have * 100 // total
            say(f"copying template {wanted.template} from the other host, {self._pulling[key]} %")

        try:
            receive(source, "base", part, tell, cancelled)
            say(f"checking template {wanted.template}")
            _check(part, wanted, cancelled)
            part.chmod(0o600)
            self._publish(part, path)
        except (PeerRefused, ImageRefused) as error:
            _log.warning("template %s is pulled from the storage VM, because %s", wanted.template, error)
            return False
        except fetch.Cancelled:
            raise Cancelled(f"the copy of template {wanted.template} was cancelled") from None
        finally:
            part.unlink(missing_ok=True)
        return True

    def _fetcher(self, wanted: TemplatePull) -> fetch.Fetcher:
        """Reaches the address in the signed URL and no other, by redirects neither."""
        try:
            network = IPv4Network(urlsplit(wanted.url).hostname or "")
        except ValueError:
            words = "its URL must name the storage VM by address"
            raise Refused(f"template {wanted.template}: {words}") from None
        return fetch.Fetcher(
            allowed=(network,),
            authorities=wanted.server_ca,
            server_name=wanted.server_name,
            total_timeout=self.pull_timeout,
            backoff=self.backoff,
        )

    def _link(self, image: CatalogImage, source: Path) -> Path:
        """The file of a catalog image inside the cache; a copy where the catalog is on another disk."""
        suffix = ".img" if source == image.disk else f".{source.name}"
        target = self._folder / f"catalog-{image.name}-{image.version}{suffix}"
        with self._locks[target.name]:
            if not target.exists():
                temporary = self._part(target)
                temporary.unlink(missing_ok=True)
                try:
                    os.link(source, temporary)
                except OSError:
                    shutil.copyfile(source, temporary)
                self._publish(temporary, target)
        return target


def _key(wanted: TemplatePull) -> str:
    key = wanted.sha256.removeprefix("sha256:") or wanted.template
    if not _KEY.fullmatch(key):
        raise Refused(f"template {wanted.template!r}: {key!r} cannot be the name of a file")
    return key


def _check(part: Path, wanted: TemplatePull, cancelled: threading.Event) -> None:
    """The right bytes, and harmless ones. Raises ImageRefused."""
    promised = wanted.sha256.removeprefix("sha256:")
    if promised and (found := _sha256(part, cancelled)) != promised:
        raise ImageRefused(f"template {wanted.template}: its SHA-256 is {found}, promised was {promised}")
    inspect_image(part, read_header(part).format, MAX_BYTES)


def _sha256(path: Path, cancelled: threading.Event) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            if cancelled.is_set():
                raise fetch.Cancelled
    return digest.hexdigest()
