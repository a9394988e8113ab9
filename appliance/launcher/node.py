"""Starts and stops what runs on this machine: libvirtd, host agent, relay, management server."""

import pwd
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Literal

from appliance.hostagent.config import HostAgentConfig, write_config
from appliance.launcher.libvirt import DAEMON_NAME
from appliance.launcher.settings import Settings
from appliance.launcher.steps import StepFailed
from appliance.paths import Paths
from systemvm.engine.command import run
from systemvm.engine.daemons import Daemon, Daemons
from systemvm.engine.errors import CommandError
from systemvm.spec.host import HOST_AGENT_PORT, Bridge

HOST_AGENT = "pileus-hostagent"
RELAY = "pileus-relay"
MGMT = "pileus-mgmt"
KEEPER = "pileus-keeper"
#: Stop order: clients before what they use.
ALL_DAEMONS = (KEEPER, MGMT, RELAY, HOST_AGENT)
#: Seconds until a daemon that was started listens.
LISTEN_DEADLINE = 60.0


def host_agent_config(
    paths: Paths, settings: Settings, acceleration: Literal["kvm", "qemu"]
) -> HostAgentConfig:
    """What this machine's host agent is told: its name, addresses, certificates and own bridges."""
    prefix = settings.management.partition("/")[2]
    public_prefix = settings.public.partition("/")[2]
    return HostAgentConfig(
        host=settings.host,
        name=socket.gethostname().split(".")[0].lower() or "host1",
        management_address=settings.management_address,
        certificate=str(paths.host / "server.pem"),
        key=str(paths.host / "server.key"),
        client_ca=str(paths.host / "clients-ca.pem"),
        pools={"primary": str(paths.pools / "primary")},
        acceleration=acceleration,
        linklocal_bridge=settings.cloud_bridge,
        bridges=(
            Bridge(name=settings.cloud_bridge, addresses=(settings.linklocal_address,)),
            Bridge(name=settings.management_bridge, addresses=(f"{settings.management_address}/{prefix}",)),
            Bridge(name=settings.public_bridge, addresses=(f"{settings.public_gateway}/{public_prefix}",)),
        ),
        masquerade=settings.uplink,
    )


def start_host_agent(paths: Paths, daemons: Daemons, config: HostAgentConfig) -> None:
    """Start agent and relay, with this configuration. Raises StepFailed if they do not listen."""
    changed = write_config(paths, config)
    for name, module in ((HOST_AGENT, "appliance.hostagent"), (RELAY, "appliance.hostagent.relay")):
        if changed:
            daemons.stop(name)
        daemons.ensure(_python_daemon(name, module, paths))
    wait_for_port(HOST_AGENT, config.management_address, HOST_AGENT_PORT, daemons)
    wait_for_port(RELAY, config.management_address, config.tunnel_port, daemons)


def start_mgmt(paths: Paths, daemons: Daemons, settings: Settings) -> None:
    """Start the management server as its unprivileged user. Raises StepFailed if it does not listen."""
    daemons.ensure(_python_daemon(MGMT, "mgmt.server", paths, user=settings.user))
    wait_for_port(MGMT, settings.api_address, settings.api_port, daemons)


def start_keeper(paths: Paths, daemons: Daemons) -> None:
    """Where daemons are plain processes: somebody who starts them again when they die."""
    argv = (sys.executable, "-m", "appliance.launcher.keeper", str(paths.daemons))
    daemons.ensure(Daemon(name=KEEPER, argv=argv, environment=environment(paths)))


def ensure_user(settings: Settings) -> None:
    """The unprivileged user exists and can read this code. Raises StepFailed."""
    try:
        pwd.getpwnam(settings.user)
    except KeyError:
        run(("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", settings.user))
    code = Path(__file__).parents[2]
    if not _can_read(settings.user, code / "mgmt" / "__init__.py"):
        raise StepFailed(
            f"user {settings.user} cannot read {code}",
            "the management server runs without root: clone Pileus where all users may read, e.g. in /opt",
        )


def as_user(user: str, argv: tuple[str, ...]) -> tuple[str, ...]:
    """`argv`, run by `user`."""
    return ("setpriv", "--reuid", user, "--regid", user, "--init-groups", "--", *argv)


def wait_for_port(name: str, address: str, port: int, daemons: Daemons) -> None:
    """Return once `name` listens. Raises StepFailed with its last words when it dies or takes too long."""
    until = time.monotonic() + LISTEN_DEADLINE
    while time.monotonic() < until and daemons.is_running(name):
        try:
            socket.create_connection((address, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    said = "\n".join(daemons.logs(name, 8))
    raise StepFailed(f"{name} does not listen on {address}:{port}\n{said}")


def stop_node(paths: Paths, daemons: Daemons) -> None:
    """Stop the daemons, libvirtd last."""
    for name in (*ALL_DAEMONS, DAEMON_NAME):
        daemons.stop(name)
    shutil.rmtree(paths.vnc, ignore_errors=True)


def environment(paths: Paths) -> dict[str, str]:
    """What a process needs to be this code, for this cloud."""
    return {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PILEUS_HOME": str(paths.home),
        "PILEUS_CACHE": str(paths.cache),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _python_daemon(name: str, module: str, paths: Paths, user: str = "") -> Daemon:
    return Daemon(
        name=name,
        argv=(sys.executable, "-m", module, "--home", str(paths.home)),
        user=user,
        environment=environment(paths),
    )


def _can_read(user: str, file: Path) -> bool:
    try:
        run(as_user(user, ("test", "-r", str(file))))
    except CommandError:
        return False
    return True
