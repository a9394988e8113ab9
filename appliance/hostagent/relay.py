"""`python -m appliance.hostagent.relay --home HOME`: CONNECT tunnel, consoles, migrations, in one process
that is not the agent's, so that restarting the agent cuts nothing.
"""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from appliance.hostagent.config import HostAgentConfig, read_config
from appliance.hostagent.console_relay import ConsoleRelay
from appliance.hostagent.migration_door import MigrationDoor
from appliance.hostagent.shared_pools import shared_pools_of
from appliance.hostagent.streams import close
from appliance.hostagent.tls import ServerTls
from appliance.hostagent.tunnel import Tunnel
from appliance.paths import Paths
from systemvm.spec.bootstrap import AGENT_PORT

_log = logging.getLogger("pileus.relay")
#: Connections at a time, of both listeners together.
LIMIT = 1024
_HANDSHAKE_DEADLINE = 10.0
#: Longest request head or ticket line, in bytes.
_LINE_LIMIT = 16 << 10

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def run_relay(config: HostAgentConfig, paths: Paths, *, agent_port: int = AGENT_PORT) -> None:
    """Listen until cancelled. Raises OSError when an address is taken."""
    tls = ServerTls(config)
    slots = asyncio.Semaphore(LIMIT)
    tunnel = Tunnel(config.linklocal_bridge, agent_port)
    console = ConsoleRelay(config.host, paths)
    own = {name: Path(folder) for name, folder in config.pools.items()}
    shared = shared_pools_of(config, paths)
    migration = MigrationDoor(paths, lambda: {**own, **shared.reached()})
    servers = [
        await asyncio.start_server(
            _guarded(serve, slots),
            config.management_address,
            port,
            ssl=tls.lasting_context(),
            ssl_handshake_timeout=_HANDSHAKE_DEADLINE,
            limit=_LINE_LIMIT,
        )
        for serve, port in (
            (tunnel.serve, config.tunnel_port),
            (console.serve, config.console_relay_port),
            (migration.serve, config.migration_port),
        )
    ]
    ports = (config.tunnel_port, config.console_relay_port, config.migration_port)
    _log.info("tunnel on port %d, consoles on port %d, migrations on port %d", *ports)
    try:
        await asyncio.Event().wait()
    finally:
        for server in servers:
            server.close()


def _guarded(serve: Serve, slots: asyncio.Semaphore) -> Serve:
    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if slots.locked():
            _log.error("connection refused: %d are open already", LIMIT)
            await close(writer)
            return
        async with slots:
            try:
                await serve(reader, writer)
            except ConnectionError as error:
                _log.info("a connection broke: %s", error)

    return guarded


async def _until_signalled(config: HostAgentConfig, paths: Paths) -> None:
    task = asyncio.ensure_future(run_relay(config, paths))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        _log.info("stopping, because of a signal")


def main(arguments: list[str]) -> int:
    """Serve until a signal comes; 1 when it cannot listen."""
    parser = argparse.ArgumentParser(prog="python -m appliance.hostagent.relay", description=__doc__)
    parser.add_argument("--home", type=Path, default=Paths.from_environment().home)
    home = parser.parse_args(arguments).home.absolute()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    paths = Paths(home, Paths.from_environment().cache)
    config = read_config(paths)
    try:
        asyncio.run(_until_signalled(config, paths))
    except OSError as error:
        _log.error("cannot listen: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
