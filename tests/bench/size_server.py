"""`python -m tests.bench.size_server FOLDER PORT`: the API of a cloud at size, and a bare Flask beside it.

One gunicorn, as the management server configures it, without jobs and without the loop: what is measured
is what callers wait for. The cloud and its keys are `mgmt.sim`'s.
"""

import sys
from pathlib import Path

import msgspec
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from mgmt.api.app import create_app
from mgmt.api.call import Context
from mgmt.bootstrap import open_store
from mgmt.drivers.simulator import Simulator
from mgmt.jobs.recorded import RecordedJobs
from mgmt.ops.runtime import Runtime
from mgmt.pki.authority import Authority
from mgmt.server import Server
from mgmt.sim.__main__ import prepare_home
from mgmt.sim.plan import Plan

KEYS_FILE = "keys.json"
#: The sizes that are promised. Two volumes for each VM: its root disk and a data disk.
PLAN = Plan(hosts=25_000, vms=25_000, networks=25_000, accounts=25_000, data_disks=25_000)


def application(home: Path) -> Flask:
    """The API below /client, a bare application below /bare."""
    opened = open_store(home)
    runtime = Runtime(
        database=opened.database,
        seal=opened.seal,
        authority=Authority(opened.config.pki_dir),
        drivers={"simulator": Simulator()},
    )
    parts: dict[type, object] = {Runtime: runtime}
    app = create_app(Context(opened.database, opened.seal, RecordedJobs(), opened.config, parts=parts))
    bare = Flask("bare")
    bare.add_url_rule("/hello", view_func=lambda: {"hello": "world"})
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/bare": bare.wsgi_app})  # type: ignore[method-assign]
    return app


def main(folder: Path, port: int) -> None:
    """Make the cloud, then serve until told to stop."""
    home = folder / "cloud"
    keys = prepare_home(home, PLAN, port)
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
    main(Path(sys.argv[1]), int(sys.argv[2]))
