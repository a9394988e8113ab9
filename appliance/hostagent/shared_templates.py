"""The template cache of a shared pool: one copy for all its hosts, which never work on one file together."""

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.hostagent.errors import Cancelled
from appliance.hostagent.eviction import Evictor
from appliance.hostagent.templates import Say, TemplateCache
from systemvm.engine.files import link_in_place
from systemvm.spec.host import TemplatePull

#: Seconds between two tries to be the host that pulls.
_PAUSE = 0.5


class SharedTemplateCache(TemplateCache):
    """Entries in a shared folder. `host` names apart what this host is making.

    Nothing leaves it while the pool lives: no host knows what the others are about to base on it. Hosts take
    turns by a lock on a file, which ends with the process; where a file system has no locks they may pull the
    same twice, and the first that is done wins: an entry is linked to its name, whole, and never replaced.
    """

    host: str

    @classmethod
    def beside(cls, own: TemplateCache, folder: Path, host: str) -> "SharedTemplateCache":
        """One with the settings of the host's own."""
        nothing_goes = Evictor(folder, floor=0.0, in_use=lambda: None)
        cache = cls(
            folder, own.images, pull_timeout=own.pull_timeout, backoff=own.backoff, evictor=nothing_goes
        )
        cache.host = host
        return cache

    @contextmanager
    def _alone(
        self, path: Path, wanted: TemplatePull, say: Say, cancelled: threading.Event
    ) -> Iterator[None]:
        with super()._alone(path, wanted, say, cancelled):
            if path.exists():
                yield
                return
            with path.with_suffix(".lock").open("wb") as file:
                while not _is_ours(file.fileno()):
                    say(f"waiting for template {wanted.template}, which another host pulls")
                    if cancelled.wait(_PAUSE):
                        raise Cancelled(f"the pull of template {wanted.template} was cancelled")
                yield

    def _part(self, path: Path) -> Path:
        return path.with_name(f"{path.stem}.{self.host}.part")

    def _publish(self, part: Path, path: Path) -> None:
        link_in_place(part, path)


def _is_ours(descriptor: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # the file system has no locks
    return True
