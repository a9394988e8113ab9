"""The transfer process: `python -m systemvm.services.storage.transfer --settings FILE …`.

It makes the list of templates true: what is missing is downloaded, copied, or taken from the uploads once
it is there whole; what is no longer listed is removed.
A template that failed stays failed, with its reason, until its source changes or it is taken off the list
and put on it again: only the operator knows whether trying again makes sense. One for which the data disk
has no room waits, with that reason, and is tried again by itself. SIGHUP reads the list anew.
"""

import argparse
import errno
import logging
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path
from types import FrameType

from systemvm.engine.command import run
from systemvm.engine.errors import EngineError
from systemvm.engine.fetch import Cancelled, Fetcher
from systemvm.services.storage.intake import Intake
from systemvm.services.storage.library import Library
from systemvm.services.storage.settings import Layout, Transfers
from systemvm.services.storage.uploads import PART
from systemvm.spec import codec
from systemvm.spec.appliances import TemplateSource, TemplateState, TemplateStatus

log = logging.getLogger(__name__)

#: Downloads at a time.
WORKERS = 2
#: Seconds between two heartbeats.
HEARTBEAT_EVERY = 2.0
#: Seconds that an upload may be here before the list says that it is wanted.
GRACE = 60.0
#: Seconds until what found no room is tried again, doubled each time up to the last value.
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 900.0
_UNFINISHED = (TemplateState.waiting, TemplateState.downloading, TemplateState.checking)


@dataclass(frozen=True)
class _Download:
    source: TemplateSource
    stop: threading.Event
    future: Future[None]


@dataclass(frozen=True)
class _Pause:
    """What found no room rests until a moment of the monotonic clock, so many seconds this time."""

    until: float
    seconds: float


