"""The management server's process: `python -m mgmt.server --home H`.

One gunicorn worker with threads: jobs and the reconcile loop live in the same process as the API, and more
servers are added as more machines. It needs no privileges; whoever starts it drops them.
"""

import ctypes
import gc
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from flask import Flask
from gunicorn.app.base import BaseApplication
from sqlalchemy.exc import OperationalError

from mgmt.api.app import create_app
from mgmt.bootstrap import Opened, occupied, open_store
from mgmt.config import load_config
from mgmt.metrics.page import TOKEN_FILE, create_metrics, load_token
from mgmt.ops.runtime import Runtime
from mgmt.runtime import start_runtime
from mgmt.web import create_pages
from mgmt.web.reference import create_reference

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
log = logging.getLogger(__name__)

GRACE_SECONDS = 20
RETRY_SECONDS = 2
LONGEST_CALL_SECONDS = 120
KEEP_ALIVE_SECONDS = 20
"""Longer than the pauses of clients that poll for jobs (2 s most of them, up to 15 s): a connection that ends
just as the next question is sent is an error to them, and no client asks again."""

SWITCH_SECONDS = 0.001
#: The parameter's number in <malloc.h>, and so many arenas instead of eight for each processor.
M_ARENA_MAX, ARENAS = -8, 2


class Server(BaseApplication):  # type: ignore[misc]
    """Gunicorn, told what to do by us and not by its command line."""

    def __init__(self, options: dict[str, Any], load: Callable[[], Flask]) -> None:
        self._options = options
        self._load = load
        super().__init__()

    def load_config(self) -> None:
        """Take our options."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The application; called in the worker, after the fork, so threads and connections are its own."""
        _share_processor_and_memory()
        application = self._load()
        gc.collect()
        gc.freeze()  # what is there now stays: no collection need look at it again while calls wait
        return application


def _share_processor_and_memory() -> None:
    """Settings of a process with many threads, of which one computes at a time and most wait.

    A thread that waited for the database would get its turn back only after 5 ms of another's work, many
    times in each call. glibc would keep what is free apart for each thread.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, ARENAS)


def build(opened: Opened, prepare: Callable[[Runtime], None] | None = None) -> Flask:
    """The application with its runtime running, prepared before it starts."""
    app = create_app(start_runtime(opened, prepare))
    app.register_blueprint(create_pages())
    app.register_blueprint(create_reference())
    token = load_token(opened.config.key_file.with_name(TOKEN_FILE))
    app.register_blueprint(create_metrics(opened.database, token, opened.config.version))
    return app


def serve(
    home: Path, prepare: Callable[[Runtime], None] | None = None, ready: Callable[[], None] | None = None
) -> None:
    """Listen until told to stop. `ready` is called in the worker, once it can answer."""
    opened = open_store(home)
    opened.database.close()  # the worker opens its own connections after the fork
    config = opened.config
    options: dict[str, Any] = {
        "bind": f"{config.listen_address}:{config.listen_port}",
        "worker_class": "gthread",
        "workers": 1,
        "threads": config.threads,
        "timeout": LONGEST_CALL_SECONDS,
        "graceful_timeout": GRACE_SECONDS,
        "keepalive": KEEP_ALIVE_SECONDS,
        "limit_request_line": 8190,
        "control_socket_disable": True,
        "proc_name": "pileus-mgmt",
    }
    if ready is not None:
        options["post_worker_init"] = lambda _worker: ready()
    with occupied(home):
        Server(options, lambda: build(await_store(home), prepare)).run()


def await_store(home: Path) -> Opened:
    """Open the store as soon as its database answers: a worker that starts anew outlives an outage of it."""
    while True:
        try:
            return open_store(home)
        except OperationalError as error:
            log.warning("the database does not answer; trying again: %s", error.orig)
            time.sleep(RETRY_SECONDS)


@click.command()
@click.option(
    "--home", type=click.Path(path_type=Path, file_okay=False), required=True, help="folder of this cloud"
)
def main(home: Path) -> None:
    """Run the management server of the cloud in HOME."""
    logging.basicConfig(level=load_config(home).log_level, format=LOG_FORMAT)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log each question to each agent
    serve(home.absolute())


if __name__ == "__main__":
    main()
