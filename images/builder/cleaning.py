"""What of a finished tree is no part of the image: traces of the build, caches, logs, identities."""

from collections.abc import Callable
from fnmatch import fnmatchcase

#: Globs on paths without leading slash; `*` also matches slashes.
TRACES = (
    "dev/*",
    "etc/.pwd.lock",
    "etc/*-",  # backups of passwd, group, shadow
    "etc/dib-manifests*",
    "lost+found*",
    "proc/*",
    "root/.ansible*",
    "root/.cache*",
    "run/*",
    "sys/*",
    "tmp/*",
    "var/cache/apt/*",
    "var/cache/debconf/*",
    "var/cache/ldconfig/*",
    "var/lib/apt/lists/*",
    "var/lib/dpkg/*-old",
    "var/lib/dpkg/lock*",
    "var/lib/systemd/catalog/database",
    "var/log/*",
    "var/tmp/*",
)


def dropper(globs: tuple[str, ...]) -> Callable[[str], bool]:
    """A predicate that tells whether a path (without leading slash) stays out of the image."""
    patterns = (*TRACES, *globs)
    # A folder's own entry is `path`, its content `path/…`: a pattern of a folder drops both.
    return lambda path: any(fnmatchcase(path, glob) or fnmatchcase(path, f"{glob}/*") for glob in patterns)
