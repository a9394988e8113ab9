"""`python -m tests.bench.size_server FOLDER PORT [DATABASE]`: a simulated cloud at size, and a bare Flask.

One gunicorn, as the management server configures it, with jobs and the loop. The cloud and its keys are
`mgmt.sim`'s.
"""

import logging
import sys
from pathlib import Path

import msgspec
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from mgmt.bootstrap import open_store
from mgmt.server import Server, build
from mgmt.sim.__main__ import prepare_home
from mgmt.sim.memory import fill_memory
from mgmt.sim.plan import Plan

KEYS_FILE = "keys.json"
#: The sizes that are promised. Two volumes for each VM: its root disk and a data disk.
PLAN = Plan(hosts=25_000, vms=25_000, networks=25_000, accounts=25_000, data_disks=25_000)


def application(home: Path) -> Flask:
    """The management server below /, a bare application below /bare."""
    app = build(open_store(home), fill_memory)
    bare = Flask("bare")
    bare.add_url_rule("/hello", view_func=lambda: {"hello": "world"})
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/bare": bare.wsgi_app})  # type: ignore[method-assign]
    return app


def main(folder: Path, port: int, url: str) -> None:
    """Make the cloud, then serve until told to stop."""
    logging.basicConfig(level=logging.WARNING)
    home = folder / "cloud"
    keys = prepare_home(home, PLAN, port, url)
    (folder / KEYS_FILE).write_bytes(msgspec.json.encode(dict(keys)))
    options = {
        "bind": f"127.0.0.1:{port}",
        "worker_class": "gthread",
        "workers": 1,
        "threads": 16,
        "timeout": 120,
        "control_socket_disable": True,
    }
    Server(options, lambda: application(home)).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "")
