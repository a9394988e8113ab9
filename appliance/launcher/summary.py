"""What an operator is told at the end of `pileus up`, and by `pileus status`."""

from cs import CloudStackException
from requests.exceptions import RequestException
from rich.console import Console
from rich.table import Table

from appliance.launcher import client, node
from appliance.launcher.daemons import machine_daemons, uses_systemd
from appliance.launcher.libvirt import DAEMON_NAME
from appliance.launcher.settings import Settings
from appliance.launcher.steps import StepFailed
from appliance.launcher.up import Bringup
from appliance.paths import Paths


def print_summary(bringup: Bringup) -> None:
    """Addresses, where the password is, how to open the console, three commands to try."""
    paths, settings, vm = bringup.paths, bringup.settings, bringup.vm
    page = settings.api_url.removesuffix("client/api")
    lines = (
        ("Page", page),
        ("API", settings.api_url),
        ("Log in as", f"admin, password in {client.password_file(paths)}"),
        ("First VM", f"{vm['name']} at {vm['nic'][0]['ipaddress']}, user tiny"),
        (
            "Its console",
            f'on the page, "open console"; or: cs createConsoleEndpoint virtualmachineid={vm["id"]}',
        ),
    )
    bringup.console.print()
    for name, text in lines:
        bringup.console.print(f"[bold]{name:12}[/] {text}", highlight=False)
    bringup.console.print("\nTry next:", highlight=False)
    for command in (
        f"export CLOUDSTACK_CONFIG={client.credentials_file(paths)} PATH=$PWD/.venv/bin:$PATH",
        "cs listVirtualMachines",
        "pileus status",
    ):
        bringup.console.print(f"  {command}", highlight=False)


def print_status(paths: Paths, settings: Settings, console: Console) -> None:
    """Daemons with their logs, then zones, system VMs and VMs as the API tells. Raises StepFailed."""
    daemons = machine_daemons(paths)
    table = Table("daemon", "state", "log", box=None)
    for name in (DAEMON_NAME, *reversed(node.ALL_DAEMONS)):
        if name == node.KEEPER and uses_systemd():
            continue  # systemd keeps them
        state = "[green]runs[/]" if daemons.is_running(name) else "[red]stopped[/]"
        table.add_row(name, state, str(paths.daemons / f"{name}.log"))
    console.print(table)
    if not daemons.is_running(node.MGMT):
        return
    try:
        cloud = client.connect(paths, settings)
        system = cloud.listSystemVms().get("systemvm", []) + cloud.listRouters(listall=True).get("router", [])
        guests = cloud.listVirtualMachines(listall=True).get("virtualmachine", [])
    except (CloudStackException, RequestException) as error:
        raise StepFailed(
            f"the API does not answer: {error}", f"see {paths.daemons / node.MGMT}.log"
        ) from None
    table = Table("vm", "kind", "state", "address", "why", box=None)
    for vm in system:
        kind = vm.get("systemvmtype", "router")
        table.add_row(vm["name"], kind, vm["state"], vm.get("publicip", ""), vm.get("statereason", ""))
    for vm in guests:
        table.add_row(vm["name"], "guest", vm["state"], vm["nic"][0].get("ipaddress", ""), "")
    console.print(table)
    console.print(f"serial logs: {paths.serial_logs}/<id>.log", highlight=False)
