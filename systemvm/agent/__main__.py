"""Start the agent: `python3 -m systemvm.agent`. Never returns."""

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from systemvm.agent.config_disk import read_bootstrap
from systemvm.agent.linklocal import set_up_linklocal
from systemvm.engine.command import run
from systemvm.engine.daemons import Daemons
from systemvm.engine.errors import EngineError
from systemvm.engine.service import Doors

log = logging.getLogger("systemvm.agent")


def real_doors() -> Doors:
    """The doors of this machine."""
    return Doors(run=run, daemons=_daemons(), now=time.time)


def _daemons() -> Daemons:
    """Systemd's where it is init (sd_booted(3)), else plain processes."""
    if Path("/run/systemd/system").is_dir():
        from systemvm.engine.systemd import Systemd

        return Systemd()
    from systemvm.engine.processes import Processes

    return Processes(Doors.run_dir / "daemons")


def main() -> int:
    """Read the bootstrap, bring up the control channel, listen, then recover; 1 when it cannot."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    doors = real_doors()
    try:
        bootstrap = read_bootstrap(doors, os.environ.get("PILEUS_BOOTSTRAP", ""))
        set_up_linklocal(bootstrap, doors)
    except (EngineError, OSError) as error:
        log.error("the agent cannot start: %s", error)
        return 1
    from systemvm.agent.server import AgentServer
    from systemvm.agent.tls import Credentials

    def load() -> Any:
        from systemvm.agent.runtime import start

        return start(bootstrap, doors)

    address = bootstrap.linklocal_address.partition("/")[0]
    credentials = Credentials(bootstrap, doors)
    log.info("%s listens on %s:%d", bootstrap.name, address, bootstrap.agent_port)
    AgentServer(address, bootstrap.agent_port, credentials, load).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
