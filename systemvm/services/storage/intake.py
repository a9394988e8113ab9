"""One template from its source to its place: download, upload or copy; unpacked, judged, renamed."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from systemvm.engine.errors import CommandError
from systemvm.engine.fetch import Cancelled, Fetcher
from systemvm.engine.files import put_in_place
from systemvm.engine.image_header import ImageHeader, ImageRefused, inspect_image
from systemvm.engine.service import Runner
from systemvm.services.storage.settings import Layout, leave_reserve
from systemvm.services.storage.unpack import compression_of, unpack
from systemvm.spec.appliances import TemplateSource, TemplateState, TemplateStatus

#: qemu-img may use so much memory (bytes) and processor time (seconds) on an image from outside.
QEMU_MEMORY, QEMU_SECONDS = 1 << 30, 30
_CHUNK = 1 << 20


class ChecksumWrong(ImageRefused):
    """What arrived is not what was announced."""

    code = "checksum_wrong"


@dataclass(frozen=True)
class Intake:
    """Takes templates in; `report` gets every step. All errors come out as they are."""

    layout: Layout
    fetcher: Fetcher
    run: Runner
    report: Callable[[TemplateStatus], None]

    def take(self, source: TemplateSource, cancelled: Callable[[], bool]) -> TemplateStatus:
        """Make one template ready; its final status.

        Raises EngineError or OSError when it cannot be had (its partial file is then gone), Cancelled
        (the partial file stays, to go on with).
        """
        partial = self.layout.partial / source.id
        try:
            if source.url:
                self._download(source, partial, cancelled)
            elif source.copy_of:
                self._copy(source.copy_of, partial)
            elif not partial.exists():
                _accept(self.layout.uploads / source.id, partial)
            found = self._unpacked(source, partial, cancelled)
            status = self._judge(source, found, cancelled, is_unpacked=found != partial)
            # Readable by the server's worker, writable by nobody: bases of running disks never change.
            found.chmod(0o444)
            put_in_place(found, self.layout.templates / source.id)
            self.discard(source.id)
        except Cancelled:
            raise
        except BaseException:
            self.discard(source.id)
            raise
        return status

    def discard(self, template: str) -> None:
        """Remove what was downloaded so far."""
        for path in self.layout.partial.glob(f"{template}*"):
            path.unlink(missing_ok=True)

    def _download(self, source: TemplateSource, partial: Path, cancelled: Callable[[], bool]) -> None:
        shown = -1

        def progress(received: int, total: int) -> None:
            nonlocal shown
            leave_reserve(self.layout.partial)
            percent = received * 100 // total if total else 0
            if percent != shown:
                shown = percent
                self.report(_step(source, TemplateState.downloading, percent=percent, size=received))

        self.report(_step(source, TemplateState.downloading))
        fetcher = replace(self.fetcher, authorities=source.authorities)
        fetcher.fetch(source.url, partial, max_bytes=source.max_bytes, progress=progress, cancelled=cancelled)

    def _copy(self, original: str, partial: Path) -> None:
        """Another name for the same file: what is ready never changes."""
        partial.unlink(missing_ok=True)
        try:
            partial.hardlink_to(self.layout.templates / original)
        except FileNotFoundError:
            raise ImageRefused(f"{original}, which it is a copy of, is not here") from None

    def _unpacked(self, source: TemplateSource, partial: Path, cancelled: Callable[[], bool]) -> Path:
        """The file itself, or what is compressed in it; its checksum is then that of the compressed file."""
        how = compression_of(partial)
        if how is None:
            return partial
        self.report(_step(source, TemplateState.checking, percent=100, size=partial.stat().st_size))
        check_sum(partial, source.checksum, cancelled)
        # Beside it: whoever goes on after a crash must find it as it came.
        target = partial.with_name(f"{partial.name}.unpacked")

        def is_cancelled() -> bool:
            leave_reserve(self.layout.partial)
            return cancelled()

        unpack(partial, how, target, max_bytes=source.max_bytes, run=self.run, cancelled=is_cancelled)
        return target

    def _judge(
        self, source: TemplateSource, partial: Path, cancelled: Callable[[], bool], *, is_unpacked: bool
    ) -> TemplateStatus:
        size = partial.stat().st_size
        self.report(_step(source, TemplateState.checking, percent=100, size=size))
        sha256 = check_sum(partial, "" if is_unpacked else source.checksum, cancelled)
        header = inspect_image(partial, source.format.value, source.max_bytes)
        self._ask_qemu(partial, header)
        return TemplateStatus(
            id=source.id,
            state=TemplateState.ready,
            percent=100,
            size=size,
            virtual_size=header.virtual_size,
            sha256=sha256,
        )

    def _ask_qemu(self, partial: Path, header: ImageHeader) -> None:
        """A second opinion, with the format given, never guessed; only after the header was judged."""
        argv = (
            *("prlimit", f"--as={QEMU_MEMORY}", f"--cpu={QEMU_SECONDS}", "--core=0", "--"),
            *("qemu-img", "info", "--output=json", "-f", header.format, str(partial)),
        )
        try:
            told = json.loads(self.run(argv, timeout=2 * QEMU_SECONDS).stdout)
        except CommandError as error:
            raise ImageRefused(f"qemu-img cannot read it: {error.stderr.strip() or error}") from None
        data = told.get("format-specific", {}).get("data", {})
        if "backing-filename" in told or "data-file" in data or told.get("encrypted"):
            raise ImageRefused("qemu-img finds that it reaches outside itself: flatten it")
        # A raw disk is rounded up to whole sectors.
        if abs(int(told["virtual-size"]) - header.virtual_size) >= 512:
            raise ImageRefused("its header and qemu-img disagree about its size")


def _accept(upload: Path, partial: Path) -> None:
    """Take what was sent out of the hands of the server's worker."""
    os.replace(upload, partial)
    os.chown(partial, os.geteuid(), os.getegid())
    partial.chmod(0o600)


def check_sum(path: Path, expected: str, cancelled: Callable[[], bool]) -> str:
    """The SHA-256 of a file. Raises ChecksumWrong unless it has the checksum `<algorithm>:<hex>`, if any."""
    algorithm, _, digits = expected.partition(":")
    sha256 = hashlib.sha256()
    # MD5 is not trusted for safety here: it is what publishers still print beside their images.
    other = hashlib.new(algorithm, usedforsecurity=False) if expected else sha256
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if cancelled():
                raise Cancelled
            sha256.update(chunk)
            if other is not sha256:
                other.update(chunk)
    if expected and other.hexdigest() != digits:
        raise ChecksumWrong(f"its {algorithm} is {other.hexdigest()}, expected {digits}")
    return sha256.hexdigest()


def _step(source: TemplateSource, state: TemplateState, *, percent: int = 0, size: int = 0) -> TemplateStatus:
    return TemplateStatus(id=source.id, state=state, percent=percent, size=size)