class Transfer:
    """The list of templates, and the downloads on their way."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._library = Library(layout.database)
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="download")
        self._running: dict[str, _Download] = {}
        self._pauses: dict[str, _Pause] = {}

    def make_true(self, wanted: Transfers) -> None:
        """Remove, stop and start what is needed; returns while downloads go on."""
        sources = {source.id: source for source in wanted.templates}
        self._pauses = {template: pause for template, pause in self._pauses.items() if template in sources}
        for template, download in self._running.items():
            if sources.get(template) != download.source:
                download.stop.set()
                download.future.cancel()
        self._remove(sources)
        fetcher = Fetcher(tuple(IPv4Network(cidr) for cidr in wanted.allowed_networks))
        for source in wanted.templates:
            if self._library.want(source):
                # What an earlier source left cannot be the beginning of this one.
                (self._layout.partial / source.id).unlink(missing_ok=True)
                self._pauses.pop(source.id, None)
            is_idle = source.id not in self._running and not self._rests(source.id)
            if is_idle and self._is_missing(source):
                self._start(source, fetcher)

    def reap(self) -> bool:
        """Forget downloads that ended. True if one was stopped: its template may have to begin anew."""
        ended = [template for template, download in self._running.items() if download.future.done()]
        stopped = False
        for template in ended:
            download = self._running.pop(template)
            stopped = stopped or download.stop.is_set()
            if not download.future.cancelled():
                download.future.result()
        return stopped

    def has_arrivals(self) -> bool:
        """Whether something was sent here that nobody looks at yet."""
        return any(
            path.suffix != PART and path.name not in self._running for path in self._layout.uploads.iterdir()
        )

    def hurry(self) -> None:
        """Try again what found no room: the list may be shorter now."""
        for template, pause in list(self._pauses.items()):
            self._pauses[template] = replace(pause, until=0.0)

    def is_due(self) -> bool:
        """Whether something that found no room should be tried again."""
        return any(
            template not in self._running and not self._rests(template) for template in list(self._pauses)
        )

    def close(self) -> None:
        """Stop all downloads; what they have stays for the next start."""
        for download in self._running.values():
            download.stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._library.close()

    def _start(self, source: TemplateSource, fetcher: Fetcher) -> None:
        stop = threading.Event()
        intake = Intake(self._layout, fetcher, run, self._library.write)
        future = self._pool.submit(self._take, source, intake, stop)
        self._running[source.id] = _Download(source, stop, future)

    def _take(self, source: TemplateSource, intake: Intake, stop: threading.Event) -> None:
        log.info("template %s: taken in, because it is listed and not here", source.id)
        try:
            status = intake.take(source, stop.is_set)
        except Cancelled:
            log.info("template %s: stopped", source.id)
            return
        except EngineError as error:
            status = self._failed(source, str(error))
        except (OSError, sqlite3.OperationalError) as error:
            words = getattr(error, "strerror", None) or error
            # What was sent here is gone then: only who sent it can try again.
            if _is_full(error) and (source.url or source.copy_of):
                status = self._put_off(source, f"the data disk has no room: {words}")
            else:
                status = self._failed(source, f"the data disk: {words}")
        else:
            self._pauses.pop(source.id, None)
            log.info("template %s: ready, %d bytes", source.id, status.size)
        self._library.write(status)

    def _failed(self, source: TemplateSource, reason: str) -> TemplateStatus:
        log.warning("template %s: failed: %s", source.id, reason)
        return TemplateStatus(id=source.id, state=TemplateState.failed, error=reason)

    def _put_off(self, source: TemplateSource, reason: str) -> TemplateStatus:
        last = self._pauses.get(source.id)
        seconds = min(last.seconds * 2, LONGEST_PAUSE) if last else FIRST_PAUSE
        self._pauses[source.id] = _Pause(time.monotonic() + seconds, seconds)
        log.warning("template %s: tried again in %.0f s: %s", source.id, seconds, reason)
        return TemplateStatus(id=source.id, state=TemplateState.waiting, error=reason)

    def _rests(self, template: str) -> bool:
        pause = self._pauses.get(template)
        return pause is not None and time.monotonic() < pause.until

    def _is_missing(self, source: TemplateSource) -> bool:
        status = self._library.status(source.id)
        there = (self._layout.templates / source.id).exists()
        if not (source.url or source.copy_of):
            return self._has_arrived(source, status, there)
        (self._layout.uploads / source.id).unlink(missing_ok=True)
        if status is not None and status.state is TemplateState.ready and not there:
            log.warning("template %s: its file is gone, downloading again", source.id)
            self._library.write(TemplateStatus(id=source.id, state=TemplateState.waiting))
            return True
        return status is not None and status.state in _UNFINISHED

    def _has_arrived(self, source: TemplateSource, status: TemplateStatus | None, there: bool) -> bool:
        """Whether one that is sent here is here, and not judged yet."""
        upload = self._layout.uploads / source.id
        if status is not None and status.state is TemplateState.ready:
            upload.unlink(missing_ok=True)
            if not there:
                self._library.write(self._failed(source, "its file is gone"))
            return False
        return upload.exists() or (self._layout.partial / source.id).exists()

    def _remove(self, wanted: dict[str, TemplateSource]) -> None:
        for folder in (self._layout.templates, self._layout.partial, self._layout.uploads):
            for path in folder.iterdir():
                if path.name.partition(".")[0] not in wanted and not self._may_be_listed(path):
                    log.info("%s: removed, because it is not listed", path.name)
                    path.unlink(missing_ok=True)
        # Last: it writes, which a full disk refuses.
        self._library.forget_all_but(wanted)

    def _may_be_listed(self, path: Path) -> bool:
        """Whether it was sent a moment ago: whoever has a ticket may be faster than the list that has it."""
        return path.parent == self._layout.uploads and time.time() - path.stat().st_mtime < GRACE


def _try(transfer: Transfer, wanted: Transfers) -> bool:
    """Make the list true; False while even the list itself finds no room."""
    try:
        transfer.make_true(wanted)
    except (OSError, sqlite3.OperationalError) as error:
        if not _is_full(error):
            raise
        log.warning("the list waits, because the data disk is full: %s", error)
        return False
    return True


def _is_full(error: OSError | sqlite3.OperationalError) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return error.sqlite_errorcode == sqlite3.SQLITE_FULL


def main(argv: Sequence[str]) -> int:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(prog="storage-transfer", description=__doc__)
    for name in ("settings", "data", "heartbeat"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
    # httpx logs whole URLs at this level; their queries may be secrets.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    again, stop = threading.Event(), threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            stop.set()
        again.set()

    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    transfer = Transfer(Layout(options.data))
    wanted, is_behind = Transfers(), False
    again.set()
    while not stop.is_set():
        if again.is_set():
            again.clear()
            wanted = codec.decode(options.settings.read_bytes(), Transfers)
            transfer.hurry()
            is_behind = True
        if transfer.reap() or transfer.has_arrivals() or transfer.is_due() or is_behind:
            is_behind = not _try(transfer, wanted)
        options.heartbeat.parent.mkdir(parents=True, exist_ok=True)
        options.heartbeat.touch()
        again.wait(HEARTBEAT_EVERY)
    transfer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
