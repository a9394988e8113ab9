"""What runs in the agent's process: the engine, the Flask application over it, and recovery beside them."""

import logging
import threading
import time
from collections.abc import Callable

from flask import Flask

from systemvm.agent.app import create_app
from systemvm.agent.control import control_probe
from systemvm.engine.apply import Engine
from systemvm.engine.errors import Busy
from systemvm.engine.registry import ServicePackage
from systemvm.engine.service import Doors
from systemvm.spec.bootstrap import Bootstrap

log = logging.getLogger(__name__)

SERVICES = "systemvm.services"
#: Seconds before each new try to bring up what a recovery could not.
RETRIES = (2.0, 5.0, 15.0, 30.0, 60.0)


def start(bootstrap: Bootstrap, doors: Doors) -> Flask:
    """Make the application and start recovering the last good generation beside it."""
    services = ServicePackage(SERVICES)
    engine = Engine(services, doors, bootstrap, control_probe(bootstrap, doors))
    app = create_app(engine, services, bootstrap, doors)
    # A daemon thread: the agent may be told to end while a probe still waits.
    threading.Thread(target=recover, args=(engine,), name="recover", daemon=True).start()
    return app


def recover(engine: Engine, sleep: Callable[[float], None] = time.sleep) -> None:
    """Bring the last good generation back, and try again what failed, until mgmt takes over or it works."""
    for pause in (*RETRIES, None):
        try:
            engine.recover()
        except Busy:
            return  # a document is being applied: that decides now
        except Exception:
            log.exception("recovery broke")
        if not engine.is_dirty:
            return
        if pause is not None:
            log.warning("not everything came back; trying again in %g s", pause)
            sleep(pause)
    log.error("giving up on recovery: the next document decides")
