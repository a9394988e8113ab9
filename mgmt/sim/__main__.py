"""`python -m mgmt.sim --home H`: a management server with a large simulated cloud, made anew each time."""

import configparser
import logging
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from mgmt.bootstrap import PASSWORD_FILE, open_store
from mgmt.config import default_config, save_config
from mgmt.drivers.simulated_time import SimulatedTime
from mgmt.drivers.simulator import Simulator
from mgmt.ops.runtime import Runtime
from mgmt.pki.authority import Authority
from mgmt.server import LOG_FORMAT, serve
from mgmt.sim.cloud import TENANT, Keys, make_cloud
from mgmt.sim.memory import DRIVER, fill_memory
from mgmt.sim.plan import Plan, WrongSize
from mgmt.store.defaults import ADMIN

#: Says that a folder is one of ours, so that it may be made anew.
MARK = "this-cloud-is-simulated"
CLIENT_FILE = "cloudstack.ini"
LOG_FILE = "server.log"
SPEED = click.FloatRange(min=0, min_open=True)


@click.command()
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), required=True, help="its folder")
@click.option("--hosts", default=1000, show_default=True)
@click.option("--vms", default=10_000, show_default=True)
@click.option("--port", default=8080, show_default=True, help="where the API listens, on loopback")
@click.option("--latency", default=0.0, help="simulated seconds that each call to a host takes")
@click.option("--boot-seconds", default=0.0, help="simulated seconds until the agent of a system VM answers")
@click.option("--speed", type=SPEED, default=1.0, help="simulated seconds in a real one")
def main(
    home: Path, hosts: int, vms: int, port: int, latency: float, boot_seconds: float, speed: float
) -> None:
    """Make a simulated cloud in HOME and serve it until told to stop; what HOME had before is gone."""
    begun, home = time.monotonic(), home.absolute()
    plan = Plan(hosts=hosts, vms=vms, data_disks=vms // 2)
    try:
        plan.check()
        keys = prepare_home(home, plan, port)
    except (WrongSize, OSError) as error:
        raise click.ClickException(str(error)) from error
    logging.basicConfig(filename=home / LOG_FILE, level=logging.INFO, format=LOG_FORMAT)

    def ready() -> None:
        click.echo(words(home, plan, port, keys, time.monotonic() - begun))

    def prepare(runtime: Runtime) -> None:
        fill_memory(runtime)
        simulator = runtime.drivers[DRIVER]
        assert isinstance(simulator, Simulator)  # noqa: S101 (its name says so; this tells the type checker)
        simulator.faults.latency, simulator.faults.time = latency, SimulatedTime(speed)
        simulator.boot_seconds = boot_seconds

    serve(home, prepare, ready)


def prepare_home(home: Path, plan: Plan, port: int, database_url: str = "") -> Mapping[str, Keys]:
    """A fresh store in `home` with the plan's cloud, and a file for clients. Raises FileExistsError.

    `database_url` is an empty database elsewhere.
    """
    if home.exists() and any(home.iterdir()) and not (home / MARK).exists():
        raise FileExistsError(f"{home} holds something else: name an empty folder, or a new one")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True, mode=0o700)
    (home / MARK).touch()
    config = msgspec.structs.replace(default_config(home), listen_port=port, simulated_hosts=True)
    if database_url:
        config = msgspec.structs.replace(config, database_url=database_url)
    save_config(home, config)
    opened = open_store(home)
    runtime = Runtime(
        database=opened.database,
        seal=opened.seal,
        authority=Authority(config.pki_dir),
        drivers={DRIVER: Simulator()},
    )
    keys = make_cloud(runtime, plan)
    opened.database.close()
    _write_client_file(home / CLIENT_FILE, f"http://127.0.0.1:{port}/client/api", keys)
    return keys


def words(home: Path, plan: Plan, port: int, keys: Mapping[str, Keys], seconds: float) -> str:
    """What somebody who sees it for the first time needs: where it is, how to get in, what to try."""
    client = f"CLOUDSTACK_CONFIG={home / CLIENT_FILE} .venv/bin/cs"
    return "\n".join(
        (
            f"{plan.hosts} hosts and {plan.vms} VMs of {plan.all_accounts} accounts, after {seconds:.1f} s",
            f"  page      http://127.0.0.1:{port}/  (user {ADMIN})",
            f"  password  {home / 'mgmt' / PASSWORD_FILE}",
            f"  API keys  {home / CLIENT_FILE}  (of {' and '.join(keys)})",
            f"  log       {home / LOG_FILE}",
            "Try:",
            f"  {client} --region {ADMIN} listInfrastructure",
            f"  {client} --region {TENANT} listVirtualMachines state=Running page=1 pagesize=3",
            f"  {client} --region {TENANT} stopVirtualMachine id=…",
            "Ctrl-C ends it.",
        )
    )


def _write_client_file(path: Path, endpoint: str, keys: Mapping[str, Keys]) -> None:
    """Keys as the client `cs` reads them, mode 0600."""
    parser = configparser.ConfigParser(interpolation=None)
    for name, own in keys.items():
        parser[name] = {"endpoint": endpoint, "key": own.key, "secret": own.secret}
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        parser.write(file)


if __name__ == "__main__":
    main()
