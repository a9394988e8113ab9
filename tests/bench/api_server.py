"""`python -m tests.bench.api_server FOLDER PORT`: the API with many VMs, and a bare Flask beside it.

Both in one gunicorn, as the management server configures it: their difference is what the API adds.
"""

import sys
from pathlib import Path

import msgspec
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from mgmt.api.app import create_app
from mgmt.api.auth import SECRET_KEY_CONTEXT
from mgmt.api.call import Context
from mgmt.config import default_config
from mgmt.jobs.recorded import RecordedJobs
from mgmt.ops.runtime import Runtime
from mgmt.server import Server
from mgmt.store.database import Database
from mgmt.store.tables import User
from tests.unit.mgmt.small_cloud import SmallCloud, make_cloud

NETWORKS, VMS_OF_EACH = 10, 50
KEYS_FILE = "keys.json"


class Keys(msgspec.Struct, frozen=True):
    """API keys of the one user."""

    key: str
    secret: str


def fill(folder: Path) -> SmallCloud:
    """A cloud of 500 VMs in ten networks, and keys for its administrator in `folder`."""
    cloud = make_cloud(folder)
    for number in range(NETWORKS):
        network = cloud.new_network(f"net-{number}", f"10.1.{number}.0/24")
        for vm in range(VMS_OF_EACH):
            cloud.new_vm(network, f"vm-{number}-{vm}")
    keys = Keys("bench-key", "bench-secret")
    with cloud.runtime.database.writing() as session:
        user = session.get_one(User, cloud.user_id)
        user.api_key = keys.key
        user.secret_key = cloud.runtime.seal.close(keys.secret, SECRET_KEY_CONTEXT)
    cloud.runtime.database.close()  # the worker opens its own connections
    (folder / KEYS_FILE).write_bytes(msgspec.json.encode(keys))
    return cloud


def application(folder: Path, cloud: SmallCloud) -> Flask:
    """The API below /client, a bare application below /bare."""
    bare = Flask("bare")
    bare.add_url_rule("/hello", view_func=lambda: {"hello": "world"})
    config = default_config(folder)
    database = Database(f"sqlite:///{folder / 'mgmt.db'}")
    context = Context(database, cloud.runtime.seal, RecordedJobs(), config, parts={Runtime: cloud.runtime})
    app = create_app(context)
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/bare": bare.wsgi_app})  # type: ignore[method-assign]
    return app


def main(folder: Path, port: int) -> None:
    """Serve until told to stop."""
    cloud = fill(folder)
    options = {
        "bind": f"127.0.0.1:{port}",
        "worker_class": "gthread",
        "workers": 1,
        "threads": 16,
        "control_socket_disable": True,
    }
    Server(options, lambda: application(folder, cloud)).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
